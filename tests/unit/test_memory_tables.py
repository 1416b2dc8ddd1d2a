"""Page tables: what may be in one when it is first used, and that a refusal leaves no trace."""

from __future__ import annotations

import pytest

from paravane.abi.errno import Errno
from paravane.cpu.geometry import PAE
from paravane.memory import audit
from paravane.memory.frames import L1, L2, L3, NONE, PAE_XEN_L2, WRITABLE
from paravane.memory.pins import unpin
from paravane.refusal import Refusal
from tests.support.memory_bench import DATA, READ_ONLY, TABLE, Bench, make_bench
from tests.support.residents import new_domain_memory

NX = 1 << 63


@pytest.fixture
def bench() -> Bench:
    return make_bench(256, 80)


def refusal_of(bench: Bench, pfn: int, kind: int) -> Refusal:
    """The refusal to use a frame as a table, after a check that the attempt changed nothing."""
    before = (bench.machine.frames.count.tolist(), bench.machine.frames.type_count.tolist())
    with pytest.raises(Refusal) as refused:
        bench.machine.types.get_page_and_type(bench.frame(pfn), 1, kind)
    assert (bench.machine.frames.count.tolist(), bench.machine.frames.type_count.tolist()) == before
    assert audit(bench.machine) == []
    return refused.value


def take(bench: Bench, pfn: int, kind: int) -> None:
    bench.machine.types.get_page_and_type(bench.frame(pfn), 1, kind)
    bench.machine.frames.flags[bench.frame(pfn)] |= 2
    assert audit(bench.machine) == []


def test_validation_counts_what_a_table_maps(bench: Bench) -> None:
    bench.write_entry(10, 0, bench.entry(20, DATA))
    bench.write_entry(10, 1, bench.entry(20, READ_ONLY))
    bench.write_entry(10, 511, bench.entry(21, READ_ONLY))
    take(bench, 10, L1)
    frames = bench.machine.frames
    assert (frames.count[bench.frame(20)], frames.type_count[bench.frame(20)]) == (3, 1)
    assert frames.type[bench.frame(20)] == WRITABLE
    assert (frames.count[bench.frame(21)], frames.type_count[bench.frame(21)]) == (2, 0)


def test_releasing_a_table_releases_all_it_maps(bench: Bench) -> None:
    for slot in range(512):
        bench.write_entry(10, slot, bench.entry(20 + slot % 50, DATA if slot % 3 else READ_ONLY))
    types = bench.machine.types
    types.get_page_and_type(bench.frame(10), 1, L1)
    types.put_page_and_type(bench.frame(10))
    assert set(bench.machine.frames.count[bench.frame(pfn)] for pfn in range(80)) == {1}
    assert set(bench.machine.frames.type_count) == {0}


@pytest.mark.parametrize("flag", [1 << 3, 1 << 4, 1 << 7])
def test_cache_attributes_are_refused_in_a_leaf(bench: Bench, flag: int) -> None:
    bench.write_entry(10, 5, bench.entry(20, DATA | flag))
    assert refusal_of(bench, 10, L1).errno == Errno.EINVAL


@pytest.mark.parametrize("flag", [1 << 8, 7 << 9, NX])
def test_global_available_and_no_execute_are_fine_in_a_leaf(bench: Bench, flag: int) -> None:
    bench.write_entry(10, 5, bench.entry(20, DATA | flag))
    take(bench, 10, L1)
    assert bench.read_entry(10, 5) == bench.entry(20, DATA | flag)


def test_high_bits_left_to_software_are_dropped_because_this_processor_faults_on_them(bench: Bench) -> None:
    bench.write_entry(10, 5, bench.entry(20, DATA) | 0x5A5 << 52)
    take(bench, 10, L1)
    assert bench.read_entry(10, 5) == bench.entry(20, DATA)


@pytest.mark.parametrize(
    ("mfn", "errno"),
    [
        (256, Errno.EPERM),
        (0xFFFFF, Errno.EPERM),
        ((1 << 40) - 1, Errno.EINVAL),
        (0, Errno.EPERM),
        (1, Errno.EBUSY),
    ],
)
def test_frames_that_are_no_memory_or_the_hypervisors_are_refused(
    bench: Bench, mfn: int, errno: Errno
) -> None:
    bench.write_entry(10, 5, mfn << 12 | READ_ONLY)
    assert refusal_of(bench, 10, L1).errno == errno


def test_free_frames_and_frames_of_others_are_refused_even_for_reading(bench: Bench) -> None:
    other = new_domain_memory(bench.machine, 2, PAE, max_pages=5).populate(1)[0]
    free = next(iter(bench.machine.free_frames()))
    for mfn in (other, free):
        bench.write_entry(10, 5, mfn << 12 | READ_ONLY)
        assert refusal_of(bench, 10, L1).errno == Errno.EBUSY


def test_a_table_cannot_map_itself_writably(bench: Bench) -> None:
    bench.write_entry(10, 5, bench.entry(10, DATA))
    assert refusal_of(bench, 10, L1).errno == Errno.EBUSY
    bench.write_entry(10, 5, bench.entry(10, READ_ONLY))
    take(bench, 10, L1)


def test_a_frame_with_a_writable_mapping_cannot_become_a_table_nor_the_reverse(bench: Bench) -> None:
    bench.write_entry(10, 5, bench.entry(11, DATA))
    take(bench, 10, L1)
    assert refusal_of(bench, 11, L1).errno == Errno.EINVAL
    bench.write_entry(12, 5, bench.entry(10, DATA))
    assert refusal_of(bench, 12, L1).errno == Errno.EBUSY


def test_a_refusal_names_entry_frame_owner_type_and_counts(bench: Bench) -> None:
    bench.write_entry(10, 5, bench.entry(10, DATA))
    sentence = refusal_of(bench, 10, L1).sentence
    assert f"entry 5 of L1 table {bench.frame(10):#x}" in sentence
    assert "d1's, l1_page_table with 1 use," in sentence


def test_large_pages_are_refused(bench: Bench) -> None:
    bench.write_entry(10, 0, TABLE | 1 << 7)
    refused = refusal_of(bench, 10, L2)
    assert refused.errno == Errno.EINVAL
    assert "sets PSE or PAT, which no guest may" in refused.sentence


def test_an_error_deep_down_comes_up_as_it_is_and_everything_is_given_back(bench: Bench) -> None:
    bench.build_tables()
    bench.write_entry(5, 77, 0x5_5555 << 12 | DATA)
    refused = refusal_of(bench, 0, L3)
    assert refused.errno == Errno.EPERM
    assert "entry 0 of L3" in refused.sentence
    assert "entry 77 of L1" in refused.sentence


def test_a_whole_address_space_validates(bench: Bench) -> None:
    bench.build_tables()
    take(bench, 0, L3)
    frames = bench.machine.frames
    assert [frames.type[bench.frame(pfn)] for pfn in range(6)] == [L3, L2, L2, L2, L2, L1]
    assert frames.flags[bench.frame(4)] & PAE_XEN_L2
    assert not frames.flags[bench.frame(1)] & PAE_XEN_L2


@pytest.mark.parametrize("flags", [3, 5, 7, 0x61, 0xE01])
def test_l3_entries_take_the_flags_xen_takes(bench: Bench, flags: int) -> None:
    bench.build_tables()
    bench.write_entry(0, 1, bench.entry(2, flags))
    take(bench, 0, L3)
    assert bench.read_entry(0, 1) == bench.entry(2, flags | 6)


@pytest.mark.parametrize("flag", [1 << 3, 1 << 4, 1 << 7, 1 << 8, 1 << 52, NX])
def test_l3_entries_refuse_the_flags_xen_refuses(bench: Bench, flag: int) -> None:
    bench.build_tables()
    bench.write_entry(0, 1, bench.entry(2, 1) | flag)
    assert refusal_of(bench, 0, L3).errno == Errno.EINVAL


def test_the_fourth_l3_entry_must_be_there(bench: Bench) -> None:
    bench.build_tables()
    bench.write_entry(0, 3, 0)
    assert refusal_of(bench, 0, L3).errno == Errno.EINVAL


def test_the_fourth_l2_belongs_to_one_l3_and_to_its_fourth_slot(bench: Bench) -> None:
    bench.build_tables(mapped=30)
    take(bench, 0, L3)
    for slot in range(4):
        bench.write_entry(40, slot, bench.entry(41 + slot, 1))
    bench.write_entry(40, 3, bench.entry(4, 1))
    assert "the fourth L2 of another L3" in refusal_of(bench, 40, L3).sentence
    bench.write_entry(40, 3, bench.entry(44, 1))
    bench.write_entry(40, 1, bench.entry(4, 1))
    assert refusal_of(bench, 40, L3).sentence.startswith("entry 1 of L3")
    bench.write_entry(40, 1, bench.entry(42, 1))
    take(bench, 40, L3)


def test_a_pinned_ordinary_l2_cannot_be_the_fourth(bench: Bench) -> None:
    bench.build_tables(mapped=30)
    take(bench, 4, L2)
    refused = refusal_of(bench, 0, L3)
    assert refused.errno == Errno.EINVAL
    assert refused.sentence.startswith("entry 3 of L3")


def test_entries_beyond_the_fourth_are_cleared_as_on_64_bit_xen(bench: Bench) -> None:
    bench.build_tables()
    bench.write_entry(0, 4, bench.entry(30, 7))
    bench.write_entry(0, 511, 0xDEAD)
    take(bench, 0, L3)
    assert not any(bench.read_entry(0, slot) for slot in range(4, 512))


def test_l3_entries_get_their_plain_look_back_when_released(bench: Bench) -> None:
    bench.build_tables()
    types = bench.machine.types
    types.get_page_and_type(bench.frame(0), 1, L3)
    types.put_page_and_type(bench.frame(0))
    assert [bench.read_entry(0, slot) for slot in range(4)] == [bench.entry(1 + slot, 1) for slot in range(4)]
    assert bench.machine.frames.type_count[bench.frame(4)] == 0
    assert not bench.machine.frames.flags[bench.frame(4)] & PAE_XEN_L2


def test_the_hypervisors_slots_are_filled_whatever_the_guest_had_there(bench: Bench) -> None:
    bench.build_tables()
    for slot in range(428, 512):
        bench.write_entry(4, slot, bench.entry(10, TABLE))
    take(bench, 0, L3)
    assert [bench.read_entry(4, slot) for slot in range(428, 512)] == bench.xen_entries()
    assert bench.machine.frames.count[bench.frame(10)] == 2  # its own and the L1's at slot 10


def test_the_hypervisors_mappings_are_supervisor_and_read_only(bench: Bench) -> None:
    bench.boot()
    for va in (0xF5800000, 0xF5800FFC, 0xFFC00000, 0xFFC0E000):
        entry = bench.paging.read_l1_entry(va)
        assert entry & 7 == 1, hex(va)
    m2p = bench.paging.read_l1_entry(0xF5800000)
    assert (m2p & ~NX) >> 12 == bench.machine.m2p_frames.start


def test_linear_tables_are_taken_read_only_and_one_level_deep(bench: Bench) -> None:
    take(bench, 11, L2)
    bench.write_entry(10, 3, bench.entry(11, TABLE))
    assert refusal_of(bench, 10, L2).errno == Errno.EINVAL
    bench.write_entry(10, 3, bench.entry(11, READ_ONLY))
    bench.write_entry(10, 4, bench.entry(10, READ_ONLY))
    take(bench, 10, L2)
    assert (bench.machine.frames.linear[bench.frame(10)], bench.machine.frames.linear[bench.frame(11)]) == (
        1,
        -1,
    )
    bench.write_entry(12, 0, bench.entry(10, READ_ONLY))
    assert refusal_of(bench, 12, L2).errno == Errno.EINVAL


def test_the_end_of_a_linear_mapping_frees_both_tables_for_others(bench: Bench) -> None:
    take(bench, 11, L2)
    bench.write_entry(10, 3, bench.entry(11, READ_ONLY))
    take(bench, 10, L2)
    bench.machine.tables.modify_l2(bench.domain, (bench.frame(10) << 9) + 3, 0)
    assert (bench.machine.frames.linear[bench.frame(10)], bench.machine.frames.linear[bench.frame(11)]) == (
        0,
        0,
    )
    bench.machine.tables.modify_l2(bench.domain, (bench.frame(11) << 9) + 3, bench.entry(10, READ_ONLY))
    unpin(bench.machine.types, bench.domain, bench.frame(11))
    assert bench.machine.frames.linear[bench.frame(10)] == 0
    assert audit(bench.machine) == []


def test_a_table_mapped_linearly_cannot_map_another_linearly(bench: Bench) -> None:
    take(bench, 11, L2)
    take(bench, 12, L2)
    bench.write_entry(10, 3, bench.entry(11, READ_ONLY))
    take(bench, 10, L2)
    entry = bench.entry(12, READ_ONLY)
    with pytest.raises(Refusal):
        bench.machine.tables.modify_l2(bench.domain, (bench.frame(11) << 9) + 4, entry)
    assert audit(bench.machine) == []


def test_a_frame_that_is_no_table_yet_becomes_an_l1_rather_than_a_linear_l2(bench: Bench) -> None:
    bench.write_entry(10, 3, bench.entry(11, READ_ONLY))
    bench.write_entry(11, 0, bench.entry(30, TABLE))
    take(bench, 10, L2)
    assert bench.machine.frames.type[bench.frame(11)] == L1


def test_counts_do_not_overflow(bench: Bench) -> None:
    bench.machine.frames.count_limit = 10
    for slot in range(20):
        bench.write_entry(10, slot, bench.entry(20, READ_ONLY))
    assert refusal_of(bench, 10, L1).errno == Errno.EBUSY
    for slot in range(20):
        bench.write_entry(10, slot, bench.entry(20, DATA))
    assert refusal_of(bench, 10, L1).errno == Errno.EBUSY


def test_a_writable_frame_that_becomes_a_table_flushes_the_processors(bench: Bench) -> None:
    bench.write_entry(10, 5, bench.entry(11, DATA))
    types = bench.machine.types
    types.get_page_and_type(bench.frame(10), 1, L1)
    types.put_page_and_type(bench.frame(10))
    bench.cpu.tlb = {0x5000}
    types.get_page_and_type(bench.frame(11), 1, L1)
    assert bench.cpu.tlb == set()


def test_a_failed_validation_leaves_a_frame_without_type(bench: Bench) -> None:
    bench.write_entry(10, 5, DATA | 1 << 7)
    refusal_of(bench, 10, L1)
    assert bench.machine.frames.type[bench.frame(10)] == NONE
