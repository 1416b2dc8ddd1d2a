/* Instructions as far as the gateway reads them. */
#ifndef GATEWAY_EMULATE_H
#define GATEWAY_EMULATE_H

#include "resume.h"

#define MOST_CODE 15 /* bytes of the longest instruction */
#define FIRST_PORT_STRING 0x6c
#define LAST_PORT_STRING 0x6f

enum { EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI };

static inline bool is_prefix(uint8_t byte)
{
    switch (byte) {
    case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65: /* segments */
    case 0x66: case 0x67: /* sizes */
    case 0xf0: case 0xf2: case 0xf3: /* LOCK, repetition */
        return true;
    default:
        return false;
    }
}

static inline uint32_t *general_register(const struct gateway_block *block, uint32_t number)
{
    return &block->words[block->layout.regs + number * block->layout.reg_stride];
}

/*
 * The MOST_CODE bytes from the instruction at EIP on, or null: code that is not flat, or that is single-stepped, for a
 * step is reported after the instruction.
 */
static inline const uint8_t *flat_code(const struct gateway_block *block, const struct resume *to)
{
    const struct gateway_layout *at = &block->layout;
    const uint32_t *words = block->words;

    /*
     * Xen looks at the descriptor of CS. One that has changed is loaded anew before the guest goes on, so that what the
     * processor has of it is the same.
     */
    if (words[at->cs_base] || words[at->cs_limit] != ~0u || !(words[at->hflags] & at->cs32))
        return NULL;
    return to->eflags & EFLAGS_TF ? NULL : readable(block, to->eip, MOST_CODE);
}

/* Carry out the instruction at EIP, which raised #GP(0), if it is one of the common ones. */
bool gateway_emulate(struct gateway_block *block, void *engine, struct resume *to);

/* Whether a page fault is of a store to an L1 table of the guest's own. */
enum fault_kind { NO_TABLE, TABLE, UNKNOWN };

/* Of which kind the fault at CR2 is; of a table's, the machine address that is stored to. */
enum fault_kind gateway_table_store(const struct gateway_block *block, const struct resume *to, uint32_t error_code,
                                    uint64_t *maddr);

/* Carry out such a store, if it is a plain one. */
bool gateway_store_to_table(struct gateway_block *block, void *engine, struct resume *to, uint64_t maddr);

#endif
