/*
 * IN and OUT where the virtual IOPL allows them (paravane.traps.emulate.io).
 *
 * The engine executes them whatever the privilege is, and its hook says what is read. So one that is plain need not
 * trap: the guest goes on in the middle of its block. All others are made to fault by Python.
 */

#include "gateway.h"

#define OPERAND_SIZE 0x66
#define BYTE_IN_IMMEDIATE 0xe4
#define BYTE_OUT_IMMEDIATE 0xe6
#define BYTE_IN_DX 0xec
#define BYTE_OUT_DX 0xee
#define WIDE 1 /* bit of the opcode: a word or a double word */

/* Whether the instruction at EIP is IN or OUT, and not INS or OUTS: those come by the same hooks. */
static bool is_plain(const struct gateway_block *block)
{
    const struct gateway_layout *at = &block->layout;
    const uint8_t *code = readable(block, block->words[at->eip], 2);

    if (!code)
        return false;
    switch (code[0] == OPERAND_SIZE ? code[1] & ~WIDE : code[0] & ~WIDE) {
    case BYTE_IN_IMMEDIATE:
    case BYTE_OUT_IMMEDIATE:
    case BYTE_IN_DX:
    case BYTE_OUT_DX:
        return true;
    default:
        return false;
    }
}

/* Whether the guest may, in flat code that is not single-stepped, and goes on afterwards as if nothing had been. */
static bool begin(struct gateway_block *block)
{
    const struct gateway_layout *at = &block->layout;
    const uint32_t *words = block->words;
    const int64_t *registers = block->traps.registers;
    const uint32_t ring = RING(words[at->hflags]);
    const uint8_t *info;
    int64_t now;

    if (!may_serve(block) || *block->vm_assist & ARCHITECTURAL_IOPL || !ring)
        return false;
    if (registers[VIRTUAL_IOPL] < (ring == KERNEL_RING ? KERNEL_RING : APPLICATION_RING))
        return false;
    /* Breakpoints on ports need DE. */
    if (registers[VIRTUAL_CR4] & CR4_DE || words[at->eflags] & (EFLAGS_TF | EFLAGS_RF))
        return false;
    if (words[at->cs_base] || words[at->cs_limit] != ~0u || !(words[at->hflags] & at->cs32) || !is_plain(block))
        return false;
    info = vcpu_info(block);
    if (!info || (info[UPCALL_PENDING] && !info[UPCALL_MASK]) || !goes_on(block, TRAP_COST, &now))
        return false;
    block->traps.counters[EMULATED]++;
    account(block, now);
    return true;
}

static uint32_t read_byte(const struct gateway_block *block, uint32_t port)
{
    switch (port) {
    case PIT_CHANNEL_2:
        return 0;
    case CMOS_INDEX:
        return block->latches[CMOS_LATCH] & 0xff;
    default:
        return FLOATING;
    }
}

/* The engine's hook of what reads `size` bytes from a port. */
GATEWAY_EXPORT uint32_t gateway_on_in(void *engine, uint32_t port, int size, void *user)
{
    struct gateway_block *block = user;
    uint32_t value = 0;
    int i;

    if (!begin(block))
        return block->python.port_in(engine, port, size, user);
    if (port == PCI_ADDRESS && size == 4)
        return (uint32_t)block->latches[PCI_LATCH];
    for (i = 0; i < size; i++)
        value |= read_byte(block, port + (uint32_t)i) << 8 * i;
    return value;
}

/* That of what writes there. */
GATEWAY_EXPORT void gateway_on_out(void *engine, uint32_t port, int size, uint32_t value, void *user)
{
    struct gateway_block *block = user;
    int i;

    if (!begin(block)) {
        block->python.port_out(engine, port, size, value, user);
        return;
    }
    if (port == PCI_ADDRESS && size == 4) {
        block->latches[PCI_LATCH] = value;
        return;
    }
    for (i = 0; i < size; i++)
        if (port + (uint32_t)i == CMOS_INDEX)
            block->latches[CMOS_LATCH] = value >> 8 * i & 0xff;
}
