"""Version 2 of grant tables: status words, parts of pages, transitive grants, and the way there and back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.grant_table import GnttabCopy, GnttabCopyPtr, GrantCopyFlag, GrantFlag, GrantStatus
from paravane.grants import give_frame, read_grant, write_grant
from paravane.grants.copying import copy_grant
from paravane.grants.versions import set_version
from paravane.memory import audit
from paravane.refusal import Refusal
from tests.support.granting import PERMIT, GrantMachine, refused

if TYPE_CHECKING:
    from collections.abc import Callable

READING = int(GrantFlag.reading)
WRITING = int(GrantFlag.writing)


@pytest.fixture
def machine() -> GrantMachine:
    """Three domains, all with tables of version 2."""
    machine = GrantMachine(3)
    for guest in machine.guests:
        guest.use_version(2)
    return machine


def refused_with(errno: Errno, call: Callable[[], object]) -> None:
    with pytest.raises(Refusal) as caught:
        call()
    assert caught.value.errno is errno, str(caught.value)


def copy(machine: GrantMachine, ref: int, giver: int, *, offset: int = 0, length: int = 4) -> None:
    """Domain 2 copies from a grant into its page 7, at 100."""
    two = machine.two
    source, dest = GnttabCopyPtr(ref, giver, offset), GnttabCopyPtr(two.p2m[7], DomId.SELF, 100)
    copy_grant(two.table, GnttabCopy(source, dest, length, GrantCopyFlag.source_gref, 0))


def test_uses_are_shown_in_status_words_and_the_entry_is_not_written(machine: GrantMachine) -> None:
    one = machine.one
    for ref in (8, 9):
        one.grant(ref, 0, one.p2m[ref - 8])
        with one.table.map_for_backend(ref, writable=True):
            assert (one.flags(ref), one.status(ref)) == (PERMIT, READING | WRITING)
            with one.table.map_for_backend(ref, writable=False):
                pass
            assert one.status(17 - ref) == 0, "the neighbour's is another one"
        assert (one.flags(ref), one.status(ref)) == (PERMIT, 0)


def test_an_entry_is_twice_as_long(machine: GrantMachine) -> None:
    one = machine.one
    assert one.table.nr_entries == 256
    one.grant(255, 0, one.p2m[1])
    one.table.map_for_backend(255, writable=False).close()
    refused(GrantStatus.bad_gntref, lambda: one.table.map_for_backend(256, writable=False))


def test_frame_numbers_have_64_bits(machine: GrantMachine) -> None:
    one = machine.one
    one.grant(9, 0, one.p2m[1] | 1 << 32)
    refused(GrantStatus.bad_page, lambda: one.table.map_for_backend(9, writable=False))
    assert one.status(9) == 0


def test_status_frames_grow_with_the_table() -> None:
    machine = GrantMachine(2, nr_frames=128)
    one = machine.one
    one.use_version(2)
    assert len(one.table.status_frames) == 1
    one.table.grow(8)
    assert len(one.table.status_frames) == 1
    one.table.grow(9)
    assert len(one.table.status_frames) == 2
    one.grant(2048, 0, one.p2m[1])
    with one.table.map_for_backend(2048, writable=False):
        assert one.status(2048) == READING
    one.use_version(1)
    assert one.table.status_frames == ()
    assert audit(machine.memory) == []


def test_growth_without_memory_for_status_frames_changes_nothing(machine: GrantMachine) -> None:
    one = machine.one
    one.table.grow(8)
    free = machine.memory.nr_free
    machine.memory.take(1, free - 1, 0)
    frames = one.table.frames, one.table.status_frames
    refused(GrantStatus.general_error, lambda: one.table.grow(9))
    assert (one.table.frames, one.table.status_frames) == frames
    assert machine.memory.nr_free == 1


@pytest.mark.parametrize(("offset", "length", "okay"), [(64, 32, True), (95, 1, True), (96, 0, True)])
def test_a_part_of_a_page_is_copied_within_its_bounds(
    machine: GrantMachine, offset: int, length: int, okay: bool
) -> None:
    one, two = machine.one, machine.two
    one.page(0)[64:96] = bytes(range(32))
    one.part(9, 2, one.p2m[0], 64, 32)
    copy(machine, 9, 1, offset=offset, length=length)
    assert bytes(two.page(7)[100 : 100 + length]) == bytes(range(32))[offset - 64 : offset - 64 + length]
    assert one.status(9) == 0
    assert one.counts(0) == (1, 0)


@pytest.mark.parametrize(("offset", "length"), [(63, 1), (64, 33), (96, 1), (0, 0), (97, 0)])
def test_bytes_beside_a_granted_part_are_refused(machine: GrantMachine, offset: int, length: int) -> None:
    one = machine.one
    one.part(9, 2, one.p2m[0], 64, 32)
    refused(GrantStatus.general_error, lambda: copy(machine, 9, 1, offset=offset, length=length))
    assert one.status(9) == 0


def test_a_part_of_a_page_is_never_mapped(machine: GrantMachine) -> None:
    one = machine.one
    one.part(9, 0, one.p2m[0], 0, 4096)
    refused(GrantStatus.general_error, lambda: one.table.map_for_backend(9, writable=False))
    assert read_grant(one.table, 9, 0, 4) == bytes(4)


def test_what_one_domain_granted_another_passes_on(machine: GrantMachine) -> None:
    one, two, three = machine.guests
    three.page(2)[8:12] = b"from"
    three.part(20, 1, three.p2m[2], 8, 4, PERMIT | GrantFlag.readonly)
    one.pass_on(9, 2, 3, 20)
    copy(machine, 9, 1, offset=8)
    assert bytes(two.page(7)[100:104]) == b"from"
    assert (one.status(9), three.status(20)) == (0, 0)
    assert three.counts(2) == (1, 0)
    refused(GrantStatus.general_error, lambda: copy(machine, 9, 1, offset=9))
    assert audit(machine.memory) == []


def test_a_transitive_grant_may_lead_back_to_the_one_who_copies(machine: GrantMachine) -> None:
    one, two = machine.one, machine.two
    two.page(3)[:4] = b"mine"
    two.grant(30, 1, two.p2m[3])
    one.pass_on(9, 2, 2, 30)
    copy(machine, 9, 1)
    assert bytes(two.page(7)[100:104]) == b"mine"


def test_transitive_grants_that_lead_nowhere(machine: GrantMachine) -> None:
    one, three = machine.one, machine.guests[2]
    three.grant(20, 1, three.p2m[2], PERMIT | GrantFlag.readonly)
    three.grant(21, 2, three.p2m[2])
    three.pass_on(22, 1, 2, 5)
    three.grant(23, 1, one.p2m[0])
    for behind, status in (
        ((1, 8), GrantStatus.general_error),  # its own
        ((9, 8), GrantStatus.general_error),  # nobody's
        ((0, 8), GrantStatus.general_error),  # the host's
        ((3, 21), GrantStatus.general_error),  # for somebody else
        ((3, 22), GrantStatus.general_error),  # passed on itself
        ((3, 23), GrantStatus.bad_page),
        ((3, 5000), GrantStatus.bad_gntref),
        ((int(DomId.SELF), 8), GrantStatus.general_error),
    ):
        one.pass_on(9, 2, *behind)
        refused(status, partial(copy, machine, 9, 1))
        assert (one.status(9), three.status(20), three.status(22)) == (0, 0, 0)
    one.pass_on(9, 2, 3, 20)
    refused(GrantStatus.general_error, lambda: write_grant(one.table, 9, 0, b"x", domid=2))
    refused(GrantStatus.general_error, lambda: one.table.map_for_backend(9, writable=False, domid=2))
    assert (one.status(9), three.status(20)) == (0, 0)
    assert one.table.state.active == three.table.state.active == {}
    assert audit(machine.memory) == []


def test_an_entry_that_changes_while_it_is_in_use_is_not_copied_by(machine: GrantMachine) -> None:
    one, three = machine.one, machine.guests[2]
    three.grant(20, 1, three.p2m[2])
    one.grant(9, 2, one.p2m[0])
    with one.table.map_for_backend(9, writable=False, domid=2):
        one.grant(9, 2, one.p2m[1])
        assert read_grant(one.table, 9, 0, 4, domid=2) == bytes(4), "a reader sees the frame it was"
        refused(GrantStatus.general_error, lambda: write_grant(one.table, 9, 0, b"x", domid=2))
        one.pass_on(9, 2, 3, 20)
        refused(GrantStatus.general_error, lambda: read_grant(one.table, 9, 0, 4, domid=2))
        assert one.status(9) == READING
    assert one.status(9) == 0
    assert audit(machine.memory) == []


def test_both_ends_of_a_copy_may_be_one_grant(machine: GrantMachine) -> None:
    one, three = machine.one, machine.guests[2]
    three.page(2)[:4] = b"twin"
    three.grant(20, 1, three.p2m[2])
    one.pass_on(9, 2, 3, 20)
    both = GrantCopyFlag.source_gref | GrantCopyFlag.dest_gref
    ends = GnttabCopyPtr(9, 1, 0), GnttabCopyPtr(9, 1, 4)
    copy_grant(machine.two.table, GnttabCopy(*ends, 4, both, 0))
    assert bytes(three.page(2)[:8]) == b"twintwin"
    assert three.counts(2) == (1, 0)


def test_a_frame_of_the_hosts_comes_by_an_entry_that_accepts_it(machine: GrantMachine) -> None:
    one, accept = machine.one, int(GrantFlag.accept_transfer)
    one.grant(9, 0, 77 << 32 | 5, accept)
    refused(GrantStatus.general_error, partial(give_frame, one.table, 9, b"", domid=1))
    assert one.flags(9) == accept
    give_frame(one.table, 9, b"page")
    mfn = one.table.entries.frame(9)
    assert machine.memory.frames.owned_by(mfn, 1)
    assert machine.memory.m2p[mfn] == 5
    assert machine.ram.read(mfn << 12, 4096) == b"page".ljust(4096, b"\0")
    assert one.flags(9) == accept | GrantFlag.transfer_committed | GrantFlag.transfer_completed
    refused(GrantStatus.general_error, partial(give_frame, one.table, 9, b"once more"))
    refused(GrantStatus.general_error, partial(give_frame, one.table, 0xFFFF_FFFF, b""))
    assert machine.audit() == []
    one.die()
    refused(GrantStatus.general_error, partial(give_frame, one.table, 9, b"too late"))


def test_the_first_eight_entries_survive_a_change_of_version() -> None:
    machine = GrantMachine()
    one = machine.one
    for ref, flags in ((0, PERMIT), (1, 0), (2, GrantFlag.accept_transfer), (8, PERMIT)):
        one.grant(ref, 0, one.p2m[3], int(flags))
    with one.table.map_for_backend(0, writable=True):
        one.use_version(2)
        assert [one.flags(ref) for ref in (0, 1, 2, 8)] == [PERMIT, 0, 2, 0]
        assert one.status(0) == READING | WRITING
        assert one.table.entries.frame(0) == one.p2m[3]
        one.use_version(1)
        assert [one.flags(ref) for ref in (0, 2, 8)] == [PERMIT | READING | WRITING, 0, 0]
        one.use_version(2)
    assert (one.flags(0), one.status(0)) == (PERMIT, 0)


def test_a_version_in_use_cannot_change(machine: GrantMachine) -> None:
    one = machine.one
    one.grant(9, 0, one.p2m[3])
    with one.table.map_for_backend(9, writable=False):
        refused_with(Errno.EBUSY, lambda: set_version(one.table, 1))
    types, (status_frame,) = machine.memory.types, one.table.status_frames
    types.get_page(status_frame, 1)
    refused_with(Errno.EBUSY, lambda: set_version(one.table, 1))
    types.put_page(status_frame)
    for flags, frame in ((PERMIT, 1 << 32), (int(GrantFlag.transitive), 0)):
        one.grant(3, 0, frame, flags)
        refused_with(Errno.ERANGE, lambda: set_version(one.table, 1))
    assert one.table.version == 2
    one.grant(3, 0, 1 << 32, GrantFlag.accept_transfer)
    set_version(one.table, 1)
    assert machine.memory.frames.owner[status_frame] != 1


def test_a_version_without_memory_for_its_status_words_is_not_taken() -> None:
    machine = GrantMachine()
    machine.one.grant(3, 0, 5)
    machine.memory.take(1, machine.memory.nr_free, 0)
    refused_with(Errno.ENOMEM, lambda: set_version(machine.one.table, 2))
    assert machine.one.table.version == 1
    assert machine.one.flags(3) == PERMIT


def test_idle_entries_are_swapped_with_their_status(machine: GrantMachine) -> None:
    one = machine.one
    one.part(9, 2, one.p2m[3], 5, 6)
    one.table.entries.mark(9, 0x40)
    one.table.swap(9, 10)
    assert (one.flags(9), one.status(9)) == (0, 0)
    assert (one.flags(10), one.status(10)) == (PERMIT | GrantFlag.sub_page, 0x40)
    refused(GrantStatus.general_error, lambda: read_grant(one.table, 10, 4, 1, domid=2))
