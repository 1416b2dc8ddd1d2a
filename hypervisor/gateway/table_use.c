/* What tables are in use for: the root that the processor walks, and pins (paravane.memory: vcpu_paging.py, pins.py). */

#include "hypercalls.h"

/* The last reference to a frame, and the last use of it as what it is, are Python's to drop. */
static bool can_drop(const struct gateway_memory *memory, uint64_t frame)
{
    return is_own(memory, frame) && memory->count[frame] > 1 && memory->type_count[frame] > 1;
}

static void take(struct gateway_memory *memory, uint64_t frame)
{
    memory->count[frame]++;
    memory->type_count[frame]++;
}

static void drop(struct gateway_memory *memory, uint64_t frame)
{
    memory->count[frame]--;
    memory->type_count[frame]--;
}

static void set_base(struct gateway_block *block, uint64_t frame)
{
    block->memory.installed[BASE_MFN] = (int64_t)frame;
    *block->memory.cr3 = (int64_t)(frame << 12);
    block->words[block->layout.cr3] = (uint32_t)(frame << 12);
}

bool gateway_load_base(struct gateway_block *block, struct call *call, uint64_t frame)
{
    struct gateway_memory *memory = &block->memory;
    const uint64_t old = (uint64_t)memory->installed[BASE_MFN];

    /* The LDT's pages would be looked up anew. */
    if (!old || memory->installed[NR_LDT_PAGES])
        return false;
    if (frame != old) {
        if (!can_use(memory, frame, memory->root_type) || !can_drop(memory, old))
            return false;
        take(memory, frame);
        drop(memory, old);
    }
    set_base(block, frame);
    call->moved_base = true;
    call->old_base = old;
    return true;
}

void gateway_restore_base(struct gateway_block *block, struct call *call)
{
    struct gateway_memory *memory = &block->memory;
    const uint64_t frame = (uint64_t)memory->installed[BASE_MFN];

    if (frame != call->old_base) {
        take(memory, call->old_base);
        drop(memory, frame);
        set_base(block, call->old_base);
    }
    call->moved_base = false;
}

static bool maps_nothing(const struct gateway_block *block, uint64_t frame)
{
    const uint32_t size = 1u << block->memory.entry_shift;
    const uint8_t *table = block->ram + (frame << 12);
    uint32_t at;

    /* PTE_PRESENT is in the first byte. */
    for (at = 0; at <= PAGE_OFFSET; at += size)
        if (table[at] & PTE_PRESENT)
            return false;
    return true;
}

/* A frame in no use becomes an L1 table that maps nothing; not yet counted. */
static bool validate(struct gateway_block *block, uint64_t frame)
{
    struct gateway_memory *memory = &block->memory;
    const bool was_writable = memory->type[frame] == TYPE_WRITABLE;

    if (memory->type[frame] == TYPE_L1 && memory->flags[frame] & FRAME_VALIDATED)
        return false;
    if (memory->flags[frame] & FRAME_PAE_XEN_L2 || !maps_nothing(block, frame))
        return false;
    /* A processor may remember that the guest could write here. */
    if (was_writable && !can_flush(block, true))
        return false;
    if (was_writable)
        flush_tlb(block);
    memory->type[frame] = TYPE_L1;
    memory->flags[frame] |= FRAME_VALIDATED;
    memory->linear[frame] = 0;
    return true;
}

bool gateway_pin_l1(struct gateway_block *block, struct call *call, uint64_t frame)
{
    struct gateway_memory *memory = &block->memory;

    if (*memory->types_observed || !is_own(memory, frame) || memory->flags[frame] & FRAME_PINNED)
        return false;
    if (!memory->type_count[frame]) {
        if (memory->count[frame] >= FRAME_COUNT_MAX || !validate(block, frame))
            return false;
        call->tables++;
    } else if (!can_use(memory, frame, TYPE_L1)) {
        return false;
    }
    take(memory, frame);
    memory->flags[frame] |= FRAME_PINNED;
    return true;
}

bool gateway_unpin(struct gateway_block *block, struct call *call, uint64_t frame)
{
    struct gateway_memory *memory = &block->memory;

    if (*memory->types_observed || !is_own(memory, frame) || !(memory->flags[frame] & FRAME_PINNED))
        return false;
    if (memory->count[frame] < 2 || memory->count[frame] >= FRAME_COUNT_MAX || !memory->type_count[frame])
        return false;
    if (memory->type_count[frame] == 1) {
        if (memory->type[frame] != TYPE_L1 || !maps_nothing(block, frame))
            return false;
        memory->flags[frame] &= (uint8_t)~(FRAME_VALIDATED | FRAME_PAE_XEN_L2);
        call->tables++;
    }
    memory->flags[frame] &= (uint8_t)~FRAME_PINNED;
    drop(memory, frame);
    return true;
}
