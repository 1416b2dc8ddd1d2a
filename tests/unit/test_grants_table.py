"""Grant tables: what an entry must say, what its use tells the guest, and what is counted meanwhile."""

from __future__ import annotations

from functools import partial

import pytest

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.grant_table import GnttabCopy, GnttabCopyPtr, GrantCopyFlag, GrantFlag, GrantStatus
from paravane.cpu import PAE
from paravane.grants import GrantLimits, GrantTable
from paravane.grants.copying import copy_grant
from paravane.grants.entries import V1_PER_FRAME as ENTRIES_PER_FRAME
from paravane.grants.versions import set_version
from paravane.memory import FrameType, audit
from paravane.refusal import Refusal
from tests.support.granting import PERMIT, GrantMachine, refused
from tests.support.residents import new_domain_memory


@pytest.fixture
def machine() -> GrantMachine:
    return GrantMachine()


def test_a_writable_mapping_marks_counts_and_shows_the_frame(machine: GrantMachine) -> None:
    one = machine.one
    one.page(3)[:5] = b"hello"
    one.grant(9, 0, one.p2m[3])
    mapping = one.table.map_for_backend(9, writable=True)
    assert one.flags(9) == PERMIT | GrantFlag.reading | GrantFlag.writing
    assert one.counts(3) == (2, 1)
    assert bytes(mapping.page[:5]) == b"hello"
    mapping.page[:5] = b"HELLO"
    assert bytes(one.page(3)[:5]) == b"HELLO"
    mapping.close()
    mapping.close()
    assert one.flags(9) == PERMIT
    assert one.counts(3) == (1, 0)


def test_a_read_only_mapping_cannot_be_written(machine: GrantMachine) -> None:
    one = machine.one
    one.grant(9, 0, one.p2m[3], PERMIT | GrantFlag.readonly)
    refused(GrantStatus.general_error, lambda: one.table.map_for_backend(9, writable=True))
    with one.table.map_for_backend(9, writable=False) as page:
        assert page.readonly
        assert one.flags(9) == PERMIT | GrantFlag.readonly | GrantFlag.reading
        assert one.counts(3) == (2, 0)
    assert one.flags(9) == PERMIT | GrantFlag.readonly


def test_flags_show_what_uses_remain(machine: GrantMachine) -> None:
    one = machine.one
    one.grant(9, 0, one.p2m[3])
    reader = one.table.map_for_backend(9, writable=False)
    writer = one.table.map_for_backend(9, writable=True)
    writer.close()
    assert one.flags(9) == PERMIT | GrantFlag.reading
    reader.close()
    assert one.flags(9) == PERMIT


@pytest.mark.parametrize(
    ("flags", "domid"),
    [
        (0, 0),
        (GrantFlag.accept_transfer, 0),
        (GrantFlag.transitive, 0),
        (PERMIT | GrantFlag.sub_page, 0),
        (PERMIT, 2),
    ],
)
def test_what_an_entry_does_not_allow_is_refused(machine: GrantMachine, flags: int, domid: int) -> None:
    one = machine.one
    one.grant(9, domid, one.p2m[3], flags)
    refused(GrantStatus.general_error, lambda: one.table.map_for_backend(9, writable=False))
    assert one.flags(9) == flags
    assert one.counts(3) == (1, 0)


def test_references_beyond_the_table_are_refused(machine: GrantMachine) -> None:
    for ref in (ENTRIES_PER_FRAME, 0xFFFF_FFFF, -1):
        refused(GrantStatus.bad_gntref, partial(machine.one.table.map_for_backend, ref, writable=False))


def test_frames_that_are_not_the_guests_are_refused(machine: GrantMachine) -> None:
    one = machine.one
    for mfn in (machine.two.p2m[0], 0, machine.ram.nr_frames, 0xFFFF_FFFF):
        one.grant(9, 0, mfn)
        refused(GrantStatus.bad_page, lambda: one.table.map_for_backend(9, writable=True))
        assert one.flags(9) == PERMIT, "the marks are taken back"


def test_a_frame_in_use_as_a_page_table_is_readable_but_not_writable(machine: GrantMachine) -> None:
    one, mfn = machine.one, machine.one.p2m[3]
    machine.memory.types.get_page_and_type(mfn, 1, FrameType.L1_PAGE_TABLE)
    one.grant(9, 0, mfn)
    refused(GrantStatus.general_error, lambda: one.table.map_for_backend(9, writable=True))
    assert one.flags(9) == PERMIT
    assert one.counts(3) == (2, 1)
    one.table.map_for_backend(9, writable=False).close()


def test_a_writable_mapping_keeps_the_frame_from_becoming_a_page_table(machine: GrantMachine) -> None:
    one, mfn = machine.one, machine.one.p2m[3]
    one.grant(9, 0, mfn)
    mapping = one.table.map_for_backend(9, writable=True)
    with pytest.raises(Refusal):
        machine.memory.types.get_page_and_type(mfn, 1, FrameType.L1_PAGE_TABLE)
    mapping.close()
    machine.memory.types.get_page_and_type(mfn, 1, FrameType.L1_PAGE_TABLE)


def test_an_entry_in_use_keeps_its_frame_whatever_the_guest_writes(machine: GrantMachine) -> None:
    one = machine.one
    one.grant(9, 0, one.p2m[3])
    first = one.table.map_for_backend(9, writable=True)
    one.grant(9, 2, machine.two.p2m[0], 0)
    second = one.table.map_for_backend(9, writable=True)
    assert second.mfn == first.mfn == one.p2m[3]
    second.close()
    first.close()
    assert one.counts(3) == (1, 0)


def test_one_entry_is_used_by_one_domain_and_not_too_often(machine: GrantMachine) -> None:
    one = machine.one
    one.grant(9, 0, one.p2m[3])
    mappings = [one.table.map_for_backend(9, writable=False) for _ in range(128)]
    refused(GrantStatus.general_error, lambda: one.table.map_for_backend(9, writable=False))
    refused(GrantStatus.general_error, lambda: one.table.map_for_backend(9, writable=False, domid=2))
    for mapping in mappings:
        mapping.close()
    assert one.counts(3) == (1, 0)


def test_a_mapping_outlives_its_domain_and_harms_nobody(machine: GrantMachine) -> None:
    one = machine.one
    one.grant(9, 0, one.p2m[3])
    mapping = one.table.map_for_backend(9, writable=True)
    mfn, table_frame = mapping.mfn, one.table.frames[0]
    one.table.close()
    one.memory.destroy()
    assert machine.memory.frames.owner[mfn] == 1
    tables = machine.tables
    refused(GrantStatus.bad_page, lambda: tables.by_id(1).map_for_backend(9, writable=False, domid=2))
    machine.ram.words[table_frame << 10] = 0xFFFF_FFFF
    machine.ram.words[(table_frame << 10) + 18] = 0xFFFF_FFFF
    mapping.page[:3] = b"end"
    mapping.close()
    assert machine.ram.words[(table_frame << 10) + 18] == 0xFFFF_FFFF
    assert machine.memory.frames.owner[mfn] != 1
    refused(GrantStatus.bad_domain, lambda: machine.tables.by_id(1))


def test_the_table_grows_within_its_limit(machine: GrantMachine) -> None:
    one = machine.one
    assert len(one.table.frames) == 1
    one.table.grow(3)
    one.table.grow(2)
    assert len(set(one.table.frames)) == 3
    assert one.memory.tot_pages == 8, "the table is no part of the reservation"
    one.grant(2 * ENTRIES_PER_FRAME + 1, 0, one.p2m[1])
    one.table.map_for_backend(2 * ENTRIES_PER_FRAME + 1, writable=True).close()
    refused(GrantStatus.general_error, lambda: one.table.grow(65))


def test_growth_without_memory_changes_nothing(machine: GrantMachine) -> None:
    free = machine.memory.nr_free
    refused(GrantStatus.general_error, lambda: machine.one.table.grow(64))
    assert len(machine.one.table.frames) == 1
    assert machine.memory.nr_free == free


def test_the_toolstack_fills_its_references(machine: GrantMachine) -> None:
    one = machine.one
    one.table.reserve(1, one.p2m[2])
    with one.table.map_for_backend(1, writable=True) as page:
        page[0] = 7
    assert one.page(2)[0] == 7
    with pytest.raises(ValueError, match="toolstack"):
        one.table.reserve(8, one.p2m[2])


def test_versions(machine: GrantMachine) -> None:
    machine.one.table.limits = GrantLimits(version=1)
    set_version(machine.one.table, 1)
    for version, errno in ((2, Errno.ENOSYS), (0, Errno.EINVAL), (3, Errno.EINVAL)):
        with pytest.raises(Refusal) as caught:
            set_version(machine.one.table, version)
        assert caught.value.errno is errno


def test_swap_exchanges_idle_entries(machine: GrantMachine) -> None:
    one = machine.one
    one.grant(9, 0, one.p2m[3])
    one.table.swap(9, 10)
    assert (one.flags(9), one.flags(10)) == (0, PERMIT)
    mapping = one.table.map_for_backend(10, writable=False)
    refused(GrantStatus.eagain, lambda: one.table.swap(9, 10))
    one.table.swap(10, 10)
    mapping.close()
    refused(GrantStatus.bad_gntref, lambda: one.table.swap(9, ENTRIES_PER_FRAME))


def copy_request(
    source: tuple[int, int, int], dest: tuple[int, int, int], length: int, flags: int
) -> GnttabCopy:
    return GnttabCopy(GnttabCopyPtr(*source), GnttabCopyPtr(*dest), length, flags, 0)


def test_copy_from_a_grant_into_an_own_frame(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    one.page(0)[100:105] = b"hello"
    one.grant(9, 2, one.p2m[0], PERMIT | GrantFlag.readonly)
    copy_grant(
        two.table, copy_request((9, 1, 100), (two.p2m[5], DomId.SELF, 200), 5, GrantCopyFlag.source_gref)
    )
    assert bytes(two.page(5)[200:205]) == b"hello"
    assert one.flags(9) == PERMIT | GrantFlag.readonly
    assert (one.counts(0), two.counts(5)) == ((1, 0), (1, 0))


def test_copy_into_a_grant(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    two.page(1)[:4] = b"data"
    one.grant(9, 2, one.p2m[0])
    copy_grant(two.table, copy_request((two.p2m[1], DomId.SELF, 0), (9, 1, 4092), 4, GrantCopyFlag.dest_gref))
    assert bytes(one.page(0)[4092:]) == b"data"


def test_what_cannot_be_copied(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    own = (two.p2m[1], int(DomId.SELF), 0)
    one.grant(9, 2, one.p2m[0], PERMIT | GrantFlag.readonly)
    cases = [
        (GrantStatus.permission_denied, (one.p2m[0], 1, 0), own, 4, 0),
        (GrantStatus.permission_denied, own, (one.p2m[0], 1, 0), 4, 0),
        (GrantStatus.bad_domain, (9, 7, 0), own, 4, GrantCopyFlag.source_gref),
        (GrantStatus.general_error, (9, 0, 0), own, 4, GrantCopyFlag.source_gref),
        (GrantStatus.bad_gntref, (5000, 1, 0), own, 4, GrantCopyFlag.source_gref),
        (GrantStatus.general_error, own, (9, 1, 0), 4, GrantCopyFlag.dest_gref),
        (GrantStatus.bad_page, (one.p2m[0], DomId.SELF, 0), own, 4, 0),
        (GrantStatus.bad_copy_arg, own, (two.p2m[2], DomId.SELF, 4093), 4, 0),
        (GrantStatus.bad_copy_arg, (9, 1, 4096), own, 1, GrantCopyFlag.source_gref),
        (GrantStatus.bad_copy_arg, own, own, 0xFFFF, 0),
    ]
    for status, source, dest, length, flags in cases:
        request = copy_request(source, dest, length, flags)
        refused(status, partial(copy_grant, two.table, request))
    assert (one.counts(0), two.counts(1), two.counts(2)) == ((1, 0), (1, 0), (1, 0))
    assert one.flags(9) == PERMIT | GrantFlag.readonly
    assert audit(machine.memory) == []


def test_a_page_table_is_never_the_target_of_a_copy(machine: GrantMachine) -> None:
    two = machine.two
    machine.memory.types.get_page_and_type(two.p2m[3], 2, FrameType.L1_PAGE_TABLE)
    request = copy_request((two.p2m[1], DomId.SELF, 0), (two.p2m[3], DomId.SELF, 0), 8, 0)
    refused(GrantStatus.general_error, lambda: copy_grant(two.table, request))


def test_audits_know_of_what_is_in_use(machine: GrantMachine) -> None:
    one = machine.one
    one.grant(9, 0, one.p2m[3])
    with one.table.map_for_backend(9, writable=True):
        assert audit(machine.memory) == []
    assert audit(machine.memory) == []


def test_a_domain_without_a_frame_for_its_table_is_a_memory_error(machine: GrantMachine) -> None:
    memory = new_domain_memory(machine.memory, 3, PAE, max_pages=64)
    memory.populate(machine.memory.nr_free)
    with pytest.raises(MemoryError):
        GrantTable(memory, machine.tables)
    before = machine.one.table.frames
    refused(GrantStatus.general_error, lambda: machine.one.table.grow(2))
    assert machine.one.table.frames == before
