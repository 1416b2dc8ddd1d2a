/*
 * The native gateway: the engine's hooks of one vcpu, which serve the commonest traps. (Those of ports are in ports.c,
 * that of CPUID is in cpuid.c.)
 *
 * Plain or nothing. A trap is looked at first, and whatever is not as plain as can be is left to Python with
 * nothing changed: Python's hook then serves it as if this one were not there, and stays the only definition of the
 * hard cases. Only after the last question is anything written.
 *
 * Nothing is allocated and nothing is static. Whatever a guest can choose, a table's address above all, is held
 * against the size of machine memory before it is used. The interpreter lock is not held here, so no object of
 * Python's is touched: numbers that both languages use lie in arrays that never move (see structs.py).
 *
 * It needs neither Python's headers nor the engine's: the engine's functions come in as pointers.
 */

#include "gateway.h"

GATEWAY_EXPORT const uint32_t gateway_mark = GATEWAY_MARK;
GATEWAY_EXPORT const uint32_t gateway_block_size = sizeof(struct gateway_block);

/* Whether the trap was served; nothing has changed if not. */
static bool serve(struct gateway_block *block, void *engine, uint32_t vector)
{
    if (!block->ready)
        return false;
    /* What was left of a list is of this trap, or of none. */
    block->memory.begun[ITEMS] = 0;
    if (!may_serve(block))
        return false;
    if (block->words[block->layout.is_int])
        return gateway_interrupt(block, engine, vector);
    return gateway_exception(block, engine, vector);
}

/* The engine's interrupt hook. `user` is the block of the vcpu whose engine this is. */
GATEWAY_EXPORT void gateway_on_trap(void *engine, uint32_t vector, void *user)
{
    struct gateway_block *block = user;

    if (!serve(block, engine, vector))
        block->python.trap(engine, vector, user);
}

/* Its hook of invalid opcodes, by which `int $6` comes as well. Whether the guest goes on. */
GATEWAY_EXPORT bool gateway_on_invalid(void *engine, void *user)
{
    struct gateway_block *block = user;

    if (may_serve(block) && !block->words[block->layout.is_int] && gateway_forced_cpuid(block, engine))
        return true;
    return block->python.invalid(engine, user);
}
