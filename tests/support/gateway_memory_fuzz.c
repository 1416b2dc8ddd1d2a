/*
 * Tries the page-table work of the native gateway by itself: random tables, frames, requests, lists and stores.
 *
 * Usage: gateway_memory_fuzz SEED CALLS. All that the gateway may touch is exactly as large as it is told, so that a
 * sanitizer sees whatever lies outside. What is left to Python has changed nothing at all, unless it is the rest of a
 * list. And whatever was done, the frame table still counts what the tables map, what the processor walks and what is
 * pinned: of each frame, references and uses less those stay what they were; nothing new is writable but a frame of the
 * domain's own that is of that type; no frame loses its last reference; and no descriptor leads to ring 0. Prints how
 * many calls of each kind were served.
 */

#include "gateway_memory_world.h"

void gateway_on_trap(void *engine, uint32_t vector, void *user);

#define CODE_SIZE 16
#define FLAT 0xffffffffu
#define CS32 (1u << 20)

static int fell_through, flushed;
static uint8_t hooked[HOOK_BUCKETS];
static int64_t registers[8], counters[8];
static uint64_t gates[NR_VECTORS];

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

/* EFLAGS: nothing set. */
static int reg_read(void *engine, int number, void *value)
{
    (void)engine;
    (void)number;
    memset(value, 0, sizeof(uint32_t));
    return 0;
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
    if (number == UPDATE_DESCRIPTOR) {
        /* Not where vcpu_info is, which the guest may write. */
        const uint64_t maddr = below(20) ? (3 + below(4)) << 12 | below(PAGE / 8) * 8 : draw();
        words[0] = (uint32_t)maddr;
        words[1] = (uint32_t)(maddr >> 32);
        words[2] = below(4) ? (uint32_t)draw() : 0xffff;
        words[3] = (uint32_t)draw() ^ (below(4) ? 0 : 0xc0ff00);
    }
    if (number == MMUEXT_OP && below(2)) {
        const uint32_t commands[] = {MMUEXT_NEW_BASEPTR, MMUEXT_PIN_L1_TABLE, MMUEXT_UNPIN_TABLE};
        const uint32_t frame = below(10) ? (uint32_t)(below(4) ? 3 : below(FRAMES)) : (uint32_t)draw();
        const uint32_t one[3] = {commands[below(3)], frame, 0};
        words[1] = 1;
        plant(maddr, one, sizeof(one));
        return;
    }
    for (i = 0; number == MMUEXT_OP && i < count; i++) {
        const uint32_t operation[3] = {below(10) ? 6 + (uint32_t)below(2) : (uint32_t)below(13), (uint32_t)draw(), 0};
        plant(maddr + 12 * i, operation, sizeof(operation));
    }
}

static const uint32_t kinds[] = {MMU_UPDATE, UPDATE_VA_MAPPING, MMUEXT_OP, UPDATE_DESCRIPTOR, 17, 99};
static const char *const names[] = {"batches", "mappings", "operations", "descriptors", "versions", "lists", "stores"};
#define KINDS 5 /* and a list */
#define STORE (KINDS + 1)

/* A store to what may be a table, by an instruction that may be a plain one. */
static void store(const struct gateway_block *block)
{
    const uint8_t opcodes[] = {0x89, 0xc7, 0xa3, 0x87, 0x0f, 0xf0, 0x8b, 0x66};
    const struct gateway_layout *at = &block->layout;
    const uint32_t page = (uint32_t)below(16), to = page << 12 | ((uint32_t)below(16) * entry_size + 4 * (uint32_t)below(2));
    uint32_t code_at, maddr, i, *words = now.words;
    uint8_t code[CODE_SIZE];

    for (i = 0; i < CODE_SIZE; i++)
        code[i] = (uint8_t)draw();
    code[0] = opcodes[below(sizeof(opcodes))];
    if (below(4)) {
        i = code[0] == 0xa3 ? 0 : code[0] == 0x0f ? 2 : code[0] == 0xf0 ? 3 : 1; /* where ModRM is */
        code[i] = code[0] == 0xc7 ? 5 : i > 1 ? 13 : (code[i] & 0x38) | 5;
        memcpy(code + i + 1, &to, sizeof(to));
        if (i > 1)
            memcpy(code + i - 2, "\x0f\xc7", 2);
    }
    code_at = linear(&maddr) & ~(PAGE - 1);
    code_at |= below(10) ? (uint32_t)below(PAGE - CODE_SIZE) : PAGE - (uint32_t)below(CODE_SIZE);
    plant((maddr & ~(PAGE - 1)) | (code_at & (PAGE - 1)), code, sizeof(code));
    for (i = 0; i < 8; i++)
        words[i * at->reg_stride + at->regs] = below(3) ? to : (uint32_t)entry();
    words[at->data_base[0]] = 0;
    words[at->cs_base] = below(20) ? 0 : PAGE;
    words[at->cs_limit] = FLAT;
    words[at->eip] = code_at;
    words[at->hflags] = 1 | CS32;
    words[at->is_int] = 0;
    words[at->error_code] = PF_PRESENT | PF_WRITE;
    words[at->cr2] = below(20) ? to : to + 1;
}

static uint32_t ask(const struct gateway_block *block)
{
    uint32_t call[6] = {0}, list, maddr, i, kind = (uint32_t)below(STORE + 1);
    uint32_t *words = now.words;

    if (kind == STORE) {
        store(block);
        return kind;
    }
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

/* Whether a processor may run on the descriptor at a machine address. */
static int runs_on(const uint32_t *words, const struct gateway_layout *at, uint32_t maddr)
{
    return ((words[at->cs] ^ maddr) & 0xff8) == 0 || ((words[at->ss] ^ maddr) & 0xff8) == 0;
}

/* Whether a descriptor that is served is one that nobody runs on. */
static int nobodys_descriptor(const struct gateway_block *block)
{
    const struct gateway_layout *at = &block->layout;
    const uint32_t maddr = before.words[at->ebx];

    if (states[1] == UNSEEN || runs_on(before.words, at, maddr))
        return 0;
    return states[1] == NO_PROCESSOR || !runs_on(other, at, maddr);
}

/* What is wrong with what came of a call of one kind, if anything. */
static const char *judge_call(const struct gateway_block *block, uint32_t kind)
{
    if (now.cells[FLUSHES] != flushed)
        return "a flush was not counted";
    /* A flush that comes to nothing is one too many, which no guest can tell. */
    if (fell_through && !now.cells[BEGUN] && (!same_world() || (flushed && kind != KINDS)))
        return "left to Python with something changed";
    if (fell_through && now.cells[BEGUN] && kind != KINDS)
        return "the rest of what is no list";
    if (memcmp(now.ram + VCPU_INFO, before.ram + VCPU_INFO, VCPU_INFO_SIZE))
        return "vcpu_info was written";
    if (!fell_through && now.cells[CALLS] != 1)
        return "not counted";
    if (!fell_through && kind != STORE && now.words[block->layout.eax])
        return "a wrong result";
    if (!fell_through && kind == STORE && now.words[block->layout.eip] - before.words[block->layout.eip] > 11)
        return "the guest goes on elsewhere";
    if (!fell_through && kinds[kind % KINDS] == UPDATE_DESCRIPTOR && kind < KINDS && !nobodys_descriptor(block))
        return "a vcpu may run on it";
    return judge(block);
}

static void prepare(struct gateway_block *block)
{
    block->python.trap = python;
    block->reg_read = reg_read;
    block->traps.hooked_map = hooked;
    block->traps.gates = gates;
    block->traps.registers = registers;
    block->traps.counters = counters;
    block->memory.flush_page = flush_page;
    block->layout.cs32 = CS32;
}

int main(int argc, char **argv)
{
    uint64_t call, calls, served[STORE + 1] = {0}, handed_over = 0, others[3] = {0};
    struct gateway_block *block;
    const char *wrong;
    uint32_t kind, i;

    if (argc != 3)
        return 2;
    block = begin(strtoull(argv[1], NULL, 0));
    calls = strtoull(argv[2], NULL, 0);
    prepare(block);
    for (call = 0; call < calls; call++) {
        block->pae = below(2) != 0;
        entry_size = block->pae ? 8 : 4;
        block->memory.entry_shift = block->pae ? 3 : 2;
        scatter(block);
        block->memory.flush_tlb = below(10) ? flush_tlb : NULL;
        kind = ask(block);
        copy_world();
        fell_through = flushed = 0;
        gateway_on_trap(NULL, kind == STORE ? VECTOR_PF : HYPERCALL_VECTOR, block);
        wrong = judge_call(block, kind);
        if (wrong) {
            printf("call %" PRIu64 ", of %s: %s\n", call, names[kind], wrong);
            return 1;
        }
        served[kind] += !fell_through;
        handed_over += fell_through && now.cells[BEGUN];
        others[0] += now.cells[INSTALLED] != before.cells[INSTALLED];
        for (i = 0; i < FRAMES; i++)
            if ((now.flags[i] ^ before.flags[i]) & FRAME_PINNED)
                others[now.flags[i] & FRAME_PINNED ? 1 : 2]++;
    }
    for (i = 0; i <= STORE; i++)
        printf("%" PRIu64 " %s ", served[i], names[i]);
    printf("%" PRIu64 " roots %" PRIu64 " pins %" PRIu64 " unpins %" PRIu64 " begun\n", others[0], others[1], others[2],
           handed_over);
    free(block);
    return 0;
}
