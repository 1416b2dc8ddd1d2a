/*
 * A hypercall that is served in C, and what its parts share: the guest's linear memory as hypercalls copy from and to
 * it, and changes of page tables that can be taken back.
 *
 * A hypercall is served whole or not at all, but some of what makes one plain is only known on the way: an entry of a
 * list may depend on the one before. So each change of a page table is noted, and a hypercall that turns out not to
 * be plain undoes what it has done, the frame table to the last bit.
 */
#ifndef GATEWAY_HYPERCALLS_H
#define GATEWAY_HYPERCALLS_H

#include "gateway.h"

/* Changes of one hypercall; one that asks for more is Python's. */
#define MOST_CHANGES 512

/*
 * An L1 entry was `old`. If it `moved`, references were taken and dropped for it, and the frame that it maps now, if
 * any, had this type and these flags.
 */
struct change {
    uint64_t maddr;
    uint64_t old;
    bool moved;
    uint8_t type;
    uint8_t flags;
};

/*
 * `left` are the units of work that may still be done (paravane.preemption): a call of several items that would go
 * beyond is split, by Python. `work` is what Python charges an entry of a list for it, besides the `tables` that were
 * looked at whole. `done`, if `tells_done`, is still to be stored at machine address `done_at`: that could not be
 * undone, as requests may lie there.
 */
struct call {
    uint32_t number;
    uint32_t arguments[6];
    uint32_t result;
    uint32_t left;
    uint32_t work;
    uint32_t tables;
    bool tells_done;
    uint32_t done;
    uint64_t done_at;
    /* The root table was `old_base`. */
    bool moved_base;
    uint64_t old_base;
    uint32_t nr_changes;
    struct change changes[MOST_CHANGES];
};

/* Each serves `call` whole, its result and work included, or gives false with nothing changed. */
bool gateway_mmu_update(struct gateway_block *block, struct call *call);
bool gateway_update_va_mapping(struct gateway_block *block, struct call *call);
bool gateway_mmuext_op(struct gateway_block *block, struct call *call);
bool gateway_update_descriptor(struct gateway_block *block, struct call *call);

/* Return from a hypercall with `result`, by an upcall if one is due; false, with nothing changed, where not plain. */
bool gateway_finish(struct gateway_block *block, void *engine, uint32_t result);

/* EVTCHNOP_send of the port that is at a linear address. */
bool gateway_send(struct gateway_block *block, void *engine, uint32_t linear);

/* Set the L1 entry at a machine address, and note it; false, with nothing changed, where that is not plain. */
bool gateway_change_entry(struct gateway_block *block, struct call *call, uint64_t maddr, uint64_t entry,
                          bool preserve_ad);

/* Walk the tables from another root; the TLB is still to be flushed. False, with nothing changed, where not plain. */
bool gateway_load_base(struct gateway_block *block, struct call *call, uint64_t frame);

/* Walk them from the one before again. */
void gateway_restore_base(struct gateway_block *block, struct call *call);

/*
 * Pin and unpin a table. That is not taken back: it changes neither a mapping nor what is writable, so that whatever is
 * looked at before is the same after it.
 */
bool gateway_pin_l1(struct gateway_block *block, struct call *call, uint64_t frame);
bool gateway_unpin(struct gateway_block *block, struct call *call, uint64_t frame);

/* Take back all changes of a call: gives false, what the call then has to give. */
bool gateway_undo(struct gateway_block *block, struct call *call);

static inline bool is_own(const struct gateway_memory *memory, uint64_t frame)
{
    return frame < memory->nr_frames && memory->owner[frame] == memory->domid;
}

/* A frame of the domain's that is in use as `type` (`FrameTable.in_use_as`). */
static inline bool is_in_use_as(const struct gateway_memory *memory, uint64_t frame, uint32_t type)
{
    return is_own(memory, frame) && memory->count[frame] < FRAME_COUNT_MAX && memory->type[frame] == type &&
           memory->type_count[frame];
}

/* Whether one more use of it as `type` is only to be counted (`PageTypes.get_page_and_type`). */
static inline bool can_use(const struct gateway_memory *memory, uint64_t frame, uint32_t type)
{
    const uint8_t asked = FRAME_VALIDATED | FRAME_PAE_XEN_L2;

    return is_in_use_as(memory, frame, type) && memory->type_count[frame] < FRAME_COUNT_MAX &&
           (memory->flags[frame] & asked) == FRAME_VALIDATED;
}

/* Whether `size` bytes at a linear address lie below the hypervisor's own (Xen's access_ok). */
static inline bool below_hole(const struct gateway_block *block, uint32_t linear, uint32_t size)
{
    return (uint64_t)linear + size <= block->memory.hole;
}

/* Copy from the guest, where that is plain. */
static inline bool copy_from_guest(const struct gateway_block *block, void *to, uint32_t linear, uint32_t size)
{
    uint8_t *bytes = to;
    uint64_t maddr;
    uint32_t step;

    if (!below_hole(block, linear, size))
        return false;
    while (size) {
        step = PAGE_OFFSET + 1 - (linear & PAGE_OFFSET);
        if (step > size)
            step = size;
        if (!reach(block, linear, false, &maddr))
            return false;
        memcpy(bytes, block->ram + maddr, step);
        bytes += step;
        linear += step;
        size -= step;
    }
    return true;
}

/*
 * Where a 32-bit word of the guest's is that can simply be stored to: not across the end of a page, not in translated
 * code, and not in vcpu_info, whose bytes were looked at.
 */
static inline bool word_for_guest(const struct gateway_block *block, uint32_t linear, uint64_t *maddr)
{
    const uint64_t info = (uint64_t)*block->vcpu_info;

    if (!below_hole(block, linear, 4) || (linear & PAGE_OFFSET) > PAGE_OFFSET - 3 || !reach(block, linear, true, maddr))
        return false;
    return !block->code_map[*maddr >> 12] && (*maddr + 4 <= info || *maddr >= info + VCPU_INFO_SIZE);
}

/* Whether the TLB can be flushed from here; `all` asks for every vcpu of the domain. */
static inline bool can_flush(const struct gateway_block *block, bool all)
{
    return block->memory.flush_tlb && block->memory.flush_page && (!all || block->memory.lone);
}

static inline void flush_tlb(struct gateway_block *block)
{
    block->memory.flush_tlb(block->memory.processor);
    ++*block->memory.flush_count;
}

static inline void flush_page(struct gateway_block *block, uint32_t linear)
{
    block->memory.flush_page(block->memory.processor, linear);
    ++*block->memory.flush_count;
}

/* How many items of a list were done is to be told at a linear address, unless that is 0 (`Progress` in guest.py). */
static inline bool tell_done(const struct gateway_block *block, struct call *call, uint32_t linear, uint32_t done)
{
    call->done = done;
    call->tells_done = linear != 0;
    return !linear || word_for_guest(block, linear, &call->done_at);
}

static inline void store_word(struct gateway_block *block, uint64_t maddr, uint32_t value)
{
    memcpy(block->ram + maddr, &value, sizeof(value));
}

#endif
