/* A world of the traps' (gateway_traps_fuzz.c): memory, processor, what Python has told, and Python's hooks. */
#ifndef GATEWAY_TRAPS_WORLD_H
#define GATEWAY_TRAPS_WORLD_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway_structs.h"

#define FRAMES 8
#define RAM_SIZE (FRAMES * 4096u)
#define WORDS 160
#define CS32 0x8000u
#define IPIS 64 /* the first ports interrupt vcpus 0 and 1 */

/* What each cell is: `REGISTERS` and `COUNTERS` are the first ones of theirs. */
enum {
    ATTENTION, BACKENDS, TRACED, CALLS, LIMIT, DEADLINE, TIME, INFO, ASSIST, REGISTERS, COUNTERS = 16, CLOCK_READS = 19,
    LATCHES = 22, SHARED_INFO = 24, POLLING, CELLS
};

/* Instead of a vector: what comes by other hooks. */
enum { BY_INVALID = NR_VECTORS, BY_CPUID, BY_IN, BY_OUT };

/* Everything that a trap may change. */
struct world {
    uint8_t *ram;
    uint8_t *code_map;
    uint32_t *words;
    int64_t *cells;
    uint32_t eflags;
};

/* As it was before a trap, and as it is. */
extern struct world now, before;
/* Whether any of Python's hooks was called. */
extern int fell_through;

uint64_t draw(void);
uint64_t below(uint64_t limit);

/* A block for `now`. */
struct gateway_block *begin(uint64_t seed);
/* Another world, in which a trap comes. */
void scatter(struct gateway_block *block, uint32_t vector);
void copy_world(void);

#endif
