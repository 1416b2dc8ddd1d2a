/*
 * Tries the native gateway by itself: random states of a processor, random page tables, random gates.
 *
 * Usage: gateway_fuzz SEED TRAPS. All that the gateway may touch is exactly as large as it is told, so that a
 * sanitizer sees whatever lies outside. After each trap one of two things holds: Python's hook was called and
 * nothing has changed at all; or it was not called, one trap more is counted, and nothing outside frames, the mask
 * of upcalls, the guest's CR2, the registers and, by a send, what is pending has changed. CPUID without a trap
 * changes its registers alone, and an access of a port the latches alone. Prints how many traps of each kind were
 * served.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway_structs.h"

void gateway_on_trap(void *engine, uint32_t vector, void *user);
bool gateway_on_invalid(void *engine, void *user);
int gateway_on_cpuid(void *engine, void *user);
uint32_t gateway_on_in(void *engine, uint32_t port, int size, void *user);
void gateway_on_out(void *engine, uint32_t port, int size, uint32_t value, void *user);

#define FRAMES 8
#define RAM_SIZE (FRAMES * 4096u)
#define WORDS 160
#define CELLS 26
#define LATCHES 22
#define SHARED_INFO 24
#define POLLING 25
#define IPIS 64                 /* the first ports interrupt vcpus 0 and 1 */
#define REGISTERS 9
#define COUNTERS 16
#define MOST_CHANGED (2 * 24)   /* bytes of the frames of a trap and of an upcall */
#define CS32 0x8000u

enum { SYSTEM_CALLS, HYPERCALLS, IRETS, INTERRUPTS, EXCEPTIONS, EMULATIONS, FORCED, CPUIDS, PORTS, SENDS, KINDS };

/* Instead of a vector: what comes by other hooks. */
enum { BY_INVALID = 0x100, BY_CPUID, BY_IN, BY_OUT };

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
static uint64_t state, gates[NR_VECTORS], event;

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

static void copy(struct world *to, const struct world *from)
{
    memcpy(to->ram, from->ram, RAM_SIZE);
    memcpy(to->code_map, from->code_map, FRAMES);
    memcpy(to->words, from->words, WORDS * sizeof(uint32_t));
    memcpy(to->cells, from->cells, CELLS * sizeof(int64_t));
    to->eflags = from->eflags;
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

/* Whether a send may change the byte at a machine address: what is pending, and that it is. */
static bool tells_event(uint64_t maddr)
{
    const uint64_t info = (uint64_t)before.cells[7], shared = (uint64_t)before.cells[SHARED_INFO];

    return maddr == info + UPCALL_PENDING || maddr - (info + INFO_PENDING_SEL) < 4 ||
           maddr - (shared + EVTCHN_PENDING) < EVENT_PORTS / 8;
}

static bool is_send(const struct gateway_block *block, uint32_t vector)
{
    return vector == HYPERCALL_VECTOR && before.words[block->layout.is_int] &&
           before.words[block->layout.eax] == HYPERCALL_EVENT_CHANNEL_OP;
}

/* What is wrong with the bytes that have changed, if anything is. */
static const char *wrong_change(const struct gateway_block *block, uint32_t vector)
{
    const uint64_t info = (uint64_t)before.cells[7];
    uint32_t i, changed = 0;

    for (i = 0; i < RAM_SIZE; i++) {
        if (now.ram[i] == before.ram[i] || i == info + UPCALL_MASK || (is_send(block, vector) && tells_event(i)))
            continue;
        if (i >= info + INFO_CR2 && i < info + INFO_CR2 + 4) {
            if (vector != VECTOR_PF || block->words[block->layout.is_int])
                return "CR2 has changed without a fault";
            continue;
        }
        changed++;
        if (before.code_map[i >> 12])
            return "code was written";
        if (i >> 12 == info >> 12)
            return "a frame is in the page of vcpu_info";
    }
    return changed > MOST_CHANGED ? "more than frames was written" : NULL;
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
static void scatter(struct gateway_block *block, uint32_t vector)
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
    now.cells[0] = below(5) ? 0 : (int64_t)(1u << below(9));    /* attention */
    now.cells[1] = !below(20);                  /* backends */
    now.cells[2] = !below(20);                  /* trace */
    now.cells[3] = (int64_t)below(1000);        /* traps */
    now.cells[4] = now.cells[3] + (int64_t)below(20);
    now.cells[5] = (int64_t)below(1u << 20);    /* deadline */
    now.cells[6] = (int64_t)below(1u << 18);    /* time */
    now.cells[7] = below(20) ? (int64_t)below(RAM_SIZE / 4) * 4 : (int64_t)draw();
    now.cells[8] = (int64_t)below(4) ? 0 : (int64_t)draw();
    now.cells[REGISTERS + KERNEL_SS] = 0x69 + 8 * (int64_t)(below(2) * 2);
    now.cells[19] = (int64_t)below(1000);       /* reads of the clock */
    now.cells[20] = now.cells[3] - (int64_t)below(2);
    now.cells[REGISTERS + VIRTUAL_IOPL] = (int64_t)below(4);
    now.words[at->eflags] &= below(4) ? ~(EFLAGS_TF | EFLAGS_RF) : ~0u;
    now.cells[SHARED_INFO] = (int64_t)(below(20) ? below(FRAMES) << 12 : below(2) * draw());
    now.cells[POLLING] = !below(20);
    block->clock = below(10) ? now.cells + 6 : NULL;
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
    block->attention = now.cells;
    block->backends_due = now.cells + 1;
    block->hypercalls_traced = now.cells + 2;
    block->counts = now.cells + 3;
    block->deadline = now.cells + 5;
    block->vcpu_info = now.cells + 7;
    block->vm_assist = now.cells + 8;
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
    block->traps.reads = now.cells + 20;
    block->traps.hooked_map = calloc(HOOK_BUCKETS, 1);
    if (!block->traps.hooked_map)
        exit(2);
    for (i = 0; i < HOOK_BUCKETS; i += 16)
        block->traps.hooked_map[i] = 1;
    block->ready = 1;
}

static int fail(const char *what, uint64_t trap)
{
    printf("trap %" PRIu64 ": %s\n", trap, what);
    return 1;
}

static int kind_of(const struct gateway_block *block, uint32_t vector)
{
    if (vector == BY_CPUID)
        return CPUIDS;
    if (vector >= BY_INVALID)
        return vector == BY_INVALID ? FORCED : PORTS;
    if (!before.words[block->layout.is_int])
        return vector == VECTOR_GP ? EMULATIONS : EXCEPTIONS;
    if (vector == SYSCALL_VECTOR)
        return SYSTEM_CALLS;
    if (is_send(block, vector) && (before.words[block->layout.hflags] & 3) == 1)
        return SENDS;
    if (vector == HYPERCALL_VECTOR && (before.words[block->layout.hflags] & 3) == 1)
        return before.words[block->layout.eax] == HYPERCALL_IRET ? IRETS : HYPERCALLS;
    return INTERRUPTS;
}

/* Whether anything but the registers of CPUID has changed; `of_port`: but the latches, the counts and the time. */
static bool changed_otherwise(const struct gateway_block *block, bool of_port)
{
    const struct gateway_layout *at = &block->layout;
    const uint32_t answers[] = {at->eax, at->ebx, at->ecx, at->edx};
    const uint32_t cells[] = {3, 6, COUNTERS + EMULATED, LATCHES, LATCHES + 1};
    uint32_t i;

    for (i = 0; i < 4 && !of_port; i++)
        before.words[answers[i]] = now.words[answers[i]];
    for (i = 0; i < 5 && of_port; i++)
        before.cells[cells[i]] = now.cells[cells[i]];
    return memcmp(now.ram, before.ram, RAM_SIZE) || memcmp(now.words, before.words, WORDS * sizeof(uint32_t)) ||
           memcmp(now.cells, before.cells, CELLS * sizeof(int64_t)) || now.eflags != before.eflags;
}

/* What is wrong with a CPUID that did not trap, if anything is. */
static const char *wrong_cpuid(const struct gateway_block *block)
{
    const struct gateway_layout *at = &block->layout;

    if (before.cells[0] & (EVERY_TRAP | COUNTED | HOOKED) || before.words[at->eflags] & EFLAGS_VM)
        return "answered although it was not to be";
    return changed_otherwise(block, false) ? "CPUID changed more than its registers" : NULL;
}

/* What is wrong with a trap that was served, if anything is. */
static const char *wrong_service(const struct gateway_block *block, uint32_t vector, int kind)
{
    const struct gateway_layout *at = &block->layout;
    const uint64_t info = (uint64_t)before.cells[7];
    const int64_t attention = before.cells[0];
    int64_t counted = 0;
    uint32_t i;

    if (attention & EVERY_TRAP || before.cells[1] || before.words[at->eflags] & EFLAGS_VM)
        return "served although it was not to be";
    if (now.cells[3] != before.cells[3] + 1 || now.cells[3] == now.cells[4])
        return "not counted, or beyond the limit";
    if (block->clock && now.cells[6] >= now.cells[5])
        return "a timer was passed over";
    if (info > RAM_SIZE - VCPU_INFO_SIZE || (now.ram[info + UPCALL_PENDING] && !now.ram[info + UPCALL_MASK]))
        return "an upcall was passed over";
    if (!(now.words[at->hflags] & 3) || !(before.words[at->hflags] & 3))
        return "ring 0";
    if ((kind == IRETS || kind == HYPERCALLS || kind == SENDS) && before.cells[2])
        return "a hypercall was to be traced";
    if (kind == SENDS && (before.cells[POLLING] || !before.cells[SHARED_INFO] || attention & UPCALLS_OBSERVED))
        return "a send that is not this vcpu's alone";
    if (kind == IRETS && attention & IN_NMI)
        return "the end of an NMI went unseen";
    if ((kind == EXCEPTIONS || kind == EMULATIONS) && attention & HOOKED)
        return "a fault at an instruction that may have a hook";
    if (kind != PORTS && !before.words[at->is_int] && now.words[at->in_flight] != NONE_IN_FLIGHT)
        return "the fault is still in flight";
    for (i = 0; i < 4; i++)
        counted += now.cells[COUNTERS + i] - before.cells[COUNTERS + i];
    if (counted - (now.cells[COUNTERS + UPCALLS] - before.cells[COUNTERS + UPCALLS]) !=
        (kind != IRETS && kind != HYPERCALLS && kind != SENDS))
        return "counted otherwise than once";
    if (now.cells[COUNTERS + UPCALLS] != before.cells[COUNTERS + UPCALLS] && attention & UPCALLS_OBSERVED)
        return "an upcall went unseen";
    if (kind == PORTS && (before.cells[REGISTERS + VIRTUAL_IOPL] < 1 || before.cells[8] & ARCHITECTURAL_IOPL))
        return "a port without the privilege";
    if (kind == PORTS && changed_otherwise(block, true))
        return "an access of a port changed more than a latch";
    return wrong_change(block, vector);
}

/* Enter the hypervisor as the engine would. What is read of a port is no wider than asked for. */
static const char *enter(struct gateway_block *block, uint32_t vector)
{
    const uint32_t ports[] = {PIT_CHANNEL_2, CMOS_INDEX, CMOS_INDEX - 1, PCI_ADDRESS, 0xffff, 0x80};
    const uint32_t port = ports[below(6)];
    const int size = 1 << below(3);

    if (vector == BY_INVALID)
        return gateway_on_invalid(NULL, block) == fell_through ? "told the wrong answer" : NULL;
    if (vector == BY_CPUID)
        return gateway_on_cpuid(NULL, block) == fell_through ? "told the wrong answer" : NULL;
    if (vector == BY_IN)
        return (uint64_t)gateway_on_in(NULL, port, size, block) >> 8 * size ? "read too much of a port" : NULL;
    if (vector == BY_OUT)
        gateway_on_out(NULL, port, size, (uint32_t)draw(), block);
    else
        gateway_on_trap(NULL, vector, block);
    return NULL;
}

int main(int argc, char **argv)
{
    struct gateway_block *block = malloc(sizeof(*block));
    const uint32_t vectors[] = {SYSCALL_VECTOR, HYPERCALL_VECTOR, HYPERCALL_VECTOR, VECTOR_PF,  VECTOR_GP, VECTOR_DE,
                                0x81,           VECTOR_BP,        0x90,             BY_INVALID, BY_CPUID,  BY_IN,
                                BY_OUT,         7};
    const char *const names[KINDS] = {"system calls", "hypercalls", "irets", "interrupts", "exceptions",
                                      "emulated", "forced cpuids", "cpuids", "ports", "sends"};
    uint64_t trap, traps, served[KINDS] = {0};
    const char *wrong;
    uint32_t vector;
    int kind;

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
        vector = vectors[below(14)];
        scatter(block, vector);
        copy(&before, &now);
        fell_through = 0;
        wrong = enter(block, vector);
        if (wrong)
            return fail(wrong, trap);
        if (fell_through) {
            if (memcmp(now.ram, before.ram, RAM_SIZE) || memcmp(now.code_map, before.code_map, FRAMES) ||
                memcmp(now.words, before.words, WORDS * sizeof(uint32_t)) ||
                memcmp(now.cells, before.cells, CELLS * sizeof(int64_t)) || now.eflags != before.eflags)
                return fail("left to Python with something changed", trap);
            continue;
        }
        kind = kind_of(block, vector);
        wrong = kind == CPUIDS ? wrong_cpuid(block) : wrong_service(block, vector, kind);
        if (wrong)
            return fail(wrong, trap);
        served[kind]++;
    }
    for (kind = 0; kind < KINDS; kind++)
        printf("%s%" PRIu64 " %s", kind ? ", " : "", served[kind], names[kind]);
    putchar('\n');
    free(block->traps.hooked_map);
    free(block);
    return 0;
}
