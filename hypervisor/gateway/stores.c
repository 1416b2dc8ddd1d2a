/* Stores of the guest's kernel to page tables that it maps read-only, carried out for it (paravane.memory.writable). */

#include "emulate.h"
#include "hypercalls.h"

#define MOV_REGISTER 0x89
#define MOV_ACCUMULATOR 0xa3
#define MOV_IMMEDIATE 0xc7
#define NO_REGISTER 4 /* as index of a SIB byte */
#define NO_BASE 5 /* as base, without a displacement of its own */

/*
 * The offset that the ModRM byte at `code` names in DS, and the length of all that names it. Not a register, and not
 * what lies in SS unless a prefix says otherwise.
 */
static bool decode_operand(const struct gateway_block *block, const uint8_t *code, uint32_t *offset, uint32_t *length)
{
    const uint32_t mod = code[0] >> 6;
    uint32_t base = code[0] & 7, index = NO_REGISTER, scale = 0, displacement;

    if (mod == 3)
        return false;
    *length = 1;
    *offset = 0;
    if (base == ESP) {
        base = code[1] & 7;
        index = code[1] >> 3 & 7;
        scale = code[1] >> 6;
        *length = 2;
        if (base == ESP)
            return false;
    }
    if (base != NO_BASE)
        *offset = *general_register(block, base);
    else if (mod)
        return false;
    if (index != NO_REGISTER)
        *offset += *general_register(block, index) << scale;
    if (mod == 1) {
        *offset += (uint32_t)(int8_t)code[*length];
        *length += 1;
    } else if (mod == 2 || base == NO_BASE) {
        memcpy(&displacement, code + *length, sizeof(displacement));
        *offset += displacement;
        *length += sizeof(displacement);
    }
    return true;
}

/* `mov` of a double word from a register, or an immediate one: its value, and its length. The fault was at CR2. */
static bool decode_store(const struct gateway_block *block, const uint8_t *code, uint32_t *value, uint32_t *length)
{
    const struct gateway_layout *at = &block->layout;
    const uint32_t reg = code[1] >> 3 & 7;
    uint32_t offset, linear;

    switch (code[0]) {
    case MOV_ACCUMULATOR:
        memcpy(&offset, code + 1, sizeof(offset));
        *value = *general_register(block, EAX);
        *length = 1 + sizeof(offset);
        break;
    case MOV_REGISTER:
        if (!decode_operand(block, code + 1, &offset, length))
            return false;
        *value = *general_register(block, reg);
        *length += 1;
        break;
    case MOV_IMMEDIATE:
        if (reg || !decode_operand(block, code + 1, &offset, length))
            return false;
        memcpy(value, code + 1 + *length, sizeof(*value));
        *length += 1 + sizeof(*value);
        break;
    default:
        return false;
    }
    linear = block->words[at->data_base[0]] + offset;
    /* One that begins in the page before is not carried out for anybody. */
    return !(linear % sizeof(*value)) && linear == block->words[at->cr2];
}

enum fault_kind gateway_table_store(const struct gateway_block *block, const struct resume *to, uint32_t error_code,
                                    uint64_t *maddr)
{
    const struct gateway_memory *memory = &block->memory;
    const uint32_t store = PF_PRESENT | PF_WRITE;
    const uint32_t cr2 = block->words[block->layout.cr2];
    uint64_t leaf, frame;

    if ((error_code & (store | PF_RESERVED | PF_FETCH)) != store || to->ring != KERNEL_RING)
        return NO_TABLE;
    if (!(*block->vm_assist & WRITABLE_PAGETABLES))
        return NO_TABLE;
    if (!find_leaf(block, cr2, false, &leaf))
        return UNKNOWN;
    if ((leaf & (PTE_PRESENT | PTE_RW)) != PTE_PRESENT)
        return NO_TABLE;
    frame = (leaf & memory->address_mask) >> 12;
    if (!is_in_use_as(memory, frame, TYPE_L1))
        return NO_TABLE;
    *maddr = frame << 12 | (cr2 & PAGE_OFFSET);
    return TABLE;
}

bool gateway_store_to_table(struct gateway_block *block, void *engine, struct resume *to, uint64_t maddr)
{
    const uint64_t size = 1u << block->memory.entry_shift;
    const uint32_t shift = 8 * (uint32_t)(maddr & (size - 1));
    const uint8_t *code = flat_code(block, to);
    uint64_t entry;
    uint32_t value, length;
    struct call call;

    if (!code || !decode_store(block, code, &value, &length) || !load(block, maddr - shift / 8, size, &entry))
        return false;
    entry = (entry & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
    /* That Python drops bits of it makes it a new entry there, and not one that has hardly changed. */
    if (entry & PTE_PRESENT && entry & block->memory.dropped)
        return false;
    call.nr_changes = 0;
    call.moved_base = false;
    if (!gateway_change_entry(block, &call, maddr - shift / 8, entry, false))
        return false;
    to->eip += length;
    return resume_commit(block, engine, to, TRAP_COST) || gateway_undo(block, &call);
}
