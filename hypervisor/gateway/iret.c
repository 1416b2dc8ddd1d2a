/* HYPERVISOR_iret (paravane.traps.iret). */

#include "resume.h"

#define NEAR_WORDS 4
#define FAR_WORDS 6

/*
 * The frame at ESP is EAX, EIP, CS, EFLAGS and, for a return to ring 2 or 3, ESP and SS. It is read at linear ESP,
 * whatever SS is.
 */
bool gateway_iret(struct gateway_block *block, void *engine)
{
    const struct gateway_layout *at = &block->layout;
    const uint32_t esp = block->words[at->esp];
    uint32_t frame[FAR_WORDS], cs, ss;
    const uint8_t *stack;
    struct resume to;

    if (*block->attention & IN_NMI || !resume_begin(block, engine, &to))
        return false;
    stack = readable(block, esp, NEAR_WORDS * 4);
    if (!stack)
        return false;
    memcpy(frame, stack, NEAR_WORDS * 4);
    cs = frame[2] & 0xffff;
    ss = to.ss;
    if (!(cs & 3) || frame[3] & EFLAGS_VM)
        return false;
    to.esp = esp + NEAR_WORDS * 4;
    if ((cs & 3) > KERNEL_RING) {
        if (!readable(block, esp, FAR_WORDS * 4))
            return false;
        memcpy(frame, stack, FAR_WORDS * 4);
        to.esp = frame[4];
        ss = frame[5] & 0xffff;
    }
    if (!resume_load(block, &to, cs, frame[1], ss))
        return false;
    /* The processor knows no EFLAGS without the fixed bit, and an upcall saves them as the processor has them. */
    to.eflags = (frame[3] & ~(EFLAGS_IOPL | EFLAGS_VM)) | EFLAGS_IF | EFLAGS_FIXED;
    to.mask = !(frame[3] & EFLAGS_IF);
    if (!resume_commit(block, engine, &to, TRAP_COST))
        return false;
    block->words[at->eax] = frame[0];
    return true;
}
