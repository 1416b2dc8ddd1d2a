/* Traps that go into the guest's kernel: system calls, `int n`, exceptions. */

#include "emulate.h"
#include "resume.h"

#define INT_LENGTH 2
#define INT_OPCODE 0xcd
#define PORT_ITEM 4 /* bytes of the largest item that INS and OUTS move */

/* int 0x80 from ring 3, for which there is a gate of its own (paravane.traps.direct). */
static bool system_call(struct gateway_block *block, void *engine, struct resume *to)
{
    if (to->ring != APPLICATION_RING || !resume_bounce(block, to, block->traps.gates[SYSCALL_VECTOR], NULL))
        return false;
    if (!resume_commit(block, engine, to, GATE_COST))
        return false;
    block->traps.counters[DIRECT]++;
    return true;
}

/* Through the gate of `vector`, or to the guest's handler of an exception. */
static bool bounce(struct gateway_block *block, void *engine, struct resume *to, uint32_t vector,
                   const uint32_t *error_code)
{
    if (!resume_bounce(block, to, block->traps.gates[vector], error_code))
        return false;
    if (!resume_commit(block, engine, to, TRAP_COST))
        return false;
    block->traps.counters[BOUNCED]++;
    return true;
}

/* Whether what ends at EIP is `int vector` without a prefix, as far as the bytes before it tell at once. */
static bool is_plain_int(const struct gateway_block *block, const struct resume *to, uint32_t vector)
{
    const uint32_t end = block->words[block->layout.cs_base] + to->eip;
    const uint8_t *code = readable(block, end - INT_LENGTH - 1, INT_LENGTH + 1);

    return code && !is_prefix(code[0]) && code[1] == INT_OPCODE && code[2] == vector;
}

/* `int n` through a gate that Xen closed: the DPL in the guest's table decides (paravane.traps.vcpu_traps). */
static bool software_interrupt(struct gateway_block *block, void *engine, struct resume *to, uint32_t vector)
{
    const uint32_t dpl = block->traps.gates[vector] >> GATE_DPL_SHIFT & 3;
    const uint32_t error_code = vector << 3 | IDT_ERROR;

    if (!is_plain_int(block, to, vector))
        return false;
    /* The processor refuses it first, and so saves RF. */
    to->eflags |= EFLAGS_RF;
    if (dpl >= (to->ring == KERNEL_RING ? KERNEL_RING : APPLICATION_RING))
        return bounce(block, engine, to, vector, NULL);
    to->eip -= INT_LENGTH;
    return bounce(block, engine, to, VECTOR_GP, &error_code);
}

/* `int n`, `int3` or `into`. EIP is after the instruction. */
bool gateway_interrupt(struct gateway_block *block, void *engine, uint32_t vector)
{
    struct resume to;

    if (vector == HYPERCALL_VECTOR && RING(block->words[block->layout.hflags]) == KERNEL_RING)
        return gateway_hypercall(block, engine);
    if (vector >= NR_VECTORS || !resume_begin(block, engine, &to))
        return false;
    if (vector == SYSCALL_VECTOR)
        return system_call(block, engine, &to);
    if (vector == VECTOR_BP || vector == VECTOR_OF)
        return bounce(block, engine, &to, vector, NULL);
    return software_interrupt(block, engine, &to, vector);
}

/*
 * Whether the fault may be one of INS or OUTS, whose memory the engine touches before anybody asks for the privilege
 * (paravane.traps.emulate.dispatch, `is_port_string`): only then is CR2 where EDI or ESI points.
 */
static bool may_be_port_string(const struct gateway_block *block, uint32_t cr2)
{
    const struct gateway_layout *at = &block->layout;
    const uint32_t *words = block->words;
    const uint32_t esi = words[at->regs + ESI * at->reg_stride], edi = words[at->regs + EDI * at->reg_stride];
    const uint8_t *code;
    uint32_t i;

    if (cr2 - edi >= PORT_ITEM && cr2 - esi >= PORT_ITEM)
        return false;
    code = readable(block, words[at->cs_base] + words[at->eip], MOST_CODE);
    for (i = 0; code && i < MOST_CODE; i++)
        if (!is_prefix(code[i]))
            return code[i] >= FIRST_PORT_STRING && code[i] <= LAST_PORT_STRING;
    return true;
}

/* #PF: the guest's own, unless Python may have something to mend (paravane.memory.page_faults). */
static bool page_fault(struct gateway_block *block, void *engine, struct resume *to)
{
    const uint32_t cr2 = block->words[block->layout.cr2];
    uint32_t error_code = block->words[block->layout.error_code];
    enum fault_kind kind;
    uint64_t maddr;

    if (cr2 >= DESCRIPTOR_AREA)
        return false;
    kind = gateway_table_store(block, to, error_code, &maddr);
    if (kind != NO_TABLE)
        return kind == TABLE && gateway_store_to_table(block, engine, to, maddr);
    if (may_be_port_string(block, cr2))
        return false;
    /* The user bit says whether the guest's kernel ran, not which ring paging saw. */
    error_code = (error_code & ~PF_USER) | (to->ring == KERNEL_RING ? 0 : PF_USER);
    to->eflags |= EFLAGS_RF;
    if (!bounce(block, engine, to, VECTOR_PF, &error_code))
        return false;
    block->traps.registers[VIRTUAL_CR2] = cr2;
    memcpy(to->info + INFO_CR2, &cr2, sizeof(cr2));
    return true;
}

/* #NM is the guest's only if it has set TS itself, and clears it. */
static bool device_not_available(struct gateway_block *block, void *engine, struct resume *to)
{
    to->eflags |= EFLAGS_RF;
    if (!block->traps.registers[TASK_SWITCHED] || !bounce(block, engine, to, VECTOR_NM, NULL))
        return false;
    gateway_set_task_switched(block, false);
    return true;
}

/* A fault. EIP is at the instruction. */
bool gateway_exception(struct gateway_block *block, void *engine, uint32_t vector)
{
    struct resume to;

    switch (vector) {
    case VECTOR_PF:
        return resume_fault(block, engine, &to, vector) && page_fault(block, engine, &to);
    case VECTOR_NM:
        return resume_fault(block, engine, &to, vector) && device_not_available(block, engine, &to);
    case VECTOR_GP:
        if (block->words[block->layout.error_code])
            return false;
        return resume_fault(block, engine, &to, vector) && gateway_emulate(block, engine, &to);
    case VECTOR_DE:
    case VECTOR_BR:
    case VECTOR_MF:
        if (!resume_fault(block, engine, &to, vector))
            return false;
        to.eflags |= EFLAGS_RF;
        return bounce(block, engine, &to, vector, NULL);
    default:
        return false;
    }
}
