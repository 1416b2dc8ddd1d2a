/* update_descriptor (paravane.memory: descriptor_tables.py, descriptors.py). */

#include "hypercalls.h"

/* Of a descriptor's upper word. */
#define SEGMENT (1u << 12)
#define PRESENT (1u << 15)
#define LONG (1u << 21)
#define GRANULAR (1u << 23)
#define LIMIT_HIGH 0xf0000u

#define SLOT(selector) ((selector) >> 3 & (DESCRIPTORS_PER_PAGE - 1))

/* The descriptor as it may be stored; false for gates, and for what may not be stored (`check_descriptor`). */
static bool as_stored(const struct gateway_memory *memory, uint32_t *low, uint32_t *high)
{
    uint32_t base;
    uint64_t size;

    if (!(*high & PRESENT))
        return true;
    if (!(*high & SEGMENT) || *high & LONG)
        return false;
    if (!(*high & DPL_MASK))
        *high |= KERNEL_RING << DPL_SHIFT;
    base = (*high & 0xff000000u) | (*high & 0xff) << 16 | *low >> 16;
    size = (uint64_t)((*high & LIMIT_HIGH) | (*low & 0xffff)) + 1;
    if (*high & GRANULAR)
        size <<= 12;
    /* A flat segment that reaches into the hypervisor's area reaches all of it. */
    if (!base && size > memory->hole) {
        *low |= 0xffff;
        *high |= LIMIT_HIGH;
    }
    return true;
}

/*
 * Whether CS or SS of any vcpu may be that descriptor, of whichever table, and so would have to be loaded anew. The vcpus
 * of a domain take turns in one thread.
 */
static bool may_run_on(const struct gateway_block *block, uint64_t maddr)
{
    const uint32_t slot = (uint32_t)(maddr & PAGE_OFFSET) >> 3;
    const struct gateway_memory *memory = &block->memory;
    const uint32_t *words;
    uint32_t i;

    for (i = 0; i < memory->max_vcpus; i++) {
        if (memory->states[i] == NO_PROCESSOR)
            continue;
        if (memory->states[i] == UNSEEN)
            return true;
        words = (const uint32_t *)(uintptr_t)memory->states[i];
        if (SLOT(words[block->layout.cs]) == slot || SLOT(words[block->layout.ss]) == slot)
            return true;
    }
    return false;
}

bool gateway_update_descriptor(struct gateway_block *block, struct call *call)
{
    const uint64_t maddr = (uint64_t)call->arguments[1] << 32 | call->arguments[0];
    uint32_t descriptor[2] = {call->arguments[2], call->arguments[3]};

    if (maddr % sizeof(descriptor) || !can_use(&block->memory, maddr >> 12, TYPE_SEG_DESC))
        return false;
    if (block->code_map[maddr >> 12] || may_run_on(block, maddr))
        return false;
    if (!as_stored(&block->memory, &descriptor[0], &descriptor[1]))
        return false;
    memcpy(block->ram + maddr, descriptor, sizeof(descriptor));
    call->work = 0;
    call->result = 0;
    return true;
}
