/*
 * Tries the native gateway by itself: random states of a processor, random page tables, random gates.
 *
 * Usage: gateway_fuzz SEED TRAPS. All that the gateway may touch is exactly as large as it is told, so that a
 * sanitizer sees whatever lies outside. After each trap one of two things holds: Python's hook was called and
 * nothing has changed at all; or it was not called, one trap more is counted, and nothing outside the frame, the mask
 * of upcalls and the registers of an entry has changed. Prints how many traps were served.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway_structs.h"

void gateway_on_trap(void *engine, uint32_t vector, void *user);

#define FRAMES 8
#define RAM_SIZE (FRAMES * 4096u)
#define WORDS 64
#define CELLS 11

/* Everything that a trap may change. */
struct world {
    uint8_t *ram;
    uint8_t *code_map;
    uint32_t *words;
    int64_t *cells;
    uint32_t eflags;
};

static struct world now, before;
static int fell_through, refuse_flags;
static uint64_t state;

static uint64_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static uint64_t below(uint64_t limit)
{
    return draw() % limit;
}

static void python(void *engine, uint32_t vector, void *user)
{
    (void)engine;
    (void)vector;
    (void)user;
    fell_through = 1;
}

static int reg_read(void *engine, int number, void *value)
{
    (void)engine;
    (void)number;
    memcpy(value, &now.eflags, 4);
    return refuse_flags;
}

static int reg_write(void *engine, int number, void *value)
{
    (void)engine;
    (void)number;
    memcpy(&now.eflags, value, 4);
    return 0;
}

static void allocate(struct world *world)
{
    world->ram = malloc(RAM_SIZE);
    world->code_map = malloc(FRAMES);
    world->words = malloc(WORDS * sizeof(uint32_t));
    world->cells = malloc(CELLS * sizeof(int64_t));
    if (!world->ram || !world->code_map || !world->words || !world->cells)
        exit(2);
}

static void copy(struct world *to, const struct world *from)
{
    memcpy(to->ram, from->ram, RAM_SIZE);
    memcpy(to->code_map, from->code_map, FRAMES);
    memcpy(to->words, from->words, WORDS * sizeof(uint32_t));
    memcpy(to->cells, from->cells, CELLS * sizeof(int64_t));
    to->eflags = from->eflags;
}

/* Nothing differs but `size` bytes from `skip` on, if any may, and then the byte at `also`. */
static int same_memory(uint32_t skip, uint32_t size, uint32_t also)
{
    uint32_t i;

    for (i = size ? 0 : RAM_SIZE; i < RAM_SIZE; i++)
        if (now.ram[i] != before.ram[i] && (i < skip || i >= skip + size) && i != also)
            return 0;
    return (size || !memcmp(now.ram, before.ram, RAM_SIZE)) && !memcmp(now.code_map, before.code_map, FRAMES);
}

/* An entry of a page table: mostly a good one, now and then anything. */
static uint64_t entry(int pae)
{
    uint64_t made = below(FRAMES) << 12 | 0x63;

    if (!below(8))
        made ^= 1ull << below(pae ? 64 : 32);
    if (!below(40))
        made = draw();
    return made;
}

/* Fill memory, registers and what Python would have told. */
static void scatter(struct gateway_block *block)
{
    struct gateway_entry *gate = &block->direct;
    uint32_t i, at;

    for (i = 0; i < 200; i++) {
        uint64_t made = entry((int)block->pae);
        at = (uint32_t)below(RAM_SIZE / 8);
        memcpy(now.ram + 8 * at, &made, 8);
    }
    for (i = 0; i < WORDS; i++)
        now.words[i] = (uint32_t)draw();
    now.words[block->layout.hflags] &= ~3u;
    now.words[block->layout.hflags] |= below(4) ? (below(2) ? 3 : 1) : (uint32_t)below(4);
    now.words[block->layout.is_int] = below(10) != 0;
    now.words[block->layout.eflags] &= below(10) ? ~EFLAGS_VM : ~0u;
    now.words[block->layout.cr3] = (uint32_t)(below(20) ? below(FRAMES) << 12 : draw());
    if (below(10))
        for (i = 0; i < 4; i++)
            now.words[block->layout.data_flags[i]] |= 0x6000;
    if (below(3)) {
        now.words[block->layout.eax] = block->answers[below(block->nr_answers)].number;
        now.words[block->layout.ebx] = 0;
    }
    now.eflags = (uint32_t)draw();
    refuse_flags = !below(50);
    for (i = 0; i < CELLS; i++)
        now.cells[i] = 0;
    now.cells[0] = !below(20);                  /* attention */
    now.cells[1] = !below(20);                  /* backends */
    now.cells[2] = !below(20);                  /* trace */
    now.cells[3] = (int64_t)below(1000);        /* traps */
    now.cells[4] = now.cells[3] + (int64_t)below(20);
    now.cells[5] = (int64_t)below(1u << 20);    /* deadline */
    now.cells[6] = (int64_t)below(1u << 18);    /* time */
    now.cells[7] = below(20) ? (int64_t)below(RAM_SIZE / 4) * 4 : (int64_t)draw();
    now.cells[8] = (int64_t)below(20) ? 0 : (int64_t)draw();
    block->clock = below(10) ? now.cells + 6 : NULL;
    for (i = 0; i < FRAMES; i++)
        now.code_map[i] = !below(8);
    gate->open = below(10) != 0;
    gate->masks_events = (uint32_t)below(2);
    gate->lowest = below(2) ? 0x2000 : 0x4000;
    /* Python opens a gate only for a frame within one page. */
    gate->frame = (uint32_t)(below(8) << 30 | below(4) << 21 | below(16) << 12 | below(4096 - 20));
    gate->nr_watches = below(MOST_WATCHES + 1);
    for (i = 0; i < gate->nr_watches; i++) {
        gate->watches[i].size = below(2) ? 8 : 4;
        gate->watches[i].maddr = below(RAM_SIZE / 8) * 8;
        gate->watches[i].value = 0;
        memcpy(&gate->watches[i].value, now.ram + gate->watches[i].maddr, gate->watches[i].size);
        gate->watches[i].value ^= !below(20);
    }
}

static void prepare(struct gateway_block *block)
{
    uint32_t *place = (uint32_t *)&block->layout;
    uint32_t i;

    memset(block, 0, sizeof(*block));
    block->python = python;
    block->reg_read = reg_read;
    block->reg_write = reg_write;
    block->words = now.words;
    block->ram = now.ram;
    block->ram_size = RAM_SIZE;
    block->code_map = now.code_map;
    block->attention = now.cells;
    block->backends_due = now.cells + 1;
    block->hypercalls_traced = now.cells + 2;
    block->counts = now.cells + 3;
    block->deadline = now.cells + 5;
    block->vcpu_info = now.cells + 7;
    block->vm_assist = now.cells + 8;
    block->direct_calls = now.cells + 9;
    block->nr_answers = MOST_ANSWERS;
    for (i = 0; i < MOST_ANSWERS; i++)
        block->answers[i].number = 17 + i;
    for (i = 0; i < sizeof(block->layout) / sizeof(*place) - 1; i++)
        place[i] = 2 * i;
    block->layout.addseg = 0x40;
    for (i = 0; i < 8; i++)
        block->direct.store_at[i] = 40 + 2 * i;
    block->direct.hflags_set = 1;
    block->direct.hflags_keep = ~3u;
    block->ready = 1;
}

/* The leaf entry of the frame's page, found without a question on the way, has P, RW, A and D. */
static int is_dirty(const struct gateway_block *block)
{
    const uint32_t linear = block->direct.frame;
    uint64_t table = (before.words[block->layout.cr3] & 0xffffffe0u) + (linear >> 30) * 8, found;

    memcpy(&found, before.ram + table, 8);
    memcpy(&found, before.ram + (found & 0xffffffffff000) + (linear >> 21 & 511) * 8, 8);
    memcpy(&found, before.ram + (found & 0xffffffffff000) + (linear >> 12 & 511) * 8, 8);
    return (found & 0x63) == 0x63;
}

static int fail(const char *what, uint64_t trap)
{
    printf("trap %" PRIu64 ": %s\n", trap, what);
    return 1;
}

int main(int argc, char **argv)
{
    struct gateway_block *block = malloc(sizeof(*block));
    const uint32_t vectors[] = {SYSCALL_VECTOR, HYPERCALL_VECTOR, 14, 13, 0x81};
    uint64_t trap, traps, calls = 0, answers = 0, frame;
    uint32_t vector, mask, i;

    if (argc != 3 || !block)
        return 2;
    state = strtoull(argv[1], NULL, 0) * 2 + 1;
    traps = strtoull(argv[2], NULL, 0);
    allocate(&now);
    allocate(&before);
    memset(now.ram, 0, RAM_SIZE);
    prepare(block);
    for (trap = 0; trap < traps; trap++) {
        block->pae = below(4) != 0;
        scatter(block);
        copy(&before, &now);
        fell_through = 0;
        vector = vectors[below(10) ? below(2) : below(5)];
        gateway_on_trap(NULL, vector, block);
        mask = (uint32_t)before.cells[7] + UPCALL_MASK;
        if (fell_through) {
            if (!same_memory(0, 0, RAM_SIZE) || memcmp(now.words, before.words, WORDS * sizeof(uint32_t)) ||
                memcmp(now.cells, before.cells, CELLS * sizeof(int64_t)) || now.eflags != before.eflags)
                return fail("left to Python with something changed", trap);
            continue;
        }
        if (before.cells[0] || before.cells[1] || !before.words[block->layout.is_int])
            return fail("served although it was not to be", trap);
        if (now.cells[3] != before.cells[3] + 1 || now.cells[3] == now.cells[4])
            return fail("not counted, or beyond the limit", trap);
        if (block->clock && now.cells[6] >= now.cells[5])
            return fail("a timer was passed over", trap);
        if (now.ram[mask - 1] && !now.ram[mask])
            return fail("an upcall was passed over", trap);
        if (before.words[block->layout.eflags] & EFLAGS_VM)
            return fail("served in virtual-8086 mode", trap);
        if ((before.words[block->layout.hflags] & 3) != (vector == HYPERCALL_VECTOR ? 1u : 3u))
            return fail("served in another ring than its own", trap);
        if (vector == HYPERCALL_VECTOR) {
            if (!same_memory(0, 0, RAM_SIZE) || before.cells[2])
                return fail("a hypercall changed memory, or was traced", trap);
            answers++;
            continue;
        }
        for (i = 0; i < block->direct.nr_watches; i++)
            if (memcmp(before.ram + block->direct.watches[i].maddr, &block->direct.watches[i].value,
                       block->direct.watches[i].size))
                return fail("served although what is watched has changed", trap);
        if (block->pae && !is_dirty(block))
            return fail("a page was written that is not marked dirty, or read-only", trap);
        for (frame = 0; frame < RAM_SIZE && now.ram[frame] == before.ram[frame]; frame++)
            continue;
        if (frame < RAM_SIZE && frame >= mask - 1 && frame <= mask)
            for (frame++; frame < RAM_SIZE && now.ram[frame] == before.ram[frame]; frame++)
                continue;
        if (frame < RAM_SIZE) {
            frame = (frame & ~4095ull) | (block->direct.frame & 4095);
            if (frame >> 12 == mask >> 12)
                return fail("the frame is in the page of vcpu_info", trap);
            if (!same_memory((uint32_t)frame, 20, mask) || before.code_map[frame >> 12])
                return fail("more than a frame was written, or code", trap);
        }
        if (!(now.words[block->layout.hflags] & 3) || now.cells[9] != 1)
            return fail("ring 0, or not counted as direct", trap);
        calls++;
    }
    printf("%" PRIu64 " system calls, %" PRIu64 " hypercalls\n", calls, answers);
    free(block);
    return 0;
}
