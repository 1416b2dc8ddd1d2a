/* mmuext_op (paravane.memory: mmuext.py). */

#include "hypercalls.h"

/* Operations of one call; real kernels ask for one or two. */
#define MOST_OPERATIONS 16

struct operation {
    uint32_t command;
    uint32_t argument[2];
};

/* Whether that is a flush, and can be done. */
static bool is_flush(const struct gateway_block *block, uint32_t command)
{
    switch (command) {
    case MMUEXT_TLB_FLUSH_LOCAL:
    case MMUEXT_INVLPG_LOCAL:
        return can_flush(block, false);
    case MMUEXT_TLB_FLUSH_ALL:
    case MMUEXT_INVLPG_ALL:
        return can_flush(block, true);
    default:
        return false;
    }
}

/* What Python does not charge (`_flush_one` there). */
static bool is_quick(const struct call *call, uint32_t command)
{
    const bool local = command == MMUEXT_TLB_FLUSH_LOCAL || command == MMUEXT_INVLPG_LOCAL;

    return local && call->arguments[1] == 1 && !call->arguments[2];
}

static void flush(struct gateway_block *block, const struct operation *operation)
{
    if (operation->command == MMUEXT_TLB_FLUSH_LOCAL || operation->command == MMUEXT_TLB_FLUSH_ALL)
        flush_tlb(block);
    else
        flush_page(block, operation->argument[0]);
}

/* What is no flush, alone. Where the number of what was done is to be told is looked at as it will be then. */
static bool serve_other(struct gateway_block *block, struct call *call, const struct operation *operation)
{
    const uint32_t frame = operation->argument[0], pdone = call->arguments[2];

    call->work = MMUEXT_OP_WORK;
    call->result = 0;
    switch (operation->command) {
    case MMUEXT_PIN_L1_TABLE:
        return tell_done(block, call, pdone, 1) && gateway_pin_l1(block, call, frame);
    case MMUEXT_UNPIN_TABLE:
        return tell_done(block, call, pdone, 1) && gateway_unpin(block, call, frame);
    case MMUEXT_NEW_BASEPTR:
        if (!can_flush(block, false) || !gateway_load_base(block, call, frame))
            return false;
        if (!tell_done(block, call, pdone, 1))
            return gateway_undo(block, call);
        flush_tlb(block);
        return true;
    default:
        return false;
    }
}

bool gateway_mmuext_op(struct gateway_block *block, struct call *call)
{
    const uint32_t count = call->arguments[1], pdone = call->arguments[2];
    struct operation operations[MOST_OPERATIONS];
    uint32_t i;

    if (!count || count > MOST_OPERATIONS || call->arguments[3] != DOMID_SELF)
        return false;
    /* The last one is begun while any work is left. */
    if ((count - 1) * MMUEXT_OP_WORK >= call->left)
        return false;
    if (!copy_from_guest(block, operations, call->arguments[0], count * sizeof(*operations)))
        return false;
    for (i = 0; i < count; i++)
        if (!is_flush(block, operations[i].command))
            return count == 1 && serve_other(block, call, operations);
    if (!tell_done(block, call, pdone, count))
        return false;

    for (i = 0; i < count; i++)
        flush(block, &operations[i]);
    call->work = is_quick(call, operations[0].command) ? 0 : MMUEXT_OP_WORK * count;
    call->result = 0;
    return true;
}
