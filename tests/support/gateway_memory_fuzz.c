/*
 * Tries the page-table hypercalls of the native gateway by themselves: random tables, frames, requests and lists.
 *
 * Usage: gateway_memory_fuzz SEED CALLS. All that the gateway may touch is exactly as large as it is told, so that a
 * sanitizer sees whatever lies outside. What is left to Python has changed nothing at all, unless it is the rest of a
 * list. And whatever was done, the frame table still counts what the tables map: of each frame, references and uses
 * less the entries that map it stay what they were; nothing new is writable but a frame of the domain's own that is
 * of that type; and no frame loses its last reference. Prints how many calls of each kind were served.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway_structs.h"

void gateway_on_trap(void *engine, uint32_t vector, void *user);

#define FRAMES 8
#define PAGE 4096u
#define RAM_SIZE (FRAMES * PAGE)
#define WORDS 128
#define DOMID 5
#define VCPU_INFO (7 * PAGE + 0x200)
enum {
    ATTENTION, BACKENDS, TRACED, CALLS, LIMIT, DEADLINE, TIME, INFO, ASSIST, TYPES_OBSERVED, BEGUN, FLUSHES = BEGUN + 3, CELLS
};

struct world {
    uint8_t *ram, *code_map, *type, *flags;
    uint16_t *owner;
    uint32_t *type_count, *count, *words;
    int64_t *cells;
};

static struct world now, before;
static int fell_through, flushed;
static uint32_t entry_size;
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

static void flush_tlb(void *processor)
{
    (void)processor;
    flushed++;
}

static void flush_page(void *processor, uint64_t linear)
{
    (void)processor;
    (void)linear;
    flushed++;
}

static void *room(size_t size)
{
    void *made = calloc(1, size);

    if (!made)
        exit(2);
    return made;
}

static void allocate(struct world *world)
{
    world->ram = room(RAM_SIZE);
    world->code_map = room(FRAMES);
    world->type = room(FRAMES);
    world->flags = room(FRAMES);
    world->owner = room(FRAMES * sizeof(uint16_t));
    world->type_count = room(FRAMES * sizeof(uint32_t));
    world->count = room(FRAMES * sizeof(uint32_t));
    world->words = room(WORDS * sizeof(uint32_t));
    world->cells = room(CELLS * sizeof(int64_t));
}

/* Each part of a world: what is done with it, and its size. */
#define EACH_PART(what)                                                                                               \
    what(ram, RAM_SIZE) what(code_map, FRAMES) what(type, FRAMES) what(flags, FRAMES) what(owner, FRAMES * 2)         \
    what(type_count, FRAMES * 4) what(count, FRAMES * 4) what(words, WORDS * 4)

static void copy_world(void)
{
#define COPY(part, size) memcpy(before.part, now.part, size);
    EACH_PART(COPY)
    memcpy(before.cells, now.cells, CELLS * sizeof(int64_t));
}

static int same_world(void)
{
#define SAME(part, size) && !memcmp(before.part, now.part, size)
    return 1 EACH_PART(SAME) && !memcmp(before.cells, now.cells, BEGUN * sizeof(int64_t));
}

static uint64_t get(const uint8_t *at)
{
    uint64_t value = 0;

    memcpy(&value, at, entry_size);
    return value;
}

static void put(uint32_t maddr, uint64_t value)
{
    memcpy(now.ram + maddr, &value, entry_size);
}

static uint64_t entry(void)
{
    uint64_t made = below(FRAMES + !below(20)) << 12 | 0x61 | (below(3) ? 2 : 0);

    if (!below(6))
        return below(2) ? 0 : draw() & ~1ull;
    if (!below(10))
        made ^= 1ull << below(8 * entry_size);
    return made;
}

/* An entry that a table may have: nothing but data is writable. */
static uint64_t good_entry(void)
{
    const uint64_t made = entry();

    return now.type[made >> 12 & (FRAMES - 1)] == TYPE_WRITABLE ? made : made & ~2ull;
}

/* Frame 0 is the root, 1 the level 2 table of PAE; 2, and mostly 3, are level 1 tables, of which 2 maps 16 pages. */
static void scatter(struct gateway_block *block)
{
    uint32_t i, at;

    memset(now.ram, 0, RAM_SIZE);
    for (i = 0; i < FRAMES; i++) {
        const uint8_t kinds[] = {0, TYPE_L1, 2, 5, TYPE_WRITABLE, TYPE_WRITABLE, TYPE_WRITABLE};
        now.owner[i] = below(20) ? DOMID : (uint16_t)draw();
        now.type[i] = i == 2 || (i == 3 && below(3)) ? TYPE_L1 : kinds[below(sizeof(kinds))];
        now.type_count[i] = i == 2 ? 1 : below(20) ? (uint32_t)below(4) : FRAME_COUNT_MAX - (uint32_t)below(2);
        now.count[i] = below(20) ? (uint32_t)below(6) : FRAME_COUNT_MAX - (uint32_t)below(2);
        if (i < 2)
            now.type[i] = (uint8_t)(3 - i);
        now.flags[i] = (uint8_t)(below(10) ? FRAME_VALIDATED : draw());
        now.code_map[i] = !below(30);
    }
    for (i = 0; i < 4; i++) {
        put(i * entry_size, (block->pae ? PAGE : 2 * PAGE) | (block->pae ? 1 : 0x63));
        put(PAGE + i * entry_size, 2 * PAGE | 0x63);
    }
    for (at = 2 * PAGE; at < 4 * PAGE; at += PAGE)
        for (i = 0; i < 16; i++)
            put(at + i * entry_size, good_entry());
    for (i = 0; i < WORDS; i++)
        now.words[i] = (uint32_t)draw();
    memset(now.cells, 0, CELLS * sizeof(int64_t));
    now.cells[LIMIT] = -1;
    now.cells[DEADLINE] = INT64_MAX;
    now.cells[INFO] = VCPU_INFO;
    now.cells[TYPES_OBSERVED] = !below(8);
    now.cells[BEGUN] = (int64_t)below(3); /* of a trap before */
    now.words[block->layout.hflags] = 1;
    now.words[block->layout.is_int] = 1;
    now.words[block->layout.eflags] = 0;
    now.words[block->layout.cr3] = 0;
    block->memory.lone = below(2) != 0;
    block->memory.hole = below(10) ? 0xf5800000u : (uint32_t)below(16 * PAGE);
    block->memory.flush_tlb = below(10) ? flush_tlb : NULL;
    block->memory.refused = 0x98;
    block->memory.dropped = block->pae ? 0x7ffull << 52 : 0;
    block->memory.unchecked = 0xf64 | (block->pae ? 0xfffull << 52 : 0);
    block->memory.address_mask = block->pae ? 0xffffffffff000ull : 0xfffff000u;
}

/* A linear address, and where in memory it is if it is anywhere. */
static uint32_t linear(uint32_t *maddr)
{
    const uint32_t page = (uint32_t)below(16), near = VCPU_INFO % PAGE - 8 + (uint32_t)below(80);
    const uint32_t offset = below(8) ? (uint32_t)(below(4) ? below(PAGE / 4) * 4 : draw() % PAGE) : near;
    const uint64_t found = get(now.ram + 2 * PAGE + page * entry_size);

    *maddr = found & 1 && (found >> 12 & 0xfffff) < FRAMES ? (uint32_t)(found & 0x7000) | offset : RAM_SIZE;
    return page << 12 | offset;
}

static void plant(uint32_t maddr, const void *data, uint32_t size)
{
    if (maddr + size <= RAM_SIZE && (maddr & (PAGE - 1)) + size <= PAGE)
        memcpy(now.ram + maddr, data, size);
}

static uint64_t slot_of_a_table(void)
{
    return (2 + below(2)) << 12 | below(16) * entry_size;
}

/* The arguments of a call of one kind, with what they point to. */
static void arguments(uint32_t number, uint32_t *words)
{
    uint32_t maddr, i, count = (uint32_t)below(5), other;

    words[0] = linear(&maddr);
    words[1] = below(30) ? count : (uint32_t)draw();
    words[2] = below(3) ? 0 : linear(&other);
    words[3] = below(20) ? DOMID_SELF : (uint32_t)below(9);
    if (number == 17)
        words[0] = (uint32_t)below(2);
    if (number == UPDATE_VA_MAPPING) {
        const uint64_t made = entry();
        words[1] = (uint32_t)made;
        words[2] = (uint32_t)(made >> 32);
        words[3] = (uint32_t)below(10);
    }
    for (i = 0; number == MMU_UPDATE && i < count; i++) {
        const uint64_t request[2] = {below(20) ? slot_of_a_table() + (below(3) ? 0 : 2) : draw(), entry()};
        plant(maddr + 16 * i, request, sizeof(request));
    }
    for (i = 0; number == MMUEXT_OP && i < count; i++) {
        const uint32_t operation[3] = {below(10) ? 6 + (uint32_t)below(2) : (uint32_t)below(13), (uint32_t)draw(), 0};
        plant(maddr + 12 * i, operation, sizeof(operation));
    }
}

static const uint32_t kinds[] = {MMU_UPDATE, UPDATE_VA_MAPPING, MMUEXT_OP, 17, 99};
#define KINDS 4

static uint32_t ask(const struct gateway_block *block)
{
    uint32_t call[6] = {0}, list, maddr, i, kind = (uint32_t)below(KINDS + 1);
    uint32_t *words = now.words;

    if (kind == KINDS) {
        list = linear(&maddr);
        call[0] = list;
        call[1] = (uint32_t)below(6);
        for (i = 0; i < call[1]; i++) {
            uint32_t made[8] = {kinds[below(30) ? below(KINDS) : KINDS], 0};
            arguments(made[0], made + 2);
            plant(maddr + 32 * i, made, sizeof(made));
        }
        words[block->layout.eax] = MULTICALL;
    } else {
        words[block->layout.eax] = kinds[kind];
        arguments(kinds[kind], call);
    }
    words[block->layout.ebx] = call[0];
    words[block->layout.ecx] = call[1];
    words[block->layout.edx] = call[2];
    words[block->layout.esi] = call[3];
    return kind;
}

static int is_table(const struct world *world, uint32_t frame)
{
    return world->type[frame] == TYPE_L1 && world->type_count[frame] && world->owner[frame] == DOMID;
}

/* Goes through the entries of all tables, to the end of memory. The root, frame 0, is none. */
static uint32_t next_entry(uint32_t at)
{
    at += entry_size;
    while (at < RAM_SIZE && !is_table(&before, at / PAGE))
        at = (at / PAGE + 1) * PAGE;
    return at;
}

/* References and writable uses of each frame beyond those that the tables account for. */
static void surplus(const struct gateway_block *block, const struct world *world, uint32_t *references, uint32_t *uses)
{
    uint32_t at, frame;
    uint64_t made;

    memcpy(references, world->count, FRAMES * sizeof(*references));
    memcpy(uses, world->type_count, FRAMES * sizeof(*uses));
    for (at = next_entry(0); at < RAM_SIZE; at = next_entry(at)) {
        made = get(world->ram + at);
        frame = (uint32_t)((made & block->memory.address_mask) >> 12);
        if (made & 1 && frame < FRAMES) {
            references[frame]--;
            uses[frame] -= made >> 1 & 1;
        }
    }
}

/* What is wrong with the tables now, if anything. */
static const char *judge(const struct gateway_block *block)
{
    uint32_t i, at, references[2][FRAMES], uses[2][FRAMES];
    uint64_t made;

    surplus(block, &before, references[0], uses[0]);
    surplus(block, &now, references[1], uses[1]);
    if (memcmp(references[0], references[1], sizeof(*references)) || memcmp(uses[0], uses[1], sizeof(*uses)))
        return "references or uses that no entry accounts for";
    for (i = 0; i < FRAMES; i++) {
        if (before.count[i] && !now.count[i])
            return "a frame lost its last reference";
        if (now.count[i] > FRAME_COUNT_MAX || (now.count[i] != before.count[i] && now.owner[i] != DOMID))
            return "a count went too far, or is another's";
        if (before.type_count[i] > FRAME_COUNT_MAX - 8 && now.type_count[i] > before.type_count[i] &&
            now.type_count[i] > FRAME_COUNT_MAX)
            return "too many uses";
        if (now.type[i] != before.type[i] && (now.type[i] != TYPE_WRITABLE || before.type_count[i] || now.cells[TYPES_OBSERVED]))
            return "a type changed that must not";
    }
    for (at = next_entry(0); at < RAM_SIZE; at = next_entry(at)) {
        made = get(now.ram + at);
        if (made == get(before.ram + at))
            continue;
        if (before.code_map[at / PAGE])
            return "a table with code was changed";
        if (!(made & 1))
            continue;
        if (made & (block->memory.refused | block->memory.dropped))
            return "bits that no guest may set";
        i = (uint32_t)((made & block->memory.address_mask) >> 12);
        if (i >= FRAMES)
            return "an entry beyond memory";
        if ((made & 3) == 3 && !(get(before.ram + at) & 2) && (now.type[i] != TYPE_WRITABLE || now.owner[i] != DOMID))
            return "something else than data became writable";
    }
    return NULL;
}

static void prepare(struct gateway_block *block)
{
    uint32_t *place = (uint32_t *)&block->layout;
    uint32_t i;

    block->python = python;
    block->words = now.words;
    block->ram = now.ram;
    block->ram_size = RAM_SIZE;
    block->code_map = now.code_map;
    block->attention = now.cells + ATTENTION;
    block->backends_due = now.cells + BACKENDS;
    block->hypercalls_traced = now.cells + TRACED;
    block->counts = now.cells + CALLS;
    block->deadline = now.cells + DEADLINE;
    block->clock = now.cells + TIME;
    block->vcpu_info = now.cells + INFO;
    block->vm_assist = now.cells + ASSIST;
    block->nr_answers = 1;
    block->answers[0].number = 17;
    for (i = 0; i < sizeof(block->layout) / sizeof(*place) - 1; i++)
        place[i] = 2 * i;
    block->memory.domid = DOMID;
    block->memory.nr_frames = FRAMES;
    block->memory.owner = now.owner;
    block->memory.type = now.type;
    block->memory.type_count = now.type_count;
    block->memory.count = now.count;
    block->memory.flags = now.flags;
    block->memory.types_observed = now.cells + TYPES_OBSERVED;
    block->memory.begun = now.cells + BEGUN;
    block->memory.flush_count = now.cells + FLUSHES;
    block->memory.flush_page = flush_page;
    block->ready = 1;
}

int main(int argc, char **argv)
{
    struct gateway_block *block = room(sizeof(*block));
    uint64_t call, calls, served[KINDS + 1] = {0}, handed_over = 0;
    const char *wrong;
    uint32_t kind;

    if (argc != 3)
        return 2;
    state = strtoull(argv[1], NULL, 0) * 2 + 1;
    calls = strtoull(argv[2], NULL, 0);
    allocate(&now);
    allocate(&before);
    prepare(block);
    for (call = 0; call < calls; call++) {
        block->pae = below(2) != 0;
        entry_size = block->pae ? 8 : 4;
        block->memory.entry_shift = block->pae ? 3 : 2;
        scatter(block);
        kind = ask(block);
        copy_world();
        fell_through = flushed = 0;
        gateway_on_trap(NULL, HYPERCALL_VECTOR, block);
        wrong = judge(block);
        if (now.cells[FLUSHES] != flushed)
            wrong = "a flush was not counted";
        /* A flush that comes to nothing is one too many, which no guest can tell. */
        if (fell_through && !now.cells[BEGUN] && (!same_world() || (flushed && kind != KINDS)))
            wrong = "left to Python with something changed";
        if (fell_through && now.cells[BEGUN] && kind != KINDS)
            wrong = "the rest of what is no list";
        if (memcmp(now.ram + VCPU_INFO, before.ram + VCPU_INFO, VCPU_INFO_SIZE))
            wrong = "vcpu_info was written";
        if (!fell_through && (now.words[block->layout.eax] || now.cells[CALLS] != 1))
            wrong = "a wrong result, or not counted";
        if (wrong) {
            printf("call %" PRIu64 ", kind %u: %s\n", call, kind, wrong);
            return 1;
        }
        served[kind] += !fell_through;
        handed_over += fell_through && now.cells[BEGUN];
    }
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 ", %" PRIu64 " lists begun\n", served[0], served[1],
           served[2], served[3], served[4], handed_over);
    free(block);
    return 0;
}
