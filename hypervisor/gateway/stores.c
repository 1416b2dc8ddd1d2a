/* Stores of the guest's kernel to page tables that it maps read-only, carried out for it (paravane.memory.writable). */

#include "emulate.h"
#include "hypercalls.h"

#define LOCK 0xf0
#define ESCAPE 0x0f
#define GROUP_9 0xc7 /* after ESCAPE */
#define CMPXCHG8B 1 /* of that group */
#define XCHG_REGISTER 0x87
#define MOV_REGISTER 0x89
#define MOV_ACCUMULATOR 0xa3
#define MOV_IMMEDIATE 0xc7
#define NO_REGISTER 4 /* as index of a SIB byte */
#define NO_BASE 5 /* as base, without a displacement of its own */

/*
 * An instruction of `length` bytes that stores `size` bytes of `value`. `swapped`, or NO_SWAP: the register that gets
 * what was there (XCHG). `compares`: only if EDX:EAX was there, which get what was (CMPXCHG8B).
 */
struct store {
    uint64_t value;
    uint32_t size, length, swapped;
    bool compares;
};

#define NO_SWAP 8

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

/* CMPXCHG8B, with the bytes of `code` before its ModRM byte. */
static bool decode_compare(const struct gateway_block *block, const uint8_t *code, uint32_t before, struct store *store,
                           uint32_t *offset)
{
    if ((code[before] >> 3 & 7) != CMPXCHG8B || !decode_operand(block, code + before, offset, &store->length))
        return false;
    store->value = (uint64_t)*general_register(block, ECX) << 32 | *general_register(block, EBX);
    store->size = sizeof(store->value);
    store->length += before;
    store->compares = true;
    return true;
}

/* `mov` of a double word from a register, or an immediate one; what exchanges it or compares two. It faulted at CR2. */
static bool decode_store(const struct gateway_block *block, const uint8_t *code, struct store *store)
{
    const struct gateway_layout *at = &block->layout;
    const uint32_t reg = code[1] >> 3 & 7;
    uint32_t offset, linear, immediate;

    store->size = sizeof(immediate);
    store->swapped = NO_SWAP;
    store->compares = false;
    switch (code[0]) {
    case MOV_ACCUMULATOR:
        memcpy(&offset, code + 1, sizeof(offset));
        store->value = *general_register(block, EAX);
        store->length = 1 + sizeof(offset);
        break;
    case XCHG_REGISTER:
        store->swapped = reg;
        /* fall through */
    case MOV_REGISTER:
        if (store->swapped == ESP || !decode_operand(block, code + 1, &offset, &store->length))
            return false;
        store->value = *general_register(block, reg);
        store->length += 1;
        break;
    case MOV_IMMEDIATE:
        if (reg || !decode_operand(block, code + 1, &offset, &store->length))
            return false;
        memcpy(&immediate, code + 1 + store->length, sizeof(immediate));
        store->value = immediate;
        store->length += 1 + sizeof(immediate);
        break;
    case ESCAPE:
        if (code[1] != GROUP_9 || !decode_compare(block, code, 2, store, &offset))
            return false;
        break;
    case LOCK:
        if (code[1] != ESCAPE || code[2] != GROUP_9 || !decode_compare(block, code, 3, store, &offset))
            return false;
        break;
    default:
        return false;
    }
    linear = block->words[at->data_base[0]] + offset;
    /* One that begins in the page before is not carried out for anybody. */
    return !(linear % store->size) && linear == block->words[at->cr2];
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

/* CMPXCHG8B of an entry that was `old`: its flag, and whether it stores. */
static bool compare(const struct gateway_block *block, struct resume *to, uint64_t old)
{
    const bool equal = ((uint64_t)*general_register(block, EDX) << 32 | *general_register(block, EAX)) == old;

    to->eflags = (to->eflags & ~EFLAGS_ZF) | (equal ? EFLAGS_ZF : 0);
    return equal;
}

bool gateway_store_to_table(struct gateway_block *block, void *engine, struct resume *to, uint64_t maddr)
{
    const uint64_t size = 1u << block->memory.entry_shift;
    const uint32_t shift = 8 * (uint32_t)(maddr & (size - 1));
    const uint8_t *code = flat_code(block, to);
    uint64_t entry, old, stored;
    bool equal = true;
    struct store store;
    struct call call;

    if (!code || !decode_store(block, code, &store) || store.size > size)
        return false;
    if (!load(block, maddr - shift / 8, size, &old))
        return false;
    stored = store.size < 8 ? 0xffffffffull << shift : ~0ull;
    entry = (old & ~stored) | store.value << shift;
    if (store.compares)
        equal = compare(block, to, old);
    /* That Python drops bits of it makes it a new entry there, and not one that has hardly changed. */
    if (equal && entry & PTE_PRESENT && entry & block->memory.dropped)
        return false;
    call.nr_changes = 0;
    call.moved_base = false;
    if (equal && !gateway_change_entry(block, &call, maddr - shift / 8, entry, false))
        return false;
    to->eip += store.length;
    if (!resume_commit(block, engine, to, TRAP_COST))
        return gateway_undo(block, &call);
    if (store.swapped != NO_SWAP)
        *general_register(block, store.swapped) = (uint32_t)(old >> shift);
    if (!equal) {
        *general_register(block, EAX) = (uint32_t)old;
        *general_register(block, EDX) = (uint32_t)(old >> 32);
    }
    return true;
}
