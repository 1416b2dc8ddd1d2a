"""Whole address spaces with random damage: pinning one either works and adds up, or leaves no trace."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from paravane.cpu.geometry import PAE, TWO_LEVEL
from paravane.memory import audit
from paravane.memory.frames import L1, L2, L3
from paravane.memory.pins import pin, unpin
from paravane.refusal import Refusal
from tests.support.memory_bench import DATA, READ_ONLY, Bench, make_bench

ROOT = 20
TABLES = 6

damage = st.tuples(
    st.integers(0, TABLES - 1),  # which table
    st.integers(0, 7) | st.integers(0, 511),  # which entry
    st.sampled_from(["flip", "frame", "clear", "copy", "random"]),
    st.integers(0, 63),
    st.integers(0, 90),
)


def apply(bench: Bench, wound: tuple[int, int, str, int, int]) -> None:
    table, slot, kind, bit, number = wound
    width = 8 << bench.domain.space.entry_shift
    old = bench.read_entry(ROOT + table, slot)
    frame = bench.frame(number) if number < len(bench.p2m) else number * 7919
    new = {
        "flip": old ^ 1 << bit % width,
        "frame": (old & 0xFFF | frame << 12),
        "clear": 0,
        "copy": bench.read_entry(ROOT + bit % TABLES, slot),
        "random": (number * 0x9E37_79B9_7F4A_7C15 ^ bit << 40),
    }[kind]
    bench.write_entry(ROOT + table, slot, new & (1 << width) - 1)


@given(wounds=st.lists(damage, max_size=4), two_level=st.booleans(), kind=st.sampled_from([L3, L3, L2, L1]))
@settings(max_examples=400, deadline=None)
def test_damaged_tables_are_refused_without_a_trace_or_are_fine(
    wounds: list[tuple[int, int, str, int, int]], two_level: bool, kind: int
) -> None:
    bench = make_bench(128, 60, geometry=TWO_LEVEL if two_level else PAE)
    bench.boot(mapped=8)
    if two_level:
        bench.write_entry(ROOT, 0, bench.entry(ROOT + 5))
    else:
        bench.build_tables(root=ROOT, mapped=0)
    for slot in range(8):
        bench.write_entry(ROOT + 5, slot, bench.entry(ROOT + slot, READ_ONLY if slot < TABLES else DATA))
    for wound in wounds:
        apply(bench, wound)
    frames = bench.machine.frames
    before = (frames.count.tolist(), frames.type_count.tolist(), frames.linear.tolist())
    mfn = bench.frame(ROOT + (0 if kind >= bench.domain.space.root else 4 - kind))
    try:
        pin(bench.machine.types, bench.domain, mfn, min(kind, bench.domain.space.root))
        pinned = True
    except Refusal:
        pinned = False
    assert pinned or wounds
    assert audit(bench.machine) == []
    if pinned:
        unpin(bench.machine.types, bench.domain, mfn)
        assert audit(bench.machine) == []
    after = (frames.count.tolist(), frames.type_count.tolist(), frames.linear.tolist())
    assert after == before
