/* Hypercalls. */

#include "resume.h"

/* Return from a hypercall with `result`, and by an upcall if one is due. */
static bool finish(struct gateway_block *block, void *engine, uint32_t result)
{
    const uint8_t *info = vcpu_info(block);
    struct resume to;
    int64_t now;

    if (!info)
        return false;
    if (info[UPCALL_PENDING] && !info[UPCALL_MASK]) {
        if (!resume_begin(block, engine, &to) || !resume_commit(block, engine, &to, TRAP_COST))
            return false;
    } else {
        if (!goes_on(block, TRAP_COST, &now))
            return false;
        account(block, now);
    }
    block->words[block->layout.eax] = result;
    return true;
}

/* stack_switch: the stack for entries from ring 2 and 3. RPL 0 means the kernel's ring (paravane.traps.table). */
static bool stack_switch(struct gateway_block *block, void *engine, uint32_t ss, uint32_t esp)
{
    int64_t *registers = block->traps.registers;

    if (!finish(block, engine, 0))
        return false;
    registers[KERNEL_SS] = (ss & 0xffff) | (ss & 3 ? 0 : KERNEL_RING);
    registers[KERNEL_SP] = esp;
    return true;
}

static bool fpu_taskswitch(struct gateway_block *block, void *engine, bool on)
{
    if (!finish(block, engine, 0))
        return false;
    gateway_set_task_switched(block, on);
    return true;
}

/* A hypercall whose answer is always the same. */
static bool answer(struct gateway_block *block, void *engine)
{
    const struct gateway_layout *at = &block->layout;
    const uint32_t *words = block->words;
    uint32_t i;

    for (i = 0; i < block->nr_answers; i++)
        if (block->answers[i].number == words[at->eax] && block->answers[i].command == words[at->ebx])
            return finish(block, engine, block->answers[i].result);
    return false;
}

/* int 0x82 from ring 1. */
bool gateway_hypercall(struct gateway_block *block, void *engine)
{
    const struct gateway_layout *at = &block->layout;
    const uint32_t *words = block->words;

    if (*block->hypercalls_traced)
        return false;
    switch (words[at->eax]) {
    case HYPERCALL_STACK_SWITCH:
        return stack_switch(block, engine, words[at->ebx], words[at->regs + at->reg_stride]);
    case HYPERCALL_FPU_TASKSWITCH:
        return fpu_taskswitch(block, engine, words[at->ebx] != 0);
    case HYPERCALL_IRET:
        return gateway_iret(block, engine);
    default:
        return answer(block, engine);
    }
}
