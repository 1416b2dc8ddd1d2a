/* Hypercalls. */

#include "resume.h"

/* A hypercall whose answer is always the same. */
static bool answer(struct gateway_block *block, void *engine)
{
    const struct gateway_layout *at = &block->layout;
    uint32_t *words = block->words;
    const uint8_t *info = vcpu_info(block);
    struct resume to;
    uint32_t i;
    int64_t now;

    for (i = 0; i < block->nr_answers; i++)
        if (block->answers[i].number == words[at->eax] && block->answers[i].command == words[at->ebx])
            break;
    if (i == block->nr_answers || !info)
        return false;
    if (info[UPCALL_PENDING] && !info[UPCALL_MASK]) {
        /* A guest that has just unmasked upcalls calls so to get the one that waited. */
        if (!resume_begin(block, engine, &to) || !resume_commit(block, engine, &to, TRAP_COST))
            return false;
        words[at->eax] = block->answers[i].result;
        return true;
    }
    if (!goes_on(block, TRAP_COST, &now))
        return false;

    words[at->eax] = block->answers[i].result;
    account(block, now);
    return true;
}

/* int 0x82 from ring 1. */
bool gateway_hypercall(struct gateway_block *block, void *engine)
{
    if (*block->hypercalls_traced)
        return false;
    if (block->words[block->layout.eax] == HYPERCALL_IRET)
        return gateway_iret(block, engine);
    return answer(block, engine);
}
