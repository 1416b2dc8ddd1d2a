/* The world, made at random (see gateway_memory_world.h). */

#include "gateway_memory_world.h"

struct world now, before;
uint32_t other[WORDS];
uint64_t states[2];
uint32_t entry_size;
static uint64_t state;

uint64_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

uint64_t below(uint64_t limit)
{
    return draw() % limit;
}

void *room(size_t size)
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
    world->linear = room(FRAMES * sizeof(int16_t));
    world->owner = room(FRAMES * sizeof(uint16_t));
    world->type_count = room(FRAMES * sizeof(uint32_t));
    world->count = room(FRAMES * sizeof(uint32_t));
    world->words = room(WORDS * sizeof(uint32_t));
    world->cells = room(CELLS * sizeof(int64_t));
}

/* Each part of a world: what is done with it, and its size. */
#define EACH_PART(what)                                                                                               \
    what(ram, RAM_SIZE) what(code_map, FRAMES) what(type, FRAMES) what(flags, FRAMES) what(owner, FRAMES * 2)         \
    what(linear, FRAMES * 2)                                                                                          \
    what(type_count, FRAMES * 4) what(count, FRAMES * 4) what(words, WORDS * 4)

void copy_world(void)
{
#define COPY(part, size) memcpy(before.part, now.part, size);
    EACH_PART(COPY)
    memcpy(before.cells, now.cells, CELLS * sizeof(int64_t));
}

int same_world(void)
{
#define SAME(part, size) && !memcmp(before.part, now.part, size)
    return 1 EACH_PART(SAME) && !memcmp(before.cells, now.cells, BEGUN * sizeof(int64_t));
}

uint64_t get(const uint8_t *at)
{
    uint64_t value = 0;

    memcpy(&value, at, entry_size);
    return value;
}

static void put(uint32_t maddr, uint64_t value)
{
    memcpy(now.ram + maddr, &value, entry_size);
}

uint64_t entry(void)
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

/*
 * Frame 1 is the root, 0 the level 2 table of PAE; 2, and mostly 3, are level 1 tables, of which 2 maps 16 pages. Frame 3
 * may be another root instead.
 */
void scatter(struct gateway_block *block)
{
    uint32_t i, at;

    memset(now.ram, 0, RAM_SIZE);
    for (i = 0; i < FRAMES; i++) {
        const uint8_t kinds[] = {0, TYPE_L1, 2, 5, TYPE_WRITABLE, TYPE_WRITABLE, TYPE_WRITABLE};
        now.owner[i] = below(20) ? DOMID : (uint16_t)draw();
        now.type[i] = i == 2 || (i == 3 && below(2)) ? TYPE_L1 : kinds[below(sizeof(kinds))];
        now.type_count[i] = i == 2 ? 1 : below(20) ? (uint32_t)below(4) : FRAME_COUNT_MAX - (uint32_t)below(2);
        now.count[i] = below(20) ? (uint32_t)below(6) : FRAME_COUNT_MAX - (uint32_t)below(2);
        if (i == 1 && below(4)) /* it can be left */
            now.type_count[i] = now.count[i] = 2 + (uint32_t)below(3);
        if (i < 2)
            now.type[i] = (uint8_t)(2 + i);
        now.linear[i] = (int16_t)below(2);
        now.flags[i] = (uint8_t)(below(10) ? FRAME_VALIDATED | (below(4) ? 0 : FRAME_PINNED) : draw());
        now.code_map[i] = !below(30);
    }
    for (i = 0; i < 4; i++) {
        put(PAGE + i * entry_size, block->pae ? 1 : 2 * PAGE | 0x63);
        put(i * entry_size, 2 * PAGE | 0x63);
    }
    if (now.type[3] != TYPE_L1 && below(4)) {
        now.type[3] = ROOT_TYPE;
        for (i = 0; i < 4; i++)
            put(3 * PAGE + i * entry_size, below(4) ? get(now.ram + PAGE + i * entry_size) : 0);
    }
    for (at = 2 * PAGE; at < 4 * PAGE && (at < 3 * PAGE || now.type[3] != ROOT_TYPE); at += PAGE)
        for (i = 0; i < 16; i++)
            put(at + i * entry_size, good_entry());
    for (i = 0; i < WORDS; i++)
        now.words[i] = (uint32_t)draw();
    memset(now.cells, 0, CELLS * sizeof(int64_t));
    now.cells[LIMIT] = -1;
    now.cells[DEADLINE] = INT64_MAX;
    now.cells[ASSIST] = WRITABLE_PAGETABLES;
    now.cells[INSTALLED + NR_LDT_PAGES] = !below(10);
    now.cells[INFO] = VCPU_INFO;
    now.cells[TYPES_OBSERVED] = !below(8);
    now.cells[BEGUN] = (int64_t)below(3); /* of a trap before */
    now.words[block->layout.hflags] = 1;
    now.words[block->layout.is_int] = 1;
    now.words[block->layout.eflags] = 0;
    now.words[block->layout.cr3] = PAGE;
    now.cells[CR3] = PAGE;
    now.cells[INSTALLED + BASE_MFN] = 1;
    block->memory.lone = below(2) != 0;
    for (i = 0; i < WORDS; i++)
        other[i] = (uint32_t)draw();
    states[0] = (uint64_t)(uintptr_t)now.words;
    states[1] = below(4) ? (uint64_t)(uintptr_t)other : below(2) ? NO_PROCESSOR : UNSEEN;
    block->memory.root_type = ROOT_TYPE;
    block->memory.hole = below(10) ? 0xf5800000u : (uint32_t)below(16 * PAGE);
    block->memory.refused = 0x98;
    block->memory.dropped = block->pae ? 0x7ffull << 52 : 0;
    block->memory.unchecked = 0xf64 | (block->pae ? 0xfffull << 52 : 0);
    block->memory.address_mask = block->pae ? 0xffffffffff000ull : 0xfffff000u;
}

uint32_t linear(uint32_t *maddr)
{
    const uint32_t page = (uint32_t)below(16), near = VCPU_INFO % PAGE - 8 + (uint32_t)below(80);
    const uint32_t offset = below(8) ? (uint32_t)(below(4) ? below(PAGE / 4) * 4 : draw() % PAGE) : near;
    const uint64_t found = get(now.ram + 2 * PAGE + page * entry_size);

    *maddr = found & 1 && (found >> 12 & 0xfffff) < FRAMES ? (uint32_t)(found & 0x7000) | offset : RAM_SIZE;
    return page << 12 | offset;
}

void plant(uint32_t maddr, const void *data, uint32_t size)
{
    if (maddr + size <= RAM_SIZE && (maddr & (PAGE - 1)) + size <= PAGE)
        memcpy(now.ram + maddr, data, size);
}

struct gateway_block *begin(uint64_t seed)
{
    struct gateway_block *block = room(sizeof(*block));
    uint32_t *place = (uint32_t *)&block->layout;
    uint32_t i;

    state = seed * 2 + 1;
    allocate(&now);
    allocate(&before);
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
    block->memory.states = states;
    block->memory.max_vcpus = 2;
    block->memory.nr_frames = FRAMES;
    block->memory.owner = now.owner;
    block->memory.type = now.type;
    block->memory.type_count = now.type_count;
    block->memory.count = now.count;
    block->memory.flags = now.flags;
    block->memory.linear = now.linear;
    block->memory.installed = now.cells + INSTALLED;
    block->memory.cr3 = now.cells + CR3;
    block->memory.types_observed = now.cells + TYPES_OBSERVED;
    block->memory.begun = now.cells + BEGUN;
    block->memory.flush_count = now.cells + FLUSHES;
    block->ready = 1;
    return block;
}
