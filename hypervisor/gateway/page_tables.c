/* mmu_update and update_va_mapping (paravane.memory: mmu_update.py, va_mapping.py). */

#include "hypercalls.h"

struct request {
    uint64_t ptr;
    uint64_t val;
};

bool gateway_mmu_update(struct gateway_block *block, struct call *call)
{
    const uint32_t count = call->arguments[1], pdone = call->arguments[2];
    struct request requests[MOST_CHANGES];
    uint64_t low, command;
    uint32_t i;

    /* No count is 0 here: for nothing to do Python still says so at `pdone`. */
    if (!count || count > MOST_CHANGES || call->arguments[3] != DOMID_SELF)
        return false;
    if (count > 1 && count > call->left)
        return false;
    /* All are read before the first is carried out, as one may change where the next ones are. */
    if (!copy_from_guest(block, requests, call->arguments[0], count * sizeof(*requests)))
        return false;
    low = (1u << block->memory.entry_shift) - 1;
    for (i = 0; i < count; i++) {
        command = requests[i].ptr & low;
        if (command != MMU_NORMAL && command != MMU_PRESERVE_AD)
            return gateway_undo(block, call);
        if (!gateway_change_entry(block, call, requests[i].ptr - command, requests[i].val, command == MMU_PRESERVE_AD))
            return gateway_undo(block, call);
    }
    if (!tell_done(block, call, pdone, count))
        return gateway_undo(block, call);
    call->work = count == 1 && !pdone ? 0 : count;
    call->result = 0;
    return true;
}

/* The machine address of the entry of an L1 table that maps `linear`. */
static bool leaf_entry(const struct gateway_block *block, uint32_t linear, uint64_t *maddr)
{
    const struct gateway_memory *memory = &block->memory;
    const uint64_t size = 1u << memory->entry_shift;
    uint64_t table = block->words[block->layout.cr3] & 0xfffff000u, entry;
    uint32_t slot = linear >> 22;

    if (block->pae) {
        if (!load(block, table + (linear >> 30) * size, size, &entry) || !(entry & PTE_PRESENT))
            return false;
        table = entry & memory->address_mask;
        slot = linear >> 21 & 0x1ff;
    }
    if (!load(block, table + slot * size, size, &entry) || !(entry & PTE_PRESENT))
        return false;
    slot = linear >> 12 & (block->pae ? 0x1ff : 0x3ff);
    *maddr = (entry & memory->address_mask) + slot * size;
    return true;
}

bool gateway_update_va_mapping(struct gateway_block *block, struct call *call)
{
    const uint32_t linear = call->arguments[0], flags = call->arguments[3];
    const uint32_t kind = flags & UVMF_FLUSHTYPE_MASK, scope = flags & ~UVMF_FLUSHTYPE_MASK;
    const uint64_t entry = (uint64_t)call->arguments[2] << 32 | call->arguments[1];
    const bool flushes = kind == UVMF_TLB_FLUSH || kind == UVMF_INVLPG;
    uint64_t maddr;

    /* Any other scope is the address of a mask of vcpus. */
    if (flushes && ((scope != UVMF_LOCAL && scope != UVMF_ALL) || !can_flush(block, scope == UVMF_ALL)))
        return false;
    if (!leaf_entry(block, linear, &maddr) || !gateway_change_entry(block, call, maddr, entry, false))
        return false;
    if (kind == UVMF_TLB_FLUSH)
        flush_tlb(block);
    else if (kind == UVMF_INVLPG)
        flush_page(block, linear);
    call->work = 0;
    call->result = 0;
    return true;
}
