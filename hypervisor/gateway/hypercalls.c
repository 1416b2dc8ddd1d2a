/* Hypercalls. */

#include "gateway.h"

/* int 0x82 from ring 1, where one word is the whole answer. */
bool gateway_hypercall(struct gateway_block *block)
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
