/* CPUID (paravane.traps.emulate.cpuid). */

#include "gateway.h"

static const struct gateway_leaf *find(const struct gateway_cpuid *cpuid, uint32_t leaf, uint32_t subleaf)
{
    const struct gateway_leaf *found;
    uint32_t i;

    for (i = 0; i < cpuid->nr_leaves; i++) {
        found = &cpuid->leaves[i];
        if (found->leaf == leaf && (!found->by_subleaf || found->subleaf == subleaf))
            return found;
    }
    return NULL;
}

void gateway_answer_cpuid(struct gateway_block *block)
{
    const struct gateway_layout *at = &block->layout;
    const struct gateway_leaf *found = find(&block->cpuid, block->words[at->eax], block->words[at->ecx]);

    block->words[at->eax] = found ? found->answer[0] : 0;
    block->words[at->ebx] = found ? found->answer[1] : 0;
    block->words[at->ecx] = found ? found->answer[2] : 0;
    block->words[at->edx] = found ? found->answer[3] : 0;
}

/*
 * The engine's hook of CPUID that a guest executes without a trap: 1, it is answered. The engine goes on in the middle
 * of a block, with the registers as they are then. Where code hooks may be, their flags are to be mended: Python's.
 */
GATEWAY_EXPORT int gateway_on_cpuid(void *engine, void *user)
{
    struct gateway_block *block = user;

    if (!may_serve(block) || *block->attention & (COUNTED | HOOKED))
        return block->python.cpuid(engine, user);
    if (block->traps.hooked_map[hook_bucket(block->words[block->layout.eip] + block->words[block->layout.cs_base])])
        return block->python.cpuid(engine, user);
    gateway_answer_cpuid(block);
    return 1;
}
