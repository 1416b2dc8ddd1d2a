"""Grants in the page tables of another domain: what is made, what is counted, and how it ends."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from paravane.abi.grant_table import GnttabMapGrantRef, GrantFlag, GrantMapFlag, GrantStatus
from paravane.cpu.geometry import PAE, TWO_LEVEL
from paravane.grants import GrantLimits, read_grant, write_grant
from paravane.grants.mapping import GiverGoneError, map_grant, unmap_grant
from paravane.memory.frames import FrameType
from paravane.refusal import Refusal
from paravane.x86 import Pte
from tests.support.granting import HOST_MAP, PERMIT, READ_ONLY, GrantMachine, Guest, refused

if TYPE_CHECKING:
    from paravane.cpu.geometry import Geometry

READING = int(GrantFlag.reading)
WRITING = int(GrantFlag.writing)
DEVICE_MAP = int(GrantMapFlag.device_map)
BY_ENTRY = int(GrantMapFlag.contains_pte | GrantMapFlag.host_map)
MADE = int(Pte.PRESENT | Pte.ACCESSED | Pte.DIRTY)

PAGE = 20
"""A page of linear memory where nothing is mapped."""


@pytest.fixture(params=[PAE, TWO_LEVEL], ids=["pae", "two-level"])
def machine(request: pytest.FixtureRequest) -> GrantMachine:
    geometry: Geometry = request.param
    machine = GrantMachine(3, 200, booted=geometry)
    machine.one.grant(9, 2, machine.one.p2m[15])
    machine.one.grant(10, 2, machine.one.p2m[16], PERMIT | GrantFlag.readonly)
    return machine


@pytest.fixture
def pae() -> GrantMachine:
    machine = GrantMachine(3, 200, booted=PAE)
    machine.one.grant(9, 2, machine.one.p2m[15])
    return machine


def idle(machine: GrantMachine) -> None:
    """Nothing is in use any more, or anywhere."""
    one = machine.one
    assert one.flags(9) & (READING | WRITING) == 0
    assert (one.counts(15), one.counts(16)) == ((1, 0), (1, 0))
    assert all(guest.table.state.active == {} for guest in machine.guests)
    assert machine.audit() == []


def test_a_mapping_is_an_entry_of_the_flags_that_were_asked_for(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    nx = two.memory.space.nx
    for flags, ref, made in (
        (HOST_MAP, 9, Pte.RW),
        (READ_ONLY, 9, 0),
        (READ_ONLY, 10, 0),
        (HOST_MAP | GrantMapFlag.application_map, 9, Pte.RW | Pte.USER),
        (HOST_MAP | 5 << 16, 9, Pte.RW | 5 << 9),
    ):
        handle = two.map(1, ref, PAGE, int(flags))
        pfn = ref + 6
        assert two.entry(PAGE) == one.p2m[pfn] << 12 | MADE | nx | made
        written = not flags & GrantMapFlag.readonly
        assert one.counts(pfn) == (2, int(written))
        assert one.flags(ref) & (READING | WRITING) == READING | (WRITING if written else 0)
        assert machine.audit() == []
        two.unmap(handle, PAGE)
        assert two.entry(PAGE) == 0
        idle(machine)


def test_what_a_mapping_is_known_by(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    request = GnttabMapGrantRef(PAGE << 12, HOST_MAP, 9, 1, 0, 0, 0)
    assert map_grant(two.table, two.paging, request) == (0, one.p2m[15] << 12)
    assert [two.map(1, 9, PAGE + at) for at in range(1, 4)] == [1, 2, 3]


def test_what_was_mapped_there_is_let_go(machine: GrantMachine) -> None:
    two = machine.two
    assert two.counts(11) == (2, 1)
    handle = two.map(1, 9, 11)
    assert two.counts(11) == (1, 0)
    two.unmap(handle, 11)
    idle(machine)


def test_a_mapping_by_its_entry(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    maddr = two.bench.maddr(5, PAGE)
    request = GnttabMapGrantRef(maddr, BY_ENTRY, 9, 1, 0, 0, 0)
    handle, _ = map_grant(two.table, two.paging, request)
    assert two.entry(PAGE) >> 12 & 0xFFFFF == one.p2m[15]
    unmap_grant(two.table, two.paging, handle, maddr)
    idle(machine)


def test_where_no_entry_can_be_made(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    size = 1 << two.memory.space.entry_shift
    cases = [
        (two.bench.maddr(5, PAGE) + size // 2, BY_ENTRY),  # between two entries
        (two.bench.maddr(11, 0), BY_ENTRY),  # a page of data
        (two.bench.maddr(0, 0), BY_ENTRY),  # the root table
        (one.bench.maddr(5, PAGE), BY_ENTRY),  # a table of another domain
        (machine.ram.size, BY_ENTRY),
        (1 << 63, BY_ENTRY),
        (0x4000_0000, HOST_MAP),  # no level 1 table there
        (0xF580_0000 if two.memory.space.root == 3 else 0xFC00_0000, HOST_MAP),  # the hypervisor's
        (1 << 32 | PAGE << 12, HOST_MAP),
    ]
    for address, flags in cases:
        request = GnttabMapGrantRef(address, flags, 9, 1, 0, 0, 0)
        refused(GrantStatus.general_error, partial(map_grant, two.table, two.paging, request))
        idle(machine)
    assert two.map(1, 9, PAGE) == len(cases), "each had a handle, and gave it back"


def test_xens_first_reason_is_given(pae: GrantMachine) -> None:
    one, two, three = pae.guests
    one.grant(11, 2, three.p2m[0])
    one.grant(12, 2, one.p2m[15], PERMIT | GrantFlag.sub_page)
    one.grant(13, 3, one.p2m[15])
    for flags, giver, ref, status in (
        (0, 9, 5000, GrantStatus.bad_gntref),
        (int(GrantMapFlag.readonly | GrantMapFlag.application_map), 1, 9, GrantStatus.bad_gntref),
        (HOST_MAP, 9, 5000, GrantStatus.bad_domain),
        (HOST_MAP, 0x7FF0, 9, GrantStatus.bad_domain),
        (HOST_MAP, 0, 9, GrantStatus.general_error),
        (HOST_MAP, 1, 512, GrantStatus.bad_gntref),
        (HOST_MAP, 1, 0xFFFF_FFFF, GrantStatus.bad_gntref),
        (HOST_MAP, 1, 8, GrantStatus.general_error),
        (HOST_MAP, 1, 12, GrantStatus.general_error),
        (HOST_MAP, 1, 13, GrantStatus.general_error),
        (HOST_MAP, 1, 11, GrantStatus.bad_page),
    ):
        refused(status, partial(two.map, giver, ref, PAGE, flags))
        assert two.entry(PAGE) == 0
    assert one.flags(11) == PERMIT
    idle(pae)


def test_a_frame_that_is_a_page_table_is_mapped_for_reading_only(pae: GrantMachine) -> None:
    one, two = pae.one, pae.two
    one.grant(11, 2, one.p2m[5])
    refused(GrantStatus.general_error, lambda: two.map(1, 11, PAGE))
    assert one.flags(11) == PERMIT
    handle = two.map(1, 11, PAGE, READ_ONLY)
    assert pae.audit() == []
    two.unmap(handle, PAGE)
    idle(pae)


def test_a_mapped_frame_becomes_no_page_table(pae: GrantMachine) -> None:
    one, two = pae.one, pae.two
    handle = two.map(1, 9, PAGE)
    types = pae.memory.types
    with pytest.raises(Refusal):
        types.get_page_and_type(one.p2m[15], 1, FrameType.L1_PAGE_TABLE)
    two.unmap(handle, PAGE)
    assert two.cpu.tlb == set()
    types.get_page_and_type(one.p2m[15], 1, FrameType.L1_PAGE_TABLE)


def test_translations_are_forgotten_before_the_frame_is_let_go(pae: GrantMachine) -> None:
    two = pae.two
    handle = two.map(1, 9, PAGE)
    two.cpu.tlb.add(PAGE << 12)
    two.unmap(handle, PAGE)
    assert two.cpu.tlb == set()


def test_a_handle_is_used_up_once(machine: GrantMachine) -> None:
    two = machine.two
    handle = two.map(1, 9, PAGE)
    refused(GrantStatus.bad_handle, lambda: two.unmap(handle + 1, PAGE))
    refused(GrantStatus.bad_handle, lambda: two.unmap(0xFFFF_FFFF, PAGE))
    refused(GrantStatus.bad_handle, lambda: machine.guests[2].unmap(handle, PAGE))
    two.unmap(handle, PAGE)
    refused(GrantStatus.bad_handle, lambda: two.unmap(handle, PAGE))
    idle(machine)


def test_an_address_that_does_not_map_the_grant_is_refused(machine: GrantMachine) -> None:
    two = machine.two
    handle = two.map(1, 9, PAGE)
    other = two.map(1, 10, PAGE + 1, READ_ONLY)
    reader = two.map(1, 9, PAGE + 2, READ_ONLY)
    for page in (PAGE + 1, PAGE + 2, PAGE + 3, 11, 0x40000):
        refused(GrantStatus.general_error, partial(two.unmap, handle, page))
    refused(GrantStatus.general_error, lambda: two.unmap(reader, PAGE))
    assert machine.audit() == []
    for each, page in ((handle, PAGE), (other, PAGE + 1), (reader, PAGE + 2)):
        two.unmap(each, page)
    idle(machine)


def test_address_0_ends_nothing(machine: GrantMachine) -> None:
    two = machine.two
    handle = two.map(1, 9, PAGE)
    two.unmap(handle, 0)
    two.unmap(handle, 0, 0x1234)
    assert two.entry(PAGE)
    two.unmap(handle, PAGE)
    idle(machine)


def test_a_device_mapping_is_counted_and_shows_nothing(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    bus_address = one.p2m[15] << 12
    for flags, counts in ((DEVICE_MAP, (2, 1)), (DEVICE_MAP | GrantMapFlag.readonly, (2, 0))):
        handle = two.map(1, 9, PAGE, int(flags))
        assert two.entry(PAGE) == 0
        assert one.counts(15) == counts
        assert machine.audit() == []
        refused(GrantStatus.bad_dev_addr, partial(two.unmap, handle, 0, bus_address + 1))
        two.unmap(handle, PAGE)
        assert one.counts(15) == counts, "it has no host mapping to end"
        two.unmap(handle, 0, bus_address)
        idle(machine)


def test_the_two_halves_of_a_mapping_end_apart_or_together(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    bus_address = one.p2m[15] << 12
    both = DEVICE_MAP | HOST_MAP
    handle = two.map(1, 9, PAGE, both)
    assert one.counts(15) == (3, 2)
    two.unmap(handle, PAGE)
    assert one.counts(15) == (2, 1)
    assert one.flags(9) & WRITING
    two.unmap(handle, 0, bus_address)
    idle(machine)
    handle = two.map(1, 9, PAGE, both)
    refused(GrantStatus.general_error, lambda: two.unmap(handle, PAGE + 1, bus_address))
    assert one.counts(15) == (3, 2), "what cannot be ended for the host is not ended for the device"
    two.unmap(handle, PAGE, bus_address)
    idle(machine)


def test_a_mapping_moves_by_unmap_and_replace(machine: GrantMachine) -> None:
    two = machine.two
    spare = two.entry(11)
    handle = two.map(1, 9, PAGE)
    unmap_grant(two.table, two.paging, handle, PAGE << 12, new_addr=11 << 12)
    assert (two.entry(PAGE), two.entry(11)) == (spare, 0)
    assert two.counts(11) == (2, 1)
    idle(machine)


def test_what_cannot_be_replaced_loses_the_new_mapping(machine: GrantMachine) -> None:
    two = machine.two
    handle = two.map(1, 9, PAGE)
    replace = partial(unmap_grant, two.table, two.paging, handle)
    refused(GrantStatus.general_error, lambda: replace((PAGE + 1) << 12, new_addr=11 << 12))
    assert (two.entry(11), two.counts(11)) == (0, (1, 0))
    for new_address in (0x4000_0000, 1 << 32 | 10 << 12):
        refused(GrantStatus.general_error, partial(replace, PAGE << 12, new_addr=new_address))
    assert machine.audit() == []
    refused(GrantStatus.general_error, lambda: replace(PAGE << 12, new_addr=PAGE << 12))
    assert two.entry(PAGE) == 0, "the mapping itself was the new one"
    assert machine.audit() == []
    by_entry = GnttabMapGrantRef(two.bench.maddr(5, PAGE), BY_ENTRY, 9, 1, 0, 0, 0)
    handle, _ = map_grant(two.table, two.paging, by_entry)
    refused(
        GrantStatus.general_error,
        lambda: unmap_grant(two.table, two.paging, handle, by_entry.host_addr, new_addr=10 << 12),
    )
    assert two.entry(10), "such a mapping cannot be replaced at all"


def test_own_grants_can_be_mapped(machine: GrantMachine) -> None:
    one = machine.one
    one.grant(12, 1, one.p2m[17])
    handle = one.map(1, 12, PAGE)
    assert one.counts(17) == (2, 1)
    assert machine.audit() == []
    one.unmap(handle, PAGE)
    assert one.counts(17) == (1, 0)
    idle(machine)


def overwrite(guest: Guest, page: int, entry: int = 0) -> None:
    """The guest changes an entry itself, as by mmu_update."""
    memory = guest.memory
    index = (guest.p2m[5] << memory.space.table_shift) + page
    memory.machine.tables.modify_l1(memory, index, entry, memory.domid)


def test_a_guest_may_overwrite_a_mapping_and_is_left_with_a_handle(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    handle = two.map(1, 9, PAGE)
    two.cpu.tlb.add(PAGE << 12)
    overwrite(two, PAGE)
    assert two.cpu.tlb == set()
    assert one.counts(15) == (1, 0)
    assert one.flags(9) & WRITING, "the grant is still in use"
    assert machine.audit() == []
    refused(GrantStatus.general_error, lambda: two.unmap(handle, PAGE))
    two.die()
    idle(machine)


def test_a_mapping_gives_no_right_to_make_another_one(machine: GrantMachine) -> None:
    two = machine.two
    two.map(1, 10, PAGE, READ_ONLY)
    made = two.entry(PAGE)
    for page, entry in ((PAGE, made | Pte.RW), (PAGE + 1, made), (11, made | Pte.RW)):
        with pytest.raises(Refusal):
            overwrite(two, page, entry)
    overwrite(two, PAGE, made & ~Pte.ACCESSED)
    assert machine.audit() == []


def test_a_table_with_a_granted_page_cannot_be_validated_anew(pae: GrantMachine) -> None:
    two = pae.two
    two.map(1, 9, PAGE)
    entry = two.entry(PAGE)
    two.bench.write_entry(12, 0, entry)
    with pytest.raises(Refusal):
        pae.memory.types.get_page_and_type(two.p2m[12], 2, FrameType.L1_PAGE_TABLE)


def test_a_mapped_frame_outlives_the_giver(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    handle, reader = two.map(1, 9, PAGE), two.map(1, 10, PAGE + 1, int(READ_ONLY | DEVICE_MAP))
    mfn = one.p2m[15]
    machine.ram.bytes[mfn << 12] = 77
    one.die()
    assert machine.memory.frames.owner[mfn] == 1
    assert machine.ram.bytes[mfn << 12] == 77
    assert machine.audit() == []
    refused(GrantStatus.bad_page, lambda: two.map(1, 9, PAGE + 2))
    refused(GrantStatus.bad_page, lambda: read_grant(one.table, 9, 0, 1, domid=2))
    two.unmap(handle, PAGE)
    assert machine.memory.frames.owner[mfn] != 1
    refused(GrantStatus.bad_page, lambda: two.map(1, 10, PAGE + 2))
    two.unmap(reader, PAGE + 1, one.p2m[16] << 12)
    refused(GrantStatus.bad_domain, lambda: two.map(1, 10, PAGE + 2))
    assert machine.audit() == []


def test_a_handle_outlives_a_giver_of_whom_nothing_is_left(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    handle = two.map(1, 9, PAGE)
    overwrite(two, PAGE)
    one.die()
    with pytest.raises(GiverGoneError):
        two.unmap(handle, PAGE)
    again = Guest(machine.memory, machine.tables, 1)
    machine.registry.by_id(1).grants = again.table
    again.grant(9, 2, again.p2m[3])
    other = two.map(1, 9, PAGE)
    with pytest.raises(GiverGoneError):
        two.unmap(handle, PAGE)
    two.unmap(other, PAGE)
    two.die()
    assert again.table.state.active == {}
    assert machine.audit() == []


def test_a_frame_that_was_let_go_is_not_used_by_what_is_left_of_a_mapping(pae: GrantMachine) -> None:
    """The entry is in use while its frame has become somebody else's."""
    one, two, three = pae.guests
    two.map(1, 9, PAGE)
    overwrite(two, PAGE)
    mfn = one.p2m[15]
    pae.memory.free([mfn])
    assert pae.memory.take_contiguous(3, 0, 8, mfn + 1) is not None
    three.memory.tot_pages += 1
    while pae.memory.frames.owner[mfn] != 3:
        pae.memory.take(3, 1, 8)
        three.memory.tot_pages += 1
    refused(GrantStatus.general_error, lambda: two.map(1, 9, PAGE))
    refused(GrantStatus.bad_domain, lambda: read_grant(one.table, 9, 0, 1, domid=2))
    refused(GrantStatus.bad_domain, lambda: write_grant(one.table, 9, 0, b"x", domid=2))
    assert pae.audit() == []


def test_the_end_of_a_domain_ends_what_it_has_mapped(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    two.map(1, 9, PAGE)
    two.map(1, 10, PAGE + 1, int(READ_ONLY | DEVICE_MAP))
    two.map(1, 9, PAGE + 2, DEVICE_MAP)
    one.grant(12, 1, one.p2m[17])
    one.map(1, 12, PAGE)
    two.die()
    one.memory.machine.tables.modify_l1(one.memory, (one.p2m[5] << one.memory.space.table_shift) + PAGE, 0, 1)
    assert set(one.table.state.active) == {12}
    assert (one.counts(15), one.counts(16)) == ((1, 0), (1, 0))
    assert one.flags(9) == PERMIT


@pytest.mark.parametrize("first", [0, 1])
def test_two_domains_that_share_both_ways_die_in_any_order(machine: GrantMachine, first: int) -> None:
    one, two = machine.one, machine.two
    two.grant(9, 1, two.p2m[15])
    two.map(1, 9, PAGE, int(HOST_MAP | DEVICE_MAP))
    one.map(2, 9, PAGE)
    free = machine.memory.nr_free
    pair = [one, two]
    pair[first].die()
    assert machine.audit() == []
    assert machine.registry.find(first + 1) is not None
    pair[1 - first].die()
    assert machine.audit() == []
    assert [machine.registry.find(domid) for domid in (1, 2)] == [None, None]
    assert machine.memory.nr_free > free


def test_a_grant_is_in_use_so_many_times_and_no_more(pae: GrantMachine) -> None:
    two = pae.two
    handles = [two.map(1, 9, PAGE + at) for at in range(128)]
    refused(GrantStatus.general_error, lambda: two.map(1, 9, PAGE + 128))
    refused(GrantStatus.general_error, lambda: two.map(1, 9, PAGE + 128, HOST_MAP | DEVICE_MAP))
    reader = two.map(1, 9, PAGE + 128, READ_ONLY)
    refused(GrantStatus.general_error, lambda: pae.guests[2].map(1, 9, PAGE))
    for at, handle in enumerate(handles):
        two.unmap(handle, PAGE + at)
    assert pae.one.flags(9) == PERMIT | READING
    two.unmap(reader, PAGE + 128)
    idle(pae)


@pytest.mark.parametrize(("frames", "handles"), [(0, 0), (1, 255), (2, 511)])
def test_handles_are_bounded(frames: int, handles: int) -> None:
    """As in Xen, one stays free for ever."""
    machine = GrantMachine(2, 200, booted=PAE, limits=GrantLimits(maptrack_frames=frames))
    one, two = machine.one, machine.two
    for ref in range(8, 16):
        one.grant(ref, 2, one.p2m[15])
    made = [two.map(1, 8 + at // 100, PAGE + at % 100) for at in range(handles)]
    assert made == [handle for handle in range(handles + 1) if handle != 255][:handles]
    refused(GrantStatus.no_space, lambda: two.map(1, 5000, PAGE))
    assert two.table.maptrack.nr_frames == frames
    if frames:
        two.unmap(made[-1], PAGE + (handles - 1) % 100)
        assert two.map(1, 15, PAGE + 200) == 255, "what came back last is used last"
    assert machine.audit() == []


def test_a_grant_in_use_cannot_be_swapped_nor_a_table_change_its_version(pae: GrantMachine) -> None:
    one, two = pae.one, pae.two
    handle = two.map(1, 9, PAGE)
    refused(GrantStatus.eagain, lambda: one.table.swap(9, 10))
    with pytest.raises(Refusal):
        one.use_version(2)
    two.unmap(handle, PAGE)
    one.use_version(2)
    one.grant(9, 2, one.p2m[15])
    handle = two.map(1, 9, PAGE)
    assert (one.flags(9), one.status(9)) == (PERMIT, READING | WRITING)
    two.unmap(handle, PAGE)
    assert one.status(9) == 0
    assert pae.audit() == []
