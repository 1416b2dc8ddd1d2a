/* Privileged instructions that are carried out for the guest (paravane.traps.emulate). */

#include "emulate.h"

#define ESCAPE 0x0f
#define RDTSC 0x31
#define GROUP_7 0x01
#define RDTSCP 0xf9 /* of group 7 */
#define READ_CR 0x20
#define WRITE_CR 0x22
#define CLTS 0x06
#define CLI 0xfa
#define STI 0xfb

/* Step over `length` bytes, and return to the guest after `cost` nanoseconds. */
static bool retire(struct gateway_block *block, void *engine, struct resume *to, uint32_t length, int64_t cost)
{
    to->eip += length;
    if (!resume_commit(block, engine, to, cost))
        return false;
    block->traps.counters[EMULATED]++;
    return true;
}

/* How far time goes for a guest that reads it so often in a row (paravane.time.vcpu_time, `read`). */
static int64_t step_of(int64_t reads)
{
    const int64_t step = reads / READS_PER_MICROSECOND * 1000;

    return step < LONGEST_STEP ? step : LONGEST_STEP;
}

/* RDTSC or RDTSCP. A step that would come to the next timer is Python's, as whatever else comes to it. */
static bool read_tsc(struct gateway_block *block, void *engine, struct resume *to, bool with_aux)
{
    int64_t *reads = block->traps.reads;
    const int64_t entry = block->counts[TRAPS];
    const int64_t count = entry == reads[LAST_READ] + 1 ? reads[READS] + 1 : reads[READS] / 2;
    const int64_t step = block->clock ? step_of(count) : 0;
    int64_t now;

    if (to->ring != KERNEL_RING && block->traps.registers[VIRTUAL_CR4] & CR4_TSD)
        return false;
    if (!goes_on(block, step, &now) || !retire(block, engine, to, with_aux ? 3 : 2, step + TRAP_COST))
        return false;
    reads[READS] = count;
    reads[LAST_READ] = entry;
    *general_register(block, EAX) = (uint32_t)now;
    *general_register(block, EDX) = (uint32_t)((uint64_t)now >> 32);
    if (with_aux)
        *general_register(block, ECX) = (uint32_t)block->traps.registers[VIRTUAL_TSC_AUX];
    return true;
}

/* `mov` from CR0, CR2 or CR4. Into ESP, which an upcall would use, it is Python's. */
static bool read_control_register(struct gateway_block *block, void *engine, struct resume *to, uint8_t modrm)
{
    const int64_t *registers = block->traps.registers;
    const uint32_t to_register = modrm & 7;
    uint32_t value;

    switch (modrm >> 3 & 7) {
    case 0:
        value = CR0_FIXED | (registers[TASK_SWITCHED] ? CR0_TS : 0);
        break;
    case 2:
        value = (uint32_t)registers[VIRTUAL_CR2];
        break;
    case 4:
        value = (uint32_t)registers[VIRTUAL_CR4];
        break;
    default:
        return false;
    }
    if (to->ring != KERNEL_RING || to_register == ESP || !retire(block, engine, to, 3, TRAP_COST))
        return false;
    *general_register(block, to_register) = value;
    return true;
}

/* CLTS, `length` 2, or `mov` to CR0 that changes nothing else than TS. */
static bool set_task_switched(struct gateway_block *block, void *engine, struct resume *to, uint32_t length, bool on)
{
    if (to->ring != KERNEL_RING || !retire(block, engine, to, length, TRAP_COST))
        return false;
    gateway_set_task_switched(block, on);
    return true;
}

/* `mov` to CR0, of which only TS is the guest's, or to CR4. */
static bool write_control_register(struct gateway_block *block, void *engine, struct resume *to, uint8_t modrm)
{
    const uint32_t value = *general_register(block, modrm & 7);

    switch (modrm >> 3 & 7) {
    case 0:
        return !((value ^ CR0_FIXED) & ~CR0_TS) && set_task_switched(block, engine, to, 3, value & CR0_TS);
    case 4:
        if (to->ring != KERNEL_RING || !retire(block, engine, to, 3, TRAP_COST))
            return false;
        block->traps.registers[VIRTUAL_CR4] = (value & CR4_OWN) | CR4_VISIBLE;
        return true;
    default:
        return false;
    }
}

/* CLI and STI do nothing where the virtual IOPL allows them (paravane.traps.emulate.control, `interrupt_flag`). */
static bool interrupt_flag(struct gateway_block *block, void *engine, struct resume *to)
{
    const int64_t needed = to->ring == KERNEL_RING ? KERNEL_RING : APPLICATION_RING;

    return block->traps.registers[VIRTUAL_IOPL] >= needed && retire(block, engine, to, 1, TRAP_COST);
}

/* `ud2; "xen"; cpuid`, by which a guest asks for its own CPUID (public/xen.h, XEN_EMULATE_PREFIX). */
bool gateway_forced_cpuid(struct gateway_block *block, void *engine)
{
    const uint8_t forced[] = {0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2};
    const uint8_t *code;
    struct resume to;

    if (!resume_begin(block, engine, &to))
        return false;
    code = flat_code(block, &to);
    if (!code || memcmp(code, forced, sizeof(forced)) || !retire(block, engine, &to, sizeof(forced), TRAP_COST))
        return false;
    gateway_answer_cpuid(block);
    return true;
}

bool gateway_emulate(struct gateway_block *block, void *engine, struct resume *to)
{
    const uint8_t *code = flat_code(block, to);

    if (!code)
        return false;
    if (code[0] == CLI || code[0] == STI)
        return interrupt_flag(block, engine, to);
    if (code[0] != ESCAPE)
        return false;
    if (code[1] == RDTSC)
        return read_tsc(block, engine, to, false);
    if (code[1] == GROUP_7)
        return code[2] == RDTSCP && read_tsc(block, engine, to, true);
    if (code[1] == READ_CR)
        return read_control_register(block, engine, to, code[2]);
    if (code[1] == WRITE_CR)
        return write_control_register(block, engine, to, code[2]);
    if (code[1] == CLTS)
        return set_task_switched(block, engine, to, 2, false);
    return false;
}
