/*
 * The TLB fill: what the engine calls for a linear address that its software TLB does not know.
 *
 * The engine's own function gives each translation all the rights that the guest's tables do. A page that may be
 * executed then takes the slow path at every store, in case it holds code; and stores into code through a second
 * mapping, one that may not be executed, go unseen from the second one on. Here a page that is read or written can be
 * executed only if its frame holds code, and all writable translations of a frame with code are watched.
 *
 * What makes that right:
 *   - `code` has a mark for each frame that anything was translated from. A mark is set when a frame is first fetched
 *     from, which comes before the translation, and with a flush: no translation from before it outlives it.
 *   - So a frame without a mark has no code, and no translation by which it could be fetched without coming here.
 *   - Python takes a mark away once it has dropped the frame's code, and flushes.
 *
 * Only present 4 KiB pages with ordinary bits are served, in PAE mode with CR0.WP. Faults and all else are the
 * engine's own; where that may give the right to execute the frame is marked before.
 */

#include "gateway.h"

/* Its numbers for rights and accesses are the engine's, and tried when a process starts (cpu/engine/fill_place.py). */

enum kind {
    PLAIN,
    FAULT, /* the engine will refuse it: no translation comes of it */
    ODD,   /* the engine may allow it */
};

struct translation {
    uint64_t maddr; /* of the page */
    uint64_t upper; /* machine addresses of the two entries */
    uint64_t leaf;
    uint32_t upper_bits; /* to be set in each, of the low 32 */
    uint32_t leaf_bits;
    uint32_t rights;
};

/* Control registers are as they are for all guests: anything else has more rules than are followed here. */
static bool is_usual(const struct gateway_tlb *tlb, uint32_t mmu_index)
{
    return (tlb->words[tlb->cr0] & (CR0_PG | CR0_WP)) == (CR0_PG | CR0_WP) &&
           (tlb->words[tlb->cr4] & CR4_RULES) == CR4_PAE && (mmu_index == TLB_USER || mmu_index == TLB_KERNEL);
}

/* Eight bytes of machine memory; false outside of it. */
static bool read_entry(const struct gateway_tlb *tlb, uint64_t maddr, uint64_t *entry)
{
    if (maddr > tlb->ram_size - sizeof(*entry))
        return false;
    memcpy(entry, tlb->ram + maddr, sizeof(*entry));
    return true;
}

/* What the tables say of a page (SDM volume 3, 4.4.2, and 4.6 for the rights). Changes nothing. */
static enum kind walk(const struct gateway_tlb *tlb, uint64_t linear, uint32_t access, uint32_t mmu_index,
                      struct translation *found)
{
    uint64_t pointer, upper, leaf, both;

    if (!is_usual(tlb, mmu_index))
        return ODD;
    if (!read_entry(tlb, (tlb->words[tlb->cr3] & 0xffffffe0u) + (linear >> 27 & 0x18), &pointer))
        return ODD;
    if (!(pointer & PTE_PRESENT) || pointer & (PAE_ODD | PTE_NX))
        return FAULT;
    found->upper = (pointer & PAE_ADDRESS) + (linear >> 18 & 0xff8);
    if (!read_entry(tlb, found->upper, &upper))
        return ODD;
    if (!(upper & PTE_PRESENT) || upper & PAE_ODD)
        return FAULT;
    if (upper & PTE_LARGE)
        return ODD;
    found->leaf = (upper & PAE_ADDRESS) + (linear >> 9 & 0xff8);
    if (!read_entry(tlb, found->leaf, &leaf))
        return ODD;
    if (!(leaf & PTE_PRESENT) || leaf & PAE_ODD)
        return FAULT;
    found->maddr = leaf & PAE_ADDRESS;
    if (found->maddr >= tlb->ram_size)
        return ODD;

    both = upper & leaf;
    if (mmu_index == TLB_USER && !(both & PTE_USER))
        return FAULT;
    found->rights = TLB_READ | (both & PTE_RW ? TLB_WRITE : 0) | ((upper | leaf) & PTE_NX ? 0 : TLB_EXECUTE);
    if ((access == TLB_STORE && !(found->rights & TLB_WRITE)) ||
        (access == TLB_FETCH && !(found->rights & TLB_EXECUTE)))
        return FAULT;
    found->upper_bits = PTE_ACCESSED & ~(uint32_t)upper;
    found->leaf_bits = (PTE_ACCESSED | (access == TLB_STORE ? PTE_DIRTY : 0)) & ~(uint32_t)leaf;
    /* The first store of all has to come here once more, to mark the page dirty. */
    if (!((leaf | found->leaf_bits) & PTE_DIRTY))
        found->rights &= ~TLB_WRITE;
    return PLAIN;
}

static void set_bits(struct gateway_tlb *tlb, uint64_t maddr, uint32_t bits)
{
    uint32_t low;

    if (!bits)
        return;
    memcpy(&low, tlb->ram + maddr, sizeof(low));
    low |= bits;
    memcpy(tlb->ram + maddr, &low, sizeof(low));
}

/* Code is about to be translated from a frame: what is remembered of it must not let a store go unseen. */
static void mark(struct gateway_tlb *tlb, void *processor, uint64_t maddr)
{
    uint8_t *code;

    if (maddr >= tlb->ram_size)
        return;
    code = tlb->code + (maddr >> 12);
    if (*code)
        return;
    *code = 1;
    tlb->flush(processor);
}

/* Where an address is that only the engine can judge; it is not so bad to be told of one that it will refuse. */
static uint64_t possibly(const struct gateway_tlb *tlb, uint64_t linear)
{
    const uint64_t large = 0x1fffff, nowhere = ~0ull;
    uint64_t entry;

    if (!(tlb->words[tlb->cr0] & CR0_PG))
        return linear & 0xffffffff;
    if (!read_entry(tlb, (tlb->words[tlb->cr3] & 0xffffffe0u) + (linear >> 27 & 0x18), &entry) ||
        !(entry & PTE_PRESENT))
        return nowhere;
    if (!read_entry(tlb, (entry & PAE_ADDRESS) + (linear >> 18 & 0xff8), &entry) || !(entry & PTE_PRESENT))
        return nowhere;
    if (entry & PTE_LARGE)
        return (entry & PAE_ADDRESS & ~large) | (linear & large);
    if (!read_entry(tlb, (entry & PAE_ADDRESS) + (linear >> 9 & 0xff8), &entry) || !(entry & PTE_PRESENT))
        return nowhere;
    return entry & PAE_ADDRESS;
}

/*
 * The function that the engine calls, in the place of its own. Its `size` is of no use to a processor of this kind;
 * in its stead comes what this function was installed with (cpu/native_fill.py).
 */
GATEWAY_EXPORT bool gateway_tlb_fill(void *processor, uint64_t linear, void *user, uint32_t access, uint32_t mmu_index,
                                     bool probe, uint64_t host_pc)
{
    struct gateway_tlb *tlb = user;
    struct translation found;
    enum kind kind = walk(tlb, linear, access, mmu_index, &found);

    if (kind != PLAIN) {
        if (kind == ODD)
            mark(tlb, processor, possibly(tlb, linear));
        return tlb->own(processor, linear, 0, access, mmu_index, probe, host_pc);
    }
    if (access == TLB_FETCH)
        mark(tlb, processor, found.maddr);
    if (!tlb->code[found.maddr >> 12])
        found.rights &= ~TLB_EXECUTE;
    else if (found.rights & TLB_WRITE && !(found.rights & TLB_EXECUTE))
        /* The engine watches only what could be executed; this has each store come here, and then be looked at. */
        found.rights |= TLB_WRITE_ONCE;
    set_bits(tlb, found.upper, found.upper_bits);
    set_bits(tlb, found.leaf, found.leaf_bits);
    tlb->set_page(processor, linear & ~(uint64_t)PAGE_OFFSET, found.maddr, found.rights, mmu_index, PAGE_OFFSET + 1);
    tlb->filled++;
    return true;
}
