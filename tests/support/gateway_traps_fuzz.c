/*
 * Tries the native gateway by itself: random states of a processor, random page tables, random gates.
 *
 * Usage: gateway_traps_fuzz SEED TRAPS. All that the gateway may touch is exactly as large as it is told, so that a
 * sanitizer sees whatever lies outside. After each trap one of two things holds: Python's hook was called and
 * nothing has changed at all; or it was not called, one trap more is counted, and nothing outside frames, the mask
 * of upcalls, the guest's CR2, the registers and, by a send, what is pending has changed. CPUID without a trap
 * changes its registers alone, and an access of a port the latches alone. Prints how many traps of each kind were
 * served.
 */

#include "gateway_traps_world.h"

void gateway_on_trap(void *engine, uint32_t vector, void *user);
bool gateway_on_invalid(void *engine, void *user);
int gateway_on_cpuid(void *engine, void *user);
uint32_t gateway_on_in(void *engine, uint32_t port, int size, void *user);
void gateway_on_out(void *engine, uint32_t port, int size, uint32_t value, void *user);

#define MOST_CHANGED (2 * 24)   /* bytes of the frames of a trap and of an upcall */

enum { SYSTEM_CALLS, HYPERCALLS, IRETS, INTERRUPTS, EXCEPTIONS, EMULATIONS, FORCED, CPUIDS, PORTS, SENDS, KINDS };

/* Whether a send may change the byte at a machine address: what is pending, and that it is. */
static bool tells_event(uint64_t maddr)
{
    const uint64_t info = (uint64_t)before.cells[INFO], shared = (uint64_t)before.cells[SHARED_INFO];

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
    const uint64_t info = (uint64_t)before.cells[INFO];
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
    const uint32_t cells[] = {CALLS, TIME, COUNTERS + EMULATED, LATCHES, LATCHES + 1};
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

    if (before.cells[ATTENTION] & (EVERY_TRAP | COUNTED | HOOKED) || before.words[at->eflags] & EFLAGS_VM)
        return "answered although it was not to be";
    return changed_otherwise(block, false) ? "CPUID changed more than its registers" : NULL;
}

/* What is wrong with a trap that was served, if anything is. */
static const char *wrong_service(const struct gateway_block *block, uint32_t vector, int kind)
{
    const struct gateway_layout *at = &block->layout;
    const uint64_t info = (uint64_t)before.cells[INFO];
    const int64_t attention = before.cells[ATTENTION];
    int64_t counted = 0;
    uint32_t i;

    if (attention & EVERY_TRAP || before.cells[BACKENDS] || before.words[at->eflags] & EFLAGS_VM)
        return "served although it was not to be";
    if (now.cells[CALLS] != before.cells[CALLS] + 1 || now.cells[CALLS] == now.cells[LIMIT])
        return "not counted, or beyond the limit";
    if (block->clock && now.cells[TIME] >= now.cells[DEADLINE])
        return "a timer was passed over";
    if (info > RAM_SIZE - VCPU_INFO_SIZE || (now.ram[info + UPCALL_PENDING] && !now.ram[info + UPCALL_MASK]))
        return "an upcall was passed over";
    if (!(now.words[at->hflags] & 3) || !(before.words[at->hflags] & 3))
        return "ring 0";
    if ((kind == IRETS || kind == HYPERCALLS || kind == SENDS) && before.cells[TRACED])
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
    if (kind == PORTS && (before.cells[REGISTERS + VIRTUAL_IOPL] < 1 || before.cells[ASSIST] & ARCHITECTURAL_IOPL))
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
    struct gateway_block *block;
    const uint32_t vectors[] = {SYSCALL_VECTOR, HYPERCALL_VECTOR, HYPERCALL_VECTOR, VECTOR_PF,  VECTOR_GP, VECTOR_DE,
                                0x81,           VECTOR_BP,        0x90,             BY_INVALID, BY_CPUID,  BY_IN,
                                BY_OUT,         7};
    const char *const names[KINDS] = {"system calls", "hypercalls", "irets", "interrupts", "exceptions",
                                      "emulated", "forced cpuids", "cpuids", "ports", "sends"};
    uint64_t trap, traps, served[KINDS] = {0};
    const char *wrong;
    uint32_t vector;
    int kind;

    if (argc != 3)
        return 2;
    block = begin(strtoull(argv[1], NULL, 0));
    traps = strtoull(argv[2], NULL, 0);
    for (trap = 0; trap < traps; trap++) {
        block->pae = below(4) != 0;
        vector = vectors[below(14)];
        scatter(block, vector);
        copy_world();
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
