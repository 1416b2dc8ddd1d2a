"""The model of a TLB against another one, written to be obvious, on traces of chance."""

from __future__ import annotations

import random

import pytest

from paravane.tlb import MOST_ENTRIES, Tag, Tlb, TlbKind, TlbSpec

STEPS = 4000


class Reference:
    """A TLB as one list, oldest entry first: everything is found by looking at all of it."""

    def __init__(self, entries: int, ways: int) -> None:
        self.sets, self.ways = entries // ways, ways
        self.held: list[tuple[int, int, int]] = []
        self.misses = self.evictions = self.forgotten = 0

    def access(self, vpn: int, asn: int, entry: int) -> None:
        if any((one[0], one[1]) == (vpn, asn) for one in self.held):
            return
        self.misses += 1
        rivals = [one for one in self.held if one[0] % self.sets == vpn % self.sets]
        if len(rivals) == self.ways:
            self.held.remove(rivals[0])
            self.evictions += 1
        self.held.append((vpn, asn, entry))

    def keep(self, kept: list[tuple[int, int, int]]) -> None:
        self.forgotten += len(self.held) - len(kept)
        self.held = kept


@pytest.mark.parametrize(("entries", "ways"), [(1, 1), (8, 8), (16, 1), (16, 4), (12, 3)])
@pytest.mark.parametrize("seed", [1, 2])
def test_it_misses_and_evicts_as_the_obvious_one(entries: int, ways: int, seed: int) -> None:
    source = random.Random(seed)
    tlb, reference = Tlb(entries, ways), Reference(entries, ways)
    misses = 0
    for step in range(STEPS):
        vpn, asn, chance = source.randrange(3 * entries), source.randrange(3), source.random()
        tag = Tag(vpn, asn)
        if chance < 0.9:
            if tlb.find(tag) is None:
                misses += 1
                tlb.fill(tag, step)
            reference.access(vpn, asn, step)
        elif chance < 0.95:
            tlb.flush_page(tag)
            reference.keep([one for one in reference.held if one[:2] != (vpn, asn)])
        elif chance < 0.98:
            tlb.flush_asn(asn)
            reference.keep([one for one in reference.held if one[1] != asn])
        else:
            tlb.flush()
            reference.keep([])
        assert sorted((tag.vpn, tag.asn, entry) for tag, entry in tlb) == sorted(reference.held)
    assert misses == reference.misses
    assert tlb.counts.evictions == reference.evictions
    assert tlb.counts.forgotten == reference.forgotten
    assert tlb.counts.evictions > 0


def test_what_replaces_an_entry_for_the_same_page_is_as_old_as_it() -> None:
    tlb = Tlb(2, 2)
    tlb.fill(Tag(0, 0), 1)
    tlb.fill(Tag(1, 0), 2)
    assert tlb.fill(Tag(0, 0), 3) is None
    assert tlb.fill(Tag(2, 0), 4) == Tag(0, 0)
    assert tlb.find(Tag(1, 0)) == 2


def test_a_flush_of_nothing_is_not_counted() -> None:
    tlb = Tlb(4, 2)
    tlb.flush()
    tlb.flush_asn(0)
    tlb.flush_page(Tag(0, 0))
    assert (tlb.counts.flushes, tlb.counts.asn_flushes, tlb.counts.page_flushes) == (0, 0, 0)


@pytest.mark.parametrize(
    ("entries", "ways", "sentence"),
    [
        (0, 1, "a TLB has from 1 to 512 entries, not 0"),
        (MOST_ENTRIES + 1, 1, "a TLB has from 1 to 512 entries, not 513"),
        (8, 3, "8 entries make no whole sets of 3"),
        (8, 0, "8 entries make no whole sets of 0"),
        (8, 16, "8 entries make no whole sets of 16"),
    ],
)
def test_a_tlb_that_cannot_be(entries: int, ways: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TlbSpec(TlbKind.hardware, entries, ways)


def test_its_size_in_words() -> None:
    specs = (TlbSpec(TlbKind.hardware), TlbSpec(TlbKind.hardware, 2, 1), TlbSpec(TlbKind.hardware, 1, 1))
    assert [spec.size for spec in specs] == ["64 entries, 4 ways", "2 entries, 1 way", "1 entry, 1 way"]


def test_only_a_tagged_one_tells_address_spaces_apart() -> None:
    assert [TlbSpec(kind).asns for kind in TlbKind] == [1, 1, 256]
