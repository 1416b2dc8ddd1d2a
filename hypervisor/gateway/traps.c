/* Going into the guest's kernel: the gate for system calls. */

#include "gateway.h"

/* Descriptors and the entries that map them are what they were, and no data segment has to go. */
static bool still_valid(const struct gateway_block *block, const struct gateway_entry *entry)
{
    uint64_t value, i;
    uint32_t dpl;

    for (i = 0; i < entry->nr_watches; i++) {
        if (!load(block, entry->watches[i].maddr, entry->watches[i].size, &value))
            return false;
        if (value != entry->watches[i].value)
            return false;
    }
    for (i = 0; i < 4; i++) {
        dpl = block->words[block->layout.data_flags[i]] & DPL_MASK;
        if (dpl && dpl < entry->lowest)
            return false;
    }
    return true;
}

/* Go through a gate (paravane.cpu.entry, `enter`), EFLAGS apart. */
static void enter(struct gateway_block *block, const struct gateway_entry *entry)
{
    const struct gateway_layout *at = &block->layout;
    uint32_t *words = block->words;
    uint32_t i, hflags;

    for (i = 0; i < 8; i++)
        words[entry->store_at[i]] = entry->store_value[i];
    hflags = (words[at->hflags] & entry->hflags_keep) | entry->hflags_set;
    if (words[at->ds_base] | words[at->es_base])
        hflags |= at->addseg;
    words[at->hflags] = hflags;
    words[at->eip] = entry->eip;
    words[at->esp] = entry->esp;
}

/* int 0x80 from ring 3 (paravane.traps.direct). */
bool gateway_system_call(struct gateway_block *block, void *engine)
{
    const struct gateway_entry *entry = &block->direct;
    const struct gateway_layout *at = &block->layout;
    uint32_t *words = block->words;
    uint8_t *info = vcpu_info(block);
    uint32_t eflags, entered, frame[5];
    uint64_t maddr;
    int64_t now;

    if (!entry->open || RING(words[at->hflags]) != APPLICATION_RING || !info)
        return false;
    if (*block->vm_assist & ARCHITECTURAL_IOPL)
        return false;
    if (!still_valid(block, entry) || !writable(block, entry->frame, &maddr))
        return false;
    /* A frame in the page of vcpu_info might change the very bytes that are looked at here. */
    if (block->code_map[maddr >> 12] || maddr >> 12 == (uint64_t)*block->vcpu_info >> 12)
        return false;
    if (info[UPCALL_PENDING] && !info[UPCALL_MASK] && !entry->masks_events)
        return false;
    if (!goes_on(block, GATE_COST, &now) || block->reg_read(engine, block->eflags_register, &eflags))
        return false;

    eflags &= ~EFLAGS_RF;
    frame[0] = words[at->eip];
    frame[1] = (words[at->cs] & 0xffff) | (uint32_t)info[UPCALL_MASK] << 16 | (uint32_t)info[UPCALL_MASK + 1] << 24;
    frame[2] = (eflags & ~(EFLAGS_IF | EFLAGS_IOPL)) | (info[UPCALL_MASK] ? 0 : EFLAGS_IF);
    frame[3] = words[at->esp];
    frame[4] = words[at->ss] & 0xffff;
    memcpy(block->ram + maddr, frame, sizeof(frame));
    if (entry->masks_events)
        info[UPCALL_MASK] |= 1;
    enter(block, entry);
    entered = (eflags & EFLAGS_KEPT) | EFLAGS_IF;
    if (entered != eflags) {
        entered |= EFLAGS_FIXED;
        /* It takes every value, and keeps none for later: there is nothing that could fail. */
        block->reg_write(engine, block->eflags_register, &entered);
    }
    ++*block->direct_calls;
    account(block, now);
    return true;
}
