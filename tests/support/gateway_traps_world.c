/* See gateway_traps_world.h. */

#include "gateway_traps_world.h"

struct world now, before;
int fell_through;
static int refuse_flags;
static uint64_t state, gates[NR_VECTORS], event;

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

static void python(void *engine, uint32_t vector, void *user)
{
    (void)engine;
    (void)vector;
    (void)user;
    fell_through = 1;
}

static bool python_invalid(void *engine, void *user)
{
    python(engine, 0, user);
    return false;
}

static int python_cpuid(void *engine, void *user)
{
    python(engine, 0, user);
    return 0;
}

static uint32_t python_in(void *engine, uint32_t port, int size, void *user)
{
    (void)port;
    (void)size;
    python(engine, 0, user);
    return 0;
}

static void python_out(void *engine, uint32_t port, int size, uint32_t value, void *user)
{
    (void)port;
    (void)size;
    (void)value;
    python(engine, 0, user);
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

void copy_world(void)
{
    memcpy(before.ram, now.ram, RAM_SIZE);
    memcpy(before.code_map, now.code_map, FRAMES);
    memcpy(before.words, now.words, WORDS * sizeof(uint32_t));
    memcpy(before.cells, now.cells, CELLS * sizeof(int64_t));
    before.eflags = now.eflags;
}

/* Where a linear address leads by what was in memory before, whatever the rights; RAM_SIZE: nowhere. */
static uint64_t walk(const struct gateway_block *block, const uint8_t *ram, uint32_t linear)
{
    uint64_t table = block->words[block->layout.cr3] & (block->pae ? 0xffffffe0u : 0xfffff000u), found;
    uint32_t level;

    for (level = block->pae ? 3 : 2; level; level--) {
        found = 0;
        if (block->pae)
            table += (linear >> (3 + 9 * level) & (level == 3 ? 3 : 511)) * 8;
        else
            table += (linear >> (2 + 10 * level) & 1023) * 4;
        if (table > RAM_SIZE - 8)
            return RAM_SIZE;
        memcpy(&found, ram + table, block->pae ? 8 : 4);
        if (!(found & 1))
            return RAM_SIZE;
        table = found & 0xffffffffff000;
    }
    return table < RAM_SIZE ? table | (linear & 4095) : RAM_SIZE;
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

/* Ways into rings 1 and 3, most of which are what they were. */
static void make_ways(struct gateway_block *block)
{
    uint32_t i, slot;

    for (slot = 0; slot < MOST_WAYS; slot++) {
        struct gateway_way *way = &block->traps.ways[slot];

        way->open = below(10) != 0;
        way->ring = slot & 1 ? 3 : 1;
        way->cs = 0x60 + 8 * (slot & 2) + way->ring;
        way->ss = 0x68 + 8 * (slot & 2) + way->ring;
        way->stack_base = below(10) ? 0 : (uint32_t)draw();
        way->code_limit = below(10) ? ~0u : (uint32_t)draw();
        way->hflags_keep = ~3u;
        way->hflags_set = way->ring;
        for (i = 0; i < STORES; i++) {
            way->store_at[i] = 140 + 2 * i;
            way->store_value[i] = (uint32_t)draw();
        }
        way->nr_watches = below(MOST_WATCHES + 1);
        for (i = 0; i < way->nr_watches; i++) {
            way->watches[i].size = below(2) ? 8 : 4;
            way->watches[i].maddr = below(RAM_SIZE / 8) * 8;
            way->watches[i].value = 0;
            memcpy(&way->watches[i].value, now.ram + way->watches[i].maddr, way->watches[i].size);
            way->watches[i].value ^= !below(20);
        }
    }
}

static uint64_t make_gate(void)
{
    const uint64_t cs = below(20) ? 0x61 + 8 * (below(2) * 2) : draw() & 0xffff;

    return below(20) ? (draw() & 0xffffffff) | cs << GATE_CS_SHIFT | below(4) << GATE_DPL_SHIFT |
                           below(2) << GATE_MASKS_SHIFT
                     : 0;
}

/* Put something that the gateway reads where the instruction is, and where a frame may be. */
static void make_code(const struct gateway_block *block, uint32_t vector)
{
    static const uint8_t emulated[][3] = {{0x0f, 0x31}, {0x0f, 0x20, 0xc0}, {0x0f, 0x20, 0xd1}, {0x0f, 0x20, 0xe2},
                                          {0xf3, 0x6d}, {0x66, 0xaa}, {0x0f, 0x06}, {0xfa}, {0x0f, 0x22, 0xe3},
                                          {0x0f, 0x01, 0xf9}};
    static const uint8_t forced[] = {0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2};
    static const uint8_t ports[][2] = {{0xe4, 0x70}, {0xe7, 0x42}, {0xec}, {0xef}, {0x66, 0xed}, {0xf3, 0x6c}, {0x6f}};
    const uint8_t call[3] = {below(10) ? 0x90 : 0x66, 0xcd, (uint8_t)vector};
    const int is_int = block->words[block->layout.is_int] != 0;
    uint64_t at = walk(block, now.ram, block->words[block->layout.eip] - (is_int ? 3 : 0));
    uint32_t frame[6], i;

    if (vector == BY_INVALID && at <= RAM_SIZE - sizeof(forced) && below(10))
        memcpy(now.ram + at, forced, sizeof(forced));
    else if ((vector == BY_IN || vector == BY_OUT) && at <= RAM_SIZE - 2 && below(10))
        memcpy(now.ram + at, ports[below(7)], 2);
    else if (at <= RAM_SIZE - 3 && below(10))
        memcpy(now.ram + at, is_int ? call : emulated[below(10)], 3);
    at = walk(block, now.ram, block->words[block->layout.regs + block->layout.reg_stride]);
    if (vector == HYPERCALL_VECTOR && at <= RAM_SIZE - 4 && below(10)) {
        i = (uint32_t)below(below(8) ? IPIS : 2 * EVENT_PORTS);
        memcpy(now.ram + at, &i, 4);
    }
    at = walk(block, now.ram, block->words[block->layout.esp]);
    if (at > RAM_SIZE - sizeof(frame) || !below(10))
        return;
    for (i = 0; i < 6; i++)
        frame[i] = (uint32_t)draw();
    frame[2] = 0x61 + 8 * ((uint32_t)below(2) * 2) + (below(2) ? 2 : 0);
    frame[5] = 0x6b + 8 * ((uint32_t)below(2) * 2);
    frame[3] &= below(10) ? ~EFLAGS_VM : ~0u;
    memcpy(now.ram + at, frame, sizeof(frame));
}

/* Fill memory, registers and what Python would have told. */
void scatter(struct gateway_block *block, uint32_t vector)
{
    const struct gateway_layout *at = &block->layout;
    uint32_t i, j;

    for (i = 0; i < 200; i++) {
        uint64_t made = entry((int)block->pae);
        j = (uint32_t)below(RAM_SIZE / 8);
        memcpy(now.ram + 8 * j, &made, 8);
    }
    for (i = 0; i < WORDS; i++)
        now.words[i] = (uint32_t)draw();
    now.words[at->hflags] = (now.words[at->hflags] & ~3u) | CS32;
    now.words[at->hflags] |= below(4) ? (below(2) ? 3 : 1) : (uint32_t)below(4);
    now.words[at->is_int] = vector >= 0x80 && vector < NR_VECTORS ? below(10) != 0 : !below(10);
    now.words[at->eflags] &= below(10) ? ~EFLAGS_VM : ~0u;
    now.words[at->cr3] = (uint32_t)(below(20) ? below(FRAMES) << 12 : draw());
    now.words[at->cs] = 0x61 + 8 * ((uint32_t)below(2) * 2) + (below(2) ? 2 : 0);
    now.words[at->cs_base] = below(10) ? 0 : (uint32_t)draw();
    now.words[at->cs_limit] = below(10) ? ~0u : (uint32_t)draw();
    now.words[at->ss] = 0x69 + 8 * ((uint32_t)below(2) * 2);
    now.words[at->error_code] = (uint32_t)(below(3) ? 0 : below(32));
    if (below(10))
        for (i = 0; i < DATA_SEGMENTS; i++)
            now.words[at->data_flags[i]] |= 0x6000;
    if (below(3)) {
        now.words[at->eax] = below(3) ? HYPERCALL_IRET : block->answers[below(block->nr_answers)].number;
        if (!below(8))
            now.words[at->eax] = below(2) ? HYPERCALL_STACK_SWITCH : HYPERCALL_FPU_TASKSWITCH;
        now.words[at->ebx] = 0;
        if (!below(3)) {
            now.words[at->eax] = HYPERCALL_EVENT_CHANNEL_OP;
            now.words[at->ebx] = (uint32_t)(below(10) ? EVTCHNOP_SEND : below(10));
        }
    }
    if (vector >= BY_INVALID && below(2))
        now.words[at->eax] = block->cpuid.leaves[below(MOST_LEAVES)].leaf;
    make_code(block, vector);
    now.eflags = (uint32_t)draw();
    refuse_flags = !below(50);
    for (i = 0; i < CELLS; i++)
        now.cells[i] = (int64_t)(draw() & 0xffffffff);
    now.cells[ATTENTION] = below(5) ? 0 : (int64_t)(1u << below(9));
    now.cells[BACKENDS] = !below(20);
    now.cells[TRACED] = !below(20);
    now.cells[CALLS] = (int64_t)below(1000);
    now.cells[LIMIT] = now.cells[CALLS] + (int64_t)below(20);
    now.cells[DEADLINE] = (int64_t)below(1u << 20);
    now.cells[TIME] = (int64_t)below(1u << 18);
    now.cells[INFO] = below(20) ? (int64_t)below(RAM_SIZE / 4) * 4 : (int64_t)draw();
    now.cells[ASSIST] = (int64_t)below(4) ? 0 : (int64_t)draw();
    now.cells[REGISTERS + KERNEL_SS] = 0x69 + 8 * (int64_t)(below(2) * 2);
    now.cells[CLOCK_READS] = (int64_t)below(1000);
    now.cells[CLOCK_READS + 1] = now.cells[CALLS] - (int64_t)below(2);
    now.cells[REGISTERS + VIRTUAL_IOPL] = (int64_t)below(4);
    now.words[at->eflags] &= below(4) ? ~(EFLAGS_TF | EFLAGS_RF) : ~0u;
    now.cells[SHARED_INFO] = (int64_t)(below(20) ? below(FRAMES) << 12 : below(2) * draw());
    now.cells[POLLING] = !below(20);
    block->clock = below(10) ? now.cells + TIME : NULL;
    for (i = 0; i < FRAMES; i++)
        now.code_map[i] = !below(8);
    for (i = 0; i < NR_VECTORS; i++)
        gates[i] = make_gate();
    event = make_gate() | 1ull << GATE_MASKS_SHIFT; /* as every callback for events */
    make_ways(block);
}

static void prepare(struct gateway_block *block)
{
    static int64_t begun[3];
    static int16_t ipis[EVENT_PORTS];
    struct gateway_layout *at = &block->layout;
    uint32_t *place = (uint32_t *)at;
    uint32_t i;

    memset(block, 0, sizeof(*block));
    block->python.trap = python;
    block->python.invalid = python_invalid;
    block->python.cpuid = python_cpuid;
    block->python.port_in = python_in;
    block->python.port_out = python_out;
    block->reg_read = reg_read;
    block->reg_write = reg_write;
    block->words = now.words;
    block->ram = now.ram;
    block->ram_size = RAM_SIZE;
    block->code_map = now.code_map;
    block->attention = now.cells + ATTENTION;
    block->backends_due = now.cells + BACKENDS;
    block->hypercalls_traced = now.cells + TRACED;
    block->counts = now.cells + CALLS;
    block->deadline = now.cells + DEADLINE;
    block->vcpu_info = now.cells + INFO;
    block->vm_assist = now.cells + ASSIST;
    block->latches = now.cells + LATCHES;
    block->cpuid.nr_leaves = MOST_LEAVES;
    for (i = 0; i < MOST_LEAVES; i++) {
        block->cpuid.leaves[i].leaf = 0x40000000 + i / 2;
        block->cpuid.leaves[i].by_subleaf = i & 1;
        block->cpuid.leaves[i].answer[i % 4] = i;
    }
    block->memory.begun = begun;
    block->memory.hole = ~0u;
    block->events.shared_info = now.cells + SHARED_INFO;
    block->events.polling = now.cells + POLLING;
    block->events.ipis = ipis;
    block->events.vcpu = 1;
    for (i = 0; i < EVENT_PORTS; i++)
        ipis[i] = i < IPIS ? (int16_t)!!(i % 4) : -1;
    block->nr_answers = MOST_ANSWERS;
    for (i = 0; i < MOST_ANSWERS; i++)
        block->answers[i].number = 100 + i;
    for (i = 0; i < sizeof(*at) / sizeof(*place); i++)
        place[i] = 16 + 2 * i;
    at->regs = at->eax = 0;
    at->reg_stride = 2;
    at->ecx = 2;
    at->ebx = 6;
    at->esp = 8;
    at->addseg = 0x40;
    at->cs32 = CS32;
    at->inhibit = 8;
    at->task_switched = 0x10;
    block->traps.gates = gates;
    block->traps.events = &event;
    block->traps.registers = now.cells + REGISTERS;
    block->traps.counters = now.cells + COUNTERS;
    block->traps.reads = now.cells + CLOCK_READS + 1;
    block->traps.hooked_map = calloc(HOOK_BUCKETS, 1);
    if (!block->traps.hooked_map)
        exit(2);
    for (i = 0; i < HOOK_BUCKETS; i += 16)
        block->traps.hooked_map[i] = 1;
    block->ready = 1;
}

struct gateway_block *begin(uint64_t seed)
{
    struct gateway_block *block = malloc(sizeof(*block));

    if (!block)
        exit(2);
    state = seed * 2 + 1;
    allocate(&now);
    allocate(&before);
    memset(now.ram, 0, RAM_SIZE);
    prepare(block);
    return block;
}
