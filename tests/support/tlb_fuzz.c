/*
 * Tries the TLB fill by itself: random page tables, control registers and accesses.
 *
 * Usage: tlb_fuzz SEED FILLS. Memory and marks are exactly as large as the fill is told, so that a sanitizer sees
 * whatever lies outside. After each call one of two things holds: the engine's own fill was called, as it would have
 * been, and no memory has changed; or one page was set, whose rights the tables give, and at most Accessed and Dirty bits
 * have changed. In both a frame that may be fetched from is marked, and there was a flush for each new mark. Prints how
 * many pages were set, how many of them of code, and how many calls were left to the engine.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway_structs.h"

bool gateway_tlb_fill(void *processor, uint64_t linear, void *user, uint32_t access, uint32_t mmu_index, bool probe,
                      uint64_t host_pc);

#define FRAMES 16u
#define RAM_SIZE (FRAMES * 4096u)
#define WORDS 16
#define ADDRESS 0x000ffffffffff000ull

static uint8_t *ram, *ram_before, *code, *code_before;
static uint32_t words[WORDS];
static uint64_t state;
static unsigned pages, owns, flushes;
static struct {
    uint64_t linear, maddr, size, pc;
    int rights, access, index;
    bool probe;
} asked;

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

static bool own(void *processor, uint64_t linear, int size, int access, int index, bool probe, uint64_t pc)
{
    (void)processor;
    owns++;
    asked.linear = linear;
    asked.size = (uint64_t)size;
    asked.access = access;
    asked.index = index;
    asked.probe = probe;
    asked.pc = pc;
    return below(2) != 0;
}

static void set_page(void *processor, uint64_t linear, uint64_t maddr, int rights, int index, uint64_t size)
{
    (void)processor;
    pages++;
    asked.linear = linear;
    asked.maddr = maddr;
    asked.rights = rights;
    asked.index = index;
    asked.size = size;
}

static void flush(void *processor)
{
    (void)processor;
    if (pages)
        flushes += 1000; /* it would forget the page that was just set */
    flushes++;
}

/* An entry of any table: mostly a good one, now and then anything. */
static uint64_t entry(void)
{
    uint64_t made = below(FRAMES) << 12 | PTE_PRESENT | (draw() & (PTE_RW | PTE_USER | PTE_ACCESSED | PTE_DIRTY));

    if (!below(3))
        made |= PTE_NX;
    if (!below(12))
        made ^= 1ull << below(64);
    if (!below(60))
        made = draw();
    return made;
}

static void scatter(const struct gateway_tlb *tlb)
{
    uint64_t made;
    uint32_t i;

    for (i = 0; i < RAM_SIZE / 8; i++) {
        made = entry();
        memcpy(ram + 8 * i, &made, 8);
    }
    for (i = 0; i < 4; i++) { /* the top table may have neither rights nor NX */
        made = below(FRAMES) << 12 | (below(10) != 0);
        memcpy(ram + 8 * i, &made, 8);
    }
    words[tlb->cr0] = (below(20) ? CR0_PG : 0) | (below(20) ? CR0_WP : 0);
    words[tlb->cr4] = CR4_PAE ^ (below(20) ? 0 : 1u << below(24));
    words[tlb->cr3] = below(20) ? 0 : (uint32_t)draw();
    for (i = 0; i < FRAMES; i++)
        code[i] = below(3) == 0;
}

/* The rights that the tables give to whoever has this TLB, and where the page is; only for what was set. */
static int rights_of(const struct gateway_tlb *tlb, uint64_t linear, uint32_t index, uint64_t *maddr)
{
    uint64_t table = (words[tlb->cr3] & ~31u) + (linear >> 27 & 0x18), upper, leaf;

    memcpy(&upper, ram + table, 8);
    memcpy(&upper, ram + (upper & ADDRESS) + (linear >> 18 & 0xff8), 8);
    memcpy(&leaf, ram + (upper & ADDRESS) + (linear >> 9 & 0xff8), 8);
    *maddr = leaf & ADDRESS;
    if (!(upper & leaf & PTE_PRESENT) || upper & PTE_LARGE)
        return 0;
    if (index == TLB_USER && !(upper & leaf & PTE_USER))
        return 0;
    return (int)(TLB_READ | (upper & leaf & PTE_RW && leaf & PTE_DIRTY ? TLB_WRITE : 0) |
                 ((upper | leaf) & PTE_NX ? 0 : TLB_EXECUTE));
}

/* Only Accessed and Dirty bits have come, if any may have. */
static int only_bits(bool any)
{
    uint64_t then, now;
    uint32_t i;

    for (i = 0; i < RAM_SIZE; i += 8) {
        memcpy(&then, ram_before + i, 8);
        memcpy(&now, ram + i, 8);
        if (then != now && (!any || (then & ~now) || (now ^ then) & ~(uint64_t)(PTE_ACCESSED | PTE_DIRTY)))
            return 0;
    }
    return 1;
}

static unsigned new_marks(void)
{
    unsigned i, found = 0;

    for (i = 0; i < FRAMES; i++)
        found += code[i] != code_before[i];
    return found;
}

static int fail(const char *what, uint64_t call)
{
    printf("fill %" PRIu64 ": %s\n", call, what);
    return 1;
}

int main(int argc, char **argv)
{
    struct gateway_tlb *tlb = calloc(1, sizeof(*tlb));
    uint64_t call, calls, linear, maddr, pc, set = 0, of_code = 0, left = 0;
    uint32_t access, index;
    int rights;
    bool probe;

    ram = malloc(RAM_SIZE);
    ram_before = malloc(RAM_SIZE);
    code = malloc(FRAMES);
    code_before = malloc(FRAMES);
    if (argc != 3 || !tlb || !ram || !ram_before || !code || !code_before)
        return 2;
    state = strtoull(argv[1], NULL, 0) * 2 + 1;
    calls = strtoull(argv[2], NULL, 0);
    *tlb = (struct gateway_tlb){.own = own, .set_page = set_page, .flush = flush, .words = words, .ram = ram,
                                .ram_size = RAM_SIZE, .code = code, .cr0 = 2, .cr3 = 8, .cr4 = 10};
    for (call = 0; call < calls; call++) {
        if (call % 64 == 0)
            scatter(tlb);
        memcpy(ram_before, ram, RAM_SIZE);
        memcpy(code_before, code, FRAMES);
        pages = owns = flushes = 0;
        linear = below(100) ? draw() & 0xffffffff : draw();
        access = (uint32_t)below(3);
        index = below(20) ? 1 + (uint32_t)below(2) : 0;
        probe = below(2) != 0;
        pc = draw();
        gateway_tlb_fill(NULL, linear, tlb, access, index, probe, pc);
        if (pages + owns != 1 || flushes != new_marks() || flushes > 1)
            return fail("not one thing was done, or a mark came without a flush before", call);
        if (!only_bits(pages == 1))
            return fail("memory was changed, by more than the bits of use", call);
        if (asked.index != (int)index)
            return fail("another TLB was filled", call);
        if (owns) {
            if (asked.linear != linear || asked.access != (int)access || asked.probe != probe || asked.pc != pc)
                return fail("the engine was not asked what it would have been", call);
            left++;
            continue;
        }
        rights = rights_of(tlb, linear, index, &maddr);
        if (asked.linear != (linear & ~4095ull) || asked.maddr != maddr || asked.size != 4096 || maddr >= RAM_SIZE)
            return fail("another page was set", call);
        if (!(asked.rights & 1 << access) || (asked.rights & 7 & ~rights))
            return fail("rights that the tables do not give, or not what was asked for", call);
        if (asked.rights & (int)TLB_EXECUTE && !code[maddr >> 12])
            return fail("a frame without a mark may be fetched from", call);
        if (code[maddr >> 12] && asked.rights & (int)TLB_WRITE &&
            !(asked.rights & (int)(TLB_EXECUTE | TLB_WRITE_ONCE)))
            return fail("stores to code are not looked at", call);
        if (!(words[tlb->cr0] & CR0_WP) || !(words[tlb->cr0] & CR0_PG) || index == 0)
            return fail("served although there are other rules", call);
        set++;
        of_code += code[maddr >> 12];
    }
    printf("%" PRIu64 " pages, %" PRIu64 " of code, %" PRIu64 " left\n", set, of_code, left);
    free(tlb);
    free(ram);
    free(ram_before);
    free(code);
    free(code_before);
    return 0;
}
