/* One entry of an L1 table (paravane.memory: `PageTables.modify_l1`, `L1Tables.get_entry` and `put_entry`). */

#include "hypercalls.h"

#define NO_FRAME UINT64_MAX

static uint64_t frame_of(const struct gateway_memory *memory, uint64_t entry)
{
    return entry & PTE_PRESENT ? (entry & memory->address_mask) >> 12 : NO_FRAME;
}

static uint64_t load_entry(const struct gateway_block *block, uint64_t maddr)
{
    uint64_t entry = 0;

    memcpy(&entry, block->ram + maddr, 1u << block->memory.entry_shift);
    return entry;
}

static void store_entry(struct gateway_block *block, uint64_t maddr, uint64_t entry)
{
    memcpy(block->ram + maddr, &entry, 1u << block->memory.entry_shift);
}

/* An L1 table of the domain's own in use, without code that would have to be dropped. */
static bool is_plain_table(const struct gateway_block *block, uint64_t frame)
{
    return is_in_use_as(&block->memory, frame, TYPE_L1) && !block->code_map[frame];
}

/* Whether `entry` may map that frame, and the references it takes are to be had. */
static bool can_take(const struct gateway_memory *memory, uint64_t entry, uint64_t frame)
{
    if (!is_own(memory, frame) || memory->count[frame] >= FRAME_COUNT_MAX)
        return false;
    if (!(entry & PTE_RW))
        return true;
    if (!memory->type_count[frame])
        return memory->type[frame] == TYPE_WRITABLE || !*memory->types_observed;
    return can_use(memory, frame, TYPE_WRITABLE);
}

static void take(struct gateway_memory *memory, uint64_t entry, uint64_t frame)
{
    memory->count[frame]++;
    if (!(entry & PTE_RW))
        return;
    if (!memory->type_count[frame]++) {
        memory->type[frame] = TYPE_WRITABLE;
        memory->flags[frame] |= FRAME_VALIDATED;
    }
}

static void drop(struct gateway_memory *memory, uint64_t entry, uint64_t frame)
{
    memory->count[frame]--;
    if (entry & PTE_RW)
        memory->type_count[frame]--;
}

bool gateway_change_entry(struct gateway_block *block, struct call *call, uint64_t maddr, uint64_t entry,
                          bool preserve_ad)
{
    struct gateway_memory *memory = &block->memory;
    struct change *change = &call->changes[call->nr_changes];
    uint64_t old, taken, dropped;

    if (call->nr_changes == MOST_CHANGES || !is_plain_table(block, maddr >> 12))
        return false;
    if (memory->entry_shift == 2)
        entry &= UINT32_MAX;
    old = load_entry(block, maddr);
    taken = frame_of(memory, entry);
    if (taken != NO_FRAME && entry & memory->refused)
        return false;
    change->maddr = maddr;
    change->old = old;
    change->moved = taken == NO_FRAME || (old ^ entry) & ~memory->unchecked;
    if (change->moved) {
        dropped = frame_of(memory, old);
        if (taken != NO_FRAME) {
            if (!can_take(memory, entry, taken))
                return false;
            change->type = memory->type[taken];
            change->flags = memory->flags[taken];
        }
        /* The last reference to a frame is Python's to drop. */
        if (dropped != NO_FRAME && (!is_own(memory, dropped) || memory->count[dropped] + (dropped == taken) < 2))
            return false;
        if (taken != NO_FRAME)
            take(memory, entry, taken);
        if (dropped != NO_FRAME)
            drop(memory, old, dropped);
    }
    if (taken != NO_FRAME)
        entry &= ~memory->dropped;
    if (preserve_ad)
        entry |= old & (PTE_ACCESSED | PTE_DIRTY);
    store_entry(block, maddr, entry);
    call->nr_changes++;
    return true;
}

bool gateway_undo(struct gateway_block *block, struct call *call)
{
    struct gateway_memory *memory = &block->memory;
    const struct change *change;
    uint64_t entry, taken, dropped;

    if (call->moved_base)
        gateway_restore_base(block, call);
    while (call->nr_changes) {
        change = &call->changes[--call->nr_changes];
        if (change->moved) {
            entry = load_entry(block, change->maddr);
            taken = frame_of(memory, entry);
            dropped = frame_of(memory, change->old);
            if (dropped != NO_FRAME) {
                memory->count[dropped]++;
                if (change->old & PTE_RW)
                    memory->type_count[dropped]++;
            }
            if (taken != NO_FRAME) {
                drop(memory, entry, taken);
                memory->type[taken] = change->type;
                memory->flags[taken] = change->flags;
            }
        }
        store_entry(block, change->maddr, change->old);
    }
    return false;
}
