/*
 * What the parts of the native gateway share: looking at machine memory, at the time, and at what is due on the
 * return to the guest; and what each part serves.
 */
#ifndef GATEWAY_H
#define GATEWAY_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "gateway_structs.h"

#define RING(hflags) ((hflags) & 3)
#define KERNEL_RING 1
#define APPLICATION_RING 3
#define DPL_MASK 0x6000u
#define DPL_SHIFT 13
#define PAGE_OFFSET 0xfffu
#define PAE_ADDRESS 0x000ffffffffff000ull
/* Reserved bits: whoever set them is to be told by the slow way. */
#define PAE_ODD 0x7fffff0000000000ull

/* What Python asks the library for by name; the rest is hidden. */
#define GATEWAY_EXPORT __attribute__((visibility("default")))

/* Each serves a trap of its kind whole, or gives false with nothing changed. */
bool gateway_interrupt(struct gateway_block *block, void *engine, uint32_t vector);
bool gateway_exception(struct gateway_block *block, void *engine, uint32_t vector);
bool gateway_hypercall(struct gateway_block *block, void *engine);
bool gateway_iret(struct gateway_block *block, void *engine);

/* Serve the invalid opcode at EIP. */
bool gateway_forced_cpuid(struct gateway_block *block, void *engine);

/* What CPUID answers to EAX and ECX, in EAX to EDX. */
void gateway_answer_cpuid(struct gateway_block *block);

/* Whether entries into the hypervisor may be served at all: nobody wants to see each, and nothing else is due. */
static inline bool may_serve(const struct gateway_block *block)
{
    if (!block->ready || *block->attention & EVERY_TRAP || *block->backends_due)
        return false;
    return !(block->words[block->layout.eflags] & EFLAGS_VM);
}

/* `size` bytes of machine memory as a number; false outside of it. */
static inline bool load(const struct gateway_block *block, uint64_t maddr, uint64_t size, uint64_t *value)
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
 * The entry of the lowest level for a linear address, when all on the way is plain: present, Accessed set already, no
 * large page, no reserved bit, and writable where that is asked for (paravane.cpu.paging, `translate`, whose fast path
 * this is). False otherwise.
 */
static inline bool find_leaf(const struct gateway_block *block, uint32_t linear, bool to_write, uint64_t *leaf)
{
    const uint64_t ready = PTE_PRESENT | PTE_ACCESSED | (to_write ? PTE_RW : 0);
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
    return load(block, table, size, leaf) && !(*leaf & odd);
}

/* The machine address of a linear one that ring 0 to 2 may read or write without a bit set on the way. */
static inline bool reach(const struct gateway_block *block, uint32_t linear, bool to_write, uint64_t *maddr)
{
    const uint64_t ready = PTE_PRESENT | PTE_ACCESSED | (to_write ? PTE_RW | PTE_DIRTY : 0);
    uint64_t leaf;

    if (!find_leaf(block, linear, to_write, &leaf) || (leaf & ready) != ready)
        return false;
    *maddr = (leaf & PAE_ADDRESS) | (linear & PAGE_OFFSET);
    return *maddr < block->ram_size;
}

/*
 * Where `size` bytes at a linear address can be read, or null. They must not cross a page: machine memory is whole
 * pages, so that what begins in it ends in it.
 */
static inline const uint8_t *readable(const struct gateway_block *block, uint32_t linear, uint32_t size)
{
    uint64_t maddr;

    if ((linear & PAGE_OFFSET) + size > PAGE_OFFSET + 1 || !reach(block, linear, false, &maddr))
        return NULL;
    return block->ram + maddr;
}

/* Where `hooked_map` has an instruction (paravane.cpu.state, `hook_bucket`). */
static inline uint32_t hook_bucket(uint32_t linear)
{
    return (linear ^ linear >> 12) % HOOK_BUCKETS;
}

/* Whether the guest can simply go on after a trap of this cost, without timers and limits; `now` is the time then. */
static inline bool goes_on(const struct gateway_block *block, int64_t cost, int64_t *now)
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
static inline void account(struct gateway_block *block, int64_t now)
{
    block->counts[TRAPS]++;
    if (block->clock)
        *block->clock = now;
    block->served++;
}

/* The vcpu_info, or null. */
static inline uint8_t *vcpu_info(const struct gateway_block *block)
{
    const uint64_t maddr = (uint64_t)*block->vcpu_info;

    return maddr <= block->ram_size - VCPU_INFO_SIZE ? block->ram + maddr : NULL;
}

#endif
