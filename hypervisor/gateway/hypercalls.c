/* Hypercalls, one by one and in lists. */

#include "hypercalls.h"
#include "resume.h"

bool gateway_finish(struct gateway_block *block, void *engine, uint32_t result)
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
static void switch_stack(struct gateway_block *block, uint32_t ss, uint32_t esp)
{
    int64_t *registers = block->traps.registers;

    registers[KERNEL_SS] = (ss & 0xffff) | (ss & 3 ? 0 : KERNEL_RING);
    registers[KERNEL_SP] = esp;
}

static bool stack_switch(struct gateway_block *block, void *engine, uint32_t ss, uint32_t esp)
{
    if (!gateway_finish(block, engine, 0))
        return false;
    switch_stack(block, ss, esp);
    return true;
}

static bool fpu_taskswitch(struct gateway_block *block, void *engine, bool on)
{
    if (!gateway_finish(block, engine, 0))
        return false;
    gateway_set_task_switched(block, on);
    return true;
}

/* It was served, and costs an entry of a list no more than that. */
static bool plain(struct call *call, uint32_t result)
{
    call->result = result;
    call->work = 0;
    return true;
}

/* A hypercall whose answer is always the same. */
static bool answer(const struct gateway_block *block, struct call *call)
{
    uint32_t i;

    for (i = 0; i < block->nr_answers; i++)
        if (block->answers[i].number == call->number && block->answers[i].command == call->arguments[0])
            return plain(call, block->answers[i].result);
    return false;
}

/* Any hypercall but a list; what is to be stored for it is left to `store_done`. */
static bool serve(struct gateway_block *block, struct call *call)
{
    call->nr_changes = 0;
    call->moved_base = false;
    call->tables = 0;
    call->tells_done = false;
    switch (call->number) {
    case MMU_UPDATE:
        return gateway_mmu_update(block, call);
    case UPDATE_VA_MAPPING:
        return gateway_update_va_mapping(block, call);
    case MMUEXT_OP:
        return gateway_mmuext_op(block, call);
    case UPDATE_DESCRIPTOR:
        return gateway_update_descriptor(block, call);
    case HYPERCALL_STACK_SWITCH:
        switch_stack(block, call->arguments[0], call->arguments[1]);
        return plain(call, 0);
    case HYPERCALL_FPU_TASKSWITCH:
        gateway_set_task_switched(block, call->arguments[0] != 0);
        return plain(call, 0);
    default:
        return answer(block, call);
    }
}

/* What `serve` left to be stored. */
static void store_done(struct gateway_block *block, const struct call *call)
{
    if (call->tells_done)
        store_word(block, call->done_at, call->done);
}

/*
 * One entry of a list; false with nothing changed. An entry may map the list elsewhere, which Python notices when the
 * TLB is flushed: that is left to it. Only changes of page tables and of the root move anything, and those can be
 * undone.
 */
static bool serve_entry(struct gateway_block *block, uint32_t at, struct call *call)
{
    uint32_t entry[MULTICALL_ENTRY_SIZE / 4];
    uint64_t result, after;

    if (!copy_from_guest(block, entry, at, sizeof(entry)) || !word_for_guest(block, at + MULTICALL_RESULT, &result))
        return false;
    call->number = entry[0];
    memcpy(call->arguments, entry + 2, sizeof(call->arguments));
    if (!serve(block, call))
        return false;
    if (!word_for_guest(block, at + MULTICALL_RESULT, &after) || after != result)
        return gateway_undo(block, call);
    store_done(block, call);
    store_word(block, result, call->result);
    return true;
}

/*
 * A list of hypercalls (paravane.hypercalls.multicall). Python goes on at the first that is not served here, or where
 * the work of one entry into the hypervisor is done.
 */
static bool multicall(struct gateway_block *block, struct call *call)
{
    const uint32_t list = call->arguments[0], count = call->arguments[1];
    int64_t *begun = block->memory.begun, flushes;
    uint32_t i, work = 0;

    begun[SETTLED] = 0;
    for (i = 0; i < count && work < WORK_BUDGET; i++) {
        flushes = *block->memory.flush_count;
        call->left = WORK_BUDGET - work;
        if (!serve_entry(block, list + i * MULTICALL_ENTRY_SIZE, call))
            break;
        work += MULTICALL_ENTRY_WORK + call->work;
        /* Those of the first entry are looked at before Python asks how many there were. */
        if (i)
            work += call->tables * TABLE_WORK;
        begun[SETTLED] = *block->memory.flush_count == flushes;
    }
    if (i < count) {
        begun[ITEMS] = i;
        begun[UNITS] = work;
        return false;
    }
    call->result = 0;
    call->tells_done = false;
    return true;
}

/* Any but HYPERVISOR_iret. */
static bool serve_any(struct gateway_block *block, void *engine)
{
    const struct gateway_layout *at = &block->layout;
    uint32_t *words = block->words;
    const uint8_t *info = vcpu_info(block);
    struct call call;
    int64_t now;

    call.left = WORK_BUDGET;
    call.number = words[at->eax];
    call.arguments[0] = words[at->ebx];
    call.arguments[1] = words[at->ecx];
    call.arguments[2] = words[at->edx];
    call.arguments[3] = words[at->esi];
    call.arguments[4] = words[at->edi];
    call.arguments[5] = words[at->ebp];
    if (!info)
        return false;
    /* A guest that has just unmasked upcalls asks for the version to get the one that waited. */
    if (info[UPCALL_PENDING] && !info[UPCALL_MASK])
        return answer(block, &call) && gateway_finish(block, engine, call.result);
    if (!goes_on(block, TRAP_COST, &now))
        return false;
    if (!(call.number == MULTICALL ? multicall(block, &call) : serve(block, &call)))
        return false;

    store_done(block, &call);
    words[at->eax] = call.result;
    account(block, now);
    return true;
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
        return stack_switch(block, engine, words[at->ebx], words[at->ecx]);
    case HYPERCALL_FPU_TASKSWITCH:
        return fpu_taskswitch(block, engine, words[at->ebx] != 0);
    case HYPERCALL_IRET:
        return gateway_iret(block, engine);
    case HYPERCALL_EVENT_CHANNEL_OP:
        return words[at->ebx] == EVTCHNOP_SEND && gateway_send(block, engine, words[at->ecx]);
    default:
        return serve_any(block, engine);
    }
}
