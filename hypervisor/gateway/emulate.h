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

/* Carry out the instruction at EIP, which raised #GP(0), if it is one of the common ones. */
bool gateway_emulate(struct gateway_block *block, void *engine, struct resume *to);

#endif
