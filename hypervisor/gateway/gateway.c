/*
 * The native gateway: the engine's interrupt hook of one vcpu, which serves the commonest traps.
 *
 * Plain or nothing. A trap is looked at first, and whatever is not as plain as can be is left to Python with
 * nothing changed: Python's hook then serves it as if this one were not there, and stays the only definition of the
 * hard cases. Only after the last question is anything written.
 *
 * Nothing is allocated and nothing is static. Whatever a guest can choose, a table's address above all, is held
 * against the size of machine memory before it is used. The interpreter lock is not held here, so no object of
 * Python's is touched: numbers that both languages use lie in arrays that never move (see structs.py).
 *
 * This file needs neither Python's headers nor the engine's: the engine's functions come in as pointers.
 */

#define _POSIX_C_SOURCE 199309L

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "gateway_structs.h"

#define RING(hflags) ((hflags) & 3)
#define KERNEL_RING 1
#define APPLICATION_RING 3
#define DPL_MASK 0x6000u
#define PAGE_OFFSET 0xfffu
#define PAE_ADDRESS 0x000ffffffffff000ull
/* Reserved bits: whoever set them is to be told by the slow way. */
#define PAE_ODD 0x7fffff0000000000ull

const uint32_t gateway_mark = GATEWAY_MARK;
const uint32_t gateway_block_size = sizeof(struct gateway_block);

/* `size` bytes of machine memory as a number; false outside of it. */
static bool load(const struct gateway_block *block, uint64_t maddr, uint64_t size, uint64_t *value)
{
    uint32_t word;

    if (maddr > block->ram_size - size)
        return false;
    if (size == sizeof(*value)) {
        memcpy(value, block->ram + maddr, sizeof(*value));
    } else {
        memcpy(&word, block->ram + maddr, sizeof(word));
        *value = word;
    }
    return true;
}

/*
 * The machine address of a linear one that ring 0 to 2 may write, when all Accessed and Dirty bits are set already:
 * so nothing has to be written on the way (paravane.cpu.paging, `translate`, whose fast path this is).
 */
static bool writable(const struct gateway_block *block, uint32_t linear, uint64_t *maddr)
{
    const uint64_t ready = PTE_PRESENT | PTE_ACCESSED | PTE_RW;
    const uint64_t size = block->pae ? 8 : 4;
    const uint64_t odd = block->pae ? PAE_ODD : 0;
    const uint32_t cr3 = block->words[block->layout.cr3];
    uint64_t entry, table;

    if (block->pae) {
        if (!load(block, (cr3 & 0xffffffe0u) + (linear >> 30) * 8, size, &entry))
            return false;
        if (!(entry & PTE_PRESENT) || entry & odd)
            return false;
        table = (entry & PAE_ADDRESS) + (linear >> 21 & 0x1ff) * 8;
    } else {
        table = (cr3 & 0xfffff000u) + (linear >> 22) * 4;
    }
    if (!load(block, table, size, &entry) || (entry & ready) != ready || entry & (odd | PTE_LARGE))
        return false;
    table = (entry & PAE_ADDRESS) + (block->pae ? (linear >> 12 & 0x1ff) * 8 : (linear >> 12 & 0x3ff) * 4);
    if (!load(block, table, size, &entry) || (entry & (ready | PTE_DIRTY)) != (ready | PTE_DIRTY) || entry & odd)
        return false;
    *maddr = (entry & PAE_ADDRESS) | (linear & PAGE_OFFSET);
    return *maddr < block->ram_size;
}

/* Whether the guest can simply go on after a trap of this cost, without timers and limits; `now` is the time then. */
static bool goes_on(const struct gateway_block *block, int64_t cost, int64_t *now)
{
    struct timespec host;

    if (block->counts[TRAPS] + 1 == block->counts[TRAP_LIMIT])
        return false;
    if (block->clock) {
        *now = *block->clock + cost;
    } else {
        if (clock_gettime(CLOCK_MONOTONIC, &host))
            return false;
        *now = (int64_t)host.tv_sec * 1000000000 + host.tv_nsec - block->clock_start;
    }
    return *now < *block->deadline;
}

/* A trap was served, and the time is `now`. */
static void account(struct gateway_block *block, int64_t now)
{
    block->counts[TRAPS]++;
    if (block->clock)
        *block->clock = now;
    block->served++;
}

/* The vcpu_info, or null. */
static uint8_t *vcpu_info(const struct gateway_block *block)
{
    const uint64_t maddr = (uint64_t)*block->vcpu_info;

    return maddr <= block->ram_size - VCPU_INFO_SIZE ? block->ram + maddr : NULL;
}

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
static bool system_call(struct gateway_block *block, void *engine)
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

/* int 0x82 from ring 1, where one word is the whole answer. */
static bool hypercall(struct gateway_block *block)
{
    const struct gateway_layout *at = &block->layout;
    uint32_t *words = block->words;
    const uint8_t *info = vcpu_info(block);
    uint32_t i;
    int64_t now;

    if (RING(words[at->hflags]) != KERNEL_RING || *block->hypercalls_traced)
        return false;
    for (i = 0; i < block->nr_answers; i++)
        if (block->answers[i].number == words[at->eax] && block->answers[i].command == words[at->ebx])
            break;
    if (i == block->nr_answers || !info || (info[UPCALL_PENDING] && !info[UPCALL_MASK]))
        return false;
    if (!goes_on(block, TRAP_COST, &now))
        return false;

    words[at->eax] = block->answers[i].result;
    account(block, now);
    return true;
}

/* Whether the trap was served; nothing has changed if not. */
static bool serve(struct gateway_block *block, void *engine, uint32_t vector)
{
    const struct gateway_layout *at = &block->layout;

    if (!block->ready || *block->attention || *block->backends_due)
        return false;
    if (block->words[at->eflags] & EFLAGS_VM || !block->words[at->is_int])
        return false;
    if (vector == SYSCALL_VECTOR)
        return system_call(block, engine);
    if (vector == HYPERCALL_VECTOR)
        return hypercall(block);
    return false;
}

/* The engine's hook. `user` is the block of the vcpu whose engine this is. */
void gateway_on_trap(void *engine, uint32_t vector, void *user)
{
    struct gateway_block *block = user;

    if (!serve(block, engine, vector))
        block->python(engine, vector, user);
}
