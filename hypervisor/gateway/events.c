/* EVTCHNOP_send of a vcpu to itself (paravane.events.two_level). */

#include "hypercalls.h"

/* Set a bit of the word at a machine address; whether it was clear. */
static bool set_bit(struct gateway_block *block, uint64_t maddr, uint32_t bit)
{
    uint64_t word;

    if (!load(block, maddr, sizeof(uint32_t), &word) || word >> bit & 1)
        return false;
    store_word(block, maddr, (uint32_t)word | 1u << bit);
    return true;
}

/* Each step is taken only where the one before has changed something. The vcpu runs, so that nobody is to be woken. */
static void set_pending(struct gateway_block *block, uint64_t shared, uint64_t info, uint32_t port)
{
    uint64_t mask;

    if (!set_bit(block, shared + EVTCHN_PENDING + port / 32 * 4, port % 32))
        return;
    if (!load(block, shared + EVTCHN_MASK + port / 32 * 4, sizeof(uint32_t), &mask) || mask >> port % 32 & 1)
        return;
    if (set_bit(block, info + INFO_PENDING_SEL, port / 32))
        block->ram[info + UPCALL_PENDING] |= 1;
}

bool gateway_send(struct gateway_block *block, void *engine, uint32_t linear)
{
    const struct gateway_events *events = &block->events;
    const uint64_t shared = (uint64_t)*events->shared_info, info = (uint64_t)*block->vcpu_info;
    uint64_t word, selected;
    uint32_t port;
    uint8_t pending;

    if (*block->attention & UPCALLS_OBSERVED || *events->polling || !shared || !info || !vcpu_info(block))
        return false;
    if (!copy_from_guest(block, &port, linear, sizeof(port)) || port >= EVENT_PORTS)
        return false;
    if (events->ipis[port] != events->vcpu || !load(block, shared + EVTCHN_PENDING + port / 32 * 4, 4, &word))
        return false;
    if (!load(block, shared + EVTCHN_MASK + port / 32 * 4, 4, &selected) ||
        !load(block, info + INFO_PENDING_SEL, 4, &selected))
        return false;
    pending = block->ram[info + UPCALL_PENDING];
    set_pending(block, shared, info, port);
    if (gateway_finish(block, engine, 0))
        return true;
    /* Something else is due on the return: Python sends it. */
    store_word(block, shared + EVTCHN_PENDING + port / 32 * 4, (uint32_t)word);
    store_word(block, info + INFO_PENDING_SEL, (uint32_t)selected);
    block->ram[info + UPCALL_PENDING] = pending;
    return false;
}
