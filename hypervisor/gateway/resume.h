/*
 * The return to the guest: where it goes on, worked out step by step on a copy, and made so in the end.
 *
 * What is asked on the way reads the state of the processor and memory as they were when the trap came. That is the
 * same as looking at them after each step, as Python does: a frame is never written into a page table or a descriptor
 * table, which no guest has mapped writable, nor into the page of vcpu_info.
 */
#ifndef GATEWAY_RESUME_H
#define GATEWAY_RESUME_H

#include "gateway.h"

#define MOST_FRAMES 2
#define MOST_FRAME_WORDS 6

struct frame {
    uint64_t maddr;
    uint32_t nr_words;
    uint32_t words[MOST_FRAME_WORDS];
};

struct resume {
    uint32_t cs, eip, eflags, ss, esp, ring;
    /* EFLAGS as the engine gave them: what is the same need not be written. */
    uint32_t held;
    /* They have to be written all the same. */
    bool rewrite;
    uint8_t *info;
    /* evtchn_upcall_mask. */
    uint8_t mask;
    /* The data segments that a more privileged ring leaves behind, a bit for each. */
    uint32_t dropped;
    /* The segments to load; null: CS and SS stay. */
    const struct gateway_way *way;
    uint32_t nr_frames;
    struct frame frames[MOST_FRAMES];
};

/* The guest goes on where it was interrupted. False where that cannot be told. */
bool resume_begin(const struct gateway_block *block, void *engine, struct resume *to);

/* As `resume_begin`, for an exception. */
bool resume_fault(const struct gateway_block *block, void *engine, struct resume *to, uint32_t vector);

/* It goes on with these segments instead, if the way there is known. */
bool resume_load(const struct gateway_block *block, struct resume *to, uint32_t cs, uint32_t eip, uint32_t ss);

/*
 * It is interrupted there, before it has gone on: it enters its kernel by `gate`, which finds a frame with this error
 * code (null: with none) (paravane.traps.bounce).
 */
bool resume_bounce(const struct gateway_block *block, struct resume *to, uint64_t gate, const uint32_t *error_code);

/*
 * Return to the guest after a trap that takes `cost` nanoseconds, by an upcall if one is due. False, with nothing
 * changed, where anything else is due.
 */
bool resume_commit(struct gateway_block *block, void *engine, const struct resume *plan, int64_t cost);

/* CR0.TS, for the guest and its processor (paravane.traps.fpu). Nothing that `resume_commit` looks at. */
void gateway_set_task_switched(struct gateway_block *block, bool on);

#endif
