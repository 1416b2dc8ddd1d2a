/* The return to the guest (see resume.h). */

#include "resume.h"

#define CONFORMING_CODE 0x1c00u /* of a code or data segment: code that any ring may use */
#define LINEAR_END 0x100000000ull

bool resume_begin(const struct gateway_block *block, void *engine, struct resume *to)
{
    const struct gateway_layout *at = &block->layout;
    const uint32_t *words = block->words;

    to->info = vcpu_info(block);
    if (!to->info || *block->vm_assist & ARCHITECTURAL_IOPL)
        return false;
    if (block->reg_read(engine, block->eflags_register, &to->held))
        return false;
    to->cs = words[at->cs] & 0xffff;
    to->eip = words[at->eip];
    /* What the engine says of RF is of the past: the instruction it was set for is over. */
    to->eflags = to->held & ~EFLAGS_RF;
    to->ss = words[at->ss] & 0xffff;
    to->esp = words[at->esp];
    to->ring = RING(words[at->hflags]);
    if (!to->ring)
        return false;
    to->rewrite = false;
    to->mask = to->info[UPCALL_MASK];
    to->dropped = 0;
    to->way = NULL;
    to->nr_frames = 0;
    return true;
}

bool resume_fault(const struct gateway_block *block, void *engine, struct resume *to, uint32_t vector)
{
    const struct gateway_layout *at = &block->layout;
    const uint32_t *words = block->words;
    const uint32_t linear = words[at->eip] + words[at->cs_base];

    if (!resume_begin(block, engine, to) || *block->attention & HOOKED)
        return false;
    if (block->traps.hooked_map[hook_bucket(linear)])
        return false;
    if (!(*block->attention & COUNTED))
        return true;
    /* Two-level tables do not tell a fetch, whose instruction did not begin. */
    if (vector == VECTOR_PF && !block->pae)
        return false;
    if (vector == VECTOR_PF && words[at->error_code] & PF_FETCH)
        return true;
    /* The flags were computed for the hook, and the engine has forgotten it (paravane.cpu.hooked_flags). */
    to->held = (to->held & ~EFLAGS_ARITHMETIC) | (words[at->flags] & EFLAGS_ARITHMETIC);
    to->eflags = to->held & ~EFLAGS_RF;
    to->rewrite = true;
    return true;
}

/* Descriptors and the entries that map them are what they were. */
static bool still_valid(const struct gateway_block *block, const struct gateway_way *way)
{
    uint64_t value, i;

    for (i = 0; i < way->nr_watches; i++) {
        if (!load(block, way->watches[i].maddr, way->watches[i].size, &value))
            return false;
        if (value != way->watches[i].value)
            return false;
    }
    return true;
}

static const struct gateway_way *find_way(const struct gateway_block *block, uint32_t cs, uint32_t ss)
{
    const struct gateway_way *way;
    uint32_t i;

    for (i = 0; i < MOST_WAYS; i++) {
        way = &block->traps.ways[i];
        if (way->open && way->cs == cs && way->ss == ss)
            return still_valid(block, way) ? way : NULL;
    }
    return NULL;
}

/* The data segments that `ring` may not have (paravane.cpu.segment_registers, `drop_privileged_segments`). */
static uint32_t too_privileged(const struct gateway_block *block, uint32_t ring)
{
    uint32_t i, flags, found = 0;

    for (i = 0; i < DATA_SEGMENTS; i++) {
        flags = block->words[block->layout.data_flags[i]];
        if (flags && (flags & DPL_MASK) < ring << DPL_SHIFT && (flags & CONFORMING_CODE) != CONFORMING_CODE)
            found |= 1u << i;
    }
    return found;
}

bool resume_load(const struct gateway_block *block, struct resume *to, uint32_t cs, uint32_t eip, uint32_t ss)
{
    const struct gateway_way *way = find_way(block, cs, ss);

    if (!way || eip > way->code_limit)
        return false;
    if (way->ring > KERNEL_RING)
        to->dropped |= too_privileged(block, way->ring);
    to->way = way;
    to->cs = cs;
    to->eip = eip;
    to->ss = ss;
    to->ring = way->ring;
    return true;
}

/* The frame of `to`, below the stack's ESP. */
static void fill(struct frame *frame, const struct resume *to, const uint32_t *error_code)
{
    uint32_t n = 0;

    if (error_code)
        frame->words[n++] = *error_code;
    frame->words[n++] = to->eip;
    /* A whole word from the mask on, as Xen saves it: the byte after it shows too. */
    frame->words[n++] = to->cs | (uint32_t)to->mask << 16 | (uint32_t)to->info[UPCALL_MASK + 1] << 24;
    frame->words[n++] = (to->eflags & ~(EFLAGS_IF | EFLAGS_IOPL)) | (to->mask ? 0 : EFLAGS_IF);
    if (to->ring > KERNEL_RING) {
        frame->words[n++] = to->esp;
        frame->words[n++] = to->ss;
    }
    frame->nr_words = n;
}

bool resume_bounce(const struct gateway_block *block, struct resume *to, uint64_t gate, const uint32_t *error_code)
{
    const uint32_t cs = gate >> GATE_CS_SHIFT & 0xffff;
    const bool switches = to->ring > KERNEL_RING;
    const uint32_t ss = switches ? (uint32_t)block->traps.registers[KERNEL_SS] : to->ss;
    uint32_t esp = switches ? (uint32_t)block->traps.registers[KERNEL_SP] : to->esp;
    struct frame *frame = &to->frames[to->nr_frames];
    uint64_t linear, size;

    if (!(cs & ~3u) || to->nr_frames == MOST_FRAMES)
        return false;
    fill(frame, to, error_code);
    if (!resume_load(block, to, cs, (uint32_t)gate, ss))
        return false;
    size = frame->nr_words * 4;
    esp -= (uint32_t)size;
    linear = (uint64_t)to->way->stack_base + esp;
    if (linear + size > LINEAR_END || (linear & PAGE_OFFSET) + size > PAGE_OFFSET + 1)
        return false;
    if (!reach(block, (uint32_t)linear, true, &frame->maddr) || block->code_map[frame->maddr >> 12])
        return false;
    /* A frame in the page of vcpu_info might change the very bytes that are looked at here. */
    if (frame->maddr >> 12 == (uint64_t)*block->vcpu_info >> 12)
        return false;
    to->nr_frames++;
    to->esp = esp;
    to->eflags = (to->eflags & EFLAGS_KEPT) | EFLAGS_IF;
    if (gate >> GATE_MASKS_SHIFT & 1)
        to->mask |= 1;
    return true;
}

/* Load CS and SS, and the cached flags with them (paravane.cpu.entry, `PreparedEntry.enter`). */
static void load_segments(struct gateway_block *block, const struct resume *to)
{
    const struct gateway_layout *at = &block->layout;
    uint32_t *words = block->words;
    uint32_t i, hflags;

    for (i = 0; i < DATA_SEGMENTS; i++)
        if (to->dropped >> i & 1) {
            words[at->data_selector[i]] = words[at->data_base[i]] = 0;
            words[at->data_limit[i]] = words[at->data_flags[i]] = 0;
        }
    for (i = 0; i < STORES; i++)
        words[to->way->store_at[i]] = to->way->store_value[i];
    hflags = (words[at->hflags] & to->way->hflags_keep) | to->way->hflags_set;
    if (words[at->data_base[0]] | words[at->data_base[1]])
        hflags |= at->addseg;
    words[at->hflags] = hflags;
}

/* Make EFLAGS those of `to`. The engine takes every value, and keeps none for later: nothing can fail. */
static void write_eflags(struct gateway_block *block, void *engine, const struct resume *to)
{
    const bool same = to->eflags == (to->held & ~EFLAGS_RF);
    uint32_t eflags = same ? to->held : to->eflags | EFLAGS_FIXED;

    if (same && !to->rewrite)
        return;
    /* RF is for the next instruction, and the engine clears it at the end of a block: make that one. */
    if (!same && eflags & EFLAGS_RF)
        block->words[block->layout.hflags] |= block->layout.inhibit;
    block->reg_write(engine, block->eflags_register, &eflags);
}

bool resume_commit(struct gateway_block *block, void *engine, const struct resume *plan, int64_t cost)
{
    const struct gateway_layout *at = &block->layout;
    struct resume to = *plan;
    bool upcall = to.info[UPCALL_PENDING] && !to.mask;
    int64_t now;
    uint32_t i;

    if (upcall && (*block->attention & UPCALLS_OBSERVED || !resume_bounce(block, &to, *block->traps.events, NULL)))
        return false;
    if (!goes_on(block, cost, &now))
        return false;

    for (i = 0; i < to.nr_frames; i++)
        memcpy(block->ram + to.frames[i].maddr, to.frames[i].words, to.frames[i].nr_words * 4);
    to.info[UPCALL_MASK] = to.mask;
    if (to.way)
        load_segments(block, &to);
    block->words[at->eip] = to.eip;
    block->words[at->esp] = to.esp;
    write_eflags(block, engine, &to);
    if (!block->words[at->is_int])
        /* Left alone, the engine would take the next fault for a double fault. */
        block->words[at->in_flight] = NONE_IN_FLIGHT;
    block->traps.counters[UPCALLS] += upcall;
    account(block, now);
    return true;
}

void gateway_set_task_switched(struct gateway_block *block, bool on)
{
    const struct gateway_layout *at = &block->layout;

    block->traps.registers[TASK_SWITCHED] = on;
    if (on) {
        block->words[at->cr0] |= CR0_TS;
        block->words[at->hflags] |= at->task_switched;
    } else {
        block->words[at->cr0] &= ~CR0_TS;
        block->words[at->hflags] &= ~at->task_switched;
    }
}
