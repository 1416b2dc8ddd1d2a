/* A world of the page-table hypercalls' (gateway_memory_fuzz.c): memory, frame table, processor, and what was wrong. */
#ifndef GATEWAY_MEMORY_WORLD_H
#define GATEWAY_MEMORY_WORLD_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway_structs.h"

#define FRAMES 8
#define PAGE 4096u
#define RAM_SIZE (FRAMES * PAGE)
#define WORDS 128
#define DOMID 5
#define VCPU_INFO (7 * PAGE + 0x200)
#define ROOT_TYPE 3
enum {
    ATTENTION, BACKENDS, TRACED, CALLS, LIMIT, DEADLINE, TIME, INFO, ASSIST, TYPES_OBSERVED, CR3, INSTALLED,
    BEGUN = INSTALLED + 2, FLUSHES = BEGUN + 3, CELLS
};

struct world {
    uint8_t *ram, *code_map, *type, *flags;
    uint16_t *owner;
    int16_t *linear;
    uint32_t *type_count, *count, *words;
    int64_t *cells;
};

/* As it was before a call, and as it is. */
extern struct world now, before;
/* The state of another vcpu's processor, and where those of all are; there may be none, or one that is not seen. */
extern uint32_t other[WORDS];
extern uint64_t states[2];
extern uint32_t entry_size;

uint64_t draw(void);
uint64_t below(uint64_t limit);
void *room(size_t size);

/* A block for `now`, of which the caller has the functions to say. */
struct gateway_block *begin(uint64_t seed);
/* Another world. */
void scatter(struct gateway_block *block);
void copy_world(void);
int same_world(void);

uint64_t get(const uint8_t *at);
/* An entry, good or not. */
uint64_t entry(void);
/* A linear address, and where in memory it is if it is anywhere. */
uint32_t linear(uint32_t *maddr);
/* Data at a machine address, if it is in one page. */
void plant(uint32_t maddr, const void *data, uint32_t size);

/* What is wrong with the tables now, if anything. */
const char *judge(const struct gateway_block *block);

#endif
