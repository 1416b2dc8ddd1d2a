"""Backends' uses of grants that end at once: the same by a look at an entry as by counting it in and out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from paravane.abi.grant_table import GrantFlag, GrantStatus
from paravane.grants import GrantRefusal, map_grants, read_grant, write_grant
from paravane.memory.frames import L1, SEG_DESC
from tests.support.granting import PERMIT, GrantMachine, refused
from tests.support.work import lines_executed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

READ_ONLY = PERMIT | GrantFlag.readonly
READING = int(GrantFlag.reading)
WRITING = int(GrantFlag.writing)
BOTH = READING | WRITING


def granting(version: int = 1, *, traced: bool = False) -> tuple[GrantMachine, list[str]]:
    """Two domains. The first one's page 0 is in use as a writable one, as a guest's pages are; reference 9
    grants it to the host. `traced`: somebody is told of uses."""
    machine, told = GrantMachine(2), list[str]()
    if traced:
        machine.tables.observer = lambda what, *_, **__: told.append(what)
    one = machine.one
    one.use_version(version)
    machine.memory.hold(one.p2m[0], 1, writable=True)
    one.grant(9, 0, one.p2m[0])
    return machine, told


def _grant_descriptors(machine: GrantMachine) -> None:
    """A page that was found to hold good descriptors is not looked at again when it is next used as one."""
    page = machine.one.p2m[1]
    machine.memory.types.get_page_and_type(page, 1, SEG_DESC)
    machine.memory.types.put_page_and_type(page)
    machine.one.grant(9, 0, page)


def _grant_page_table(machine: GrantMachine) -> None:
    table = machine.one.p2m[1]
    machine.memory.types.get_page_and_type(table, 1, L1)
    machine.one.grant(9, 0, table)


ENTRIES: dict[str, Callable[[GrantMachine], object]] = {
    "plain": lambda machine: None,
    "nothing": lambda machine: machine.one.grant(9, 0, 0, 0),
    "read-only": lambda machine: machine.one.grant(9, 0, machine.one.p2m[0], READ_ONLY),
    "another's": lambda machine: machine.one.grant(9, 2, machine.one.p2m[0]),
    "marked by the guest": lambda machine: machine.one.grant(9, 0, machine.one.p2m[0], PERMIT | BOTH),
    "a frame of nobody's": lambda machine: machine.one.grant(9, 0, 63),
    "a frame of another domain": lambda machine: machine.one.grant(9, 0, machine.two.p2m[0]),
    "beyond the machine": lambda machine: machine.one.grant(9, 0, 0xFFFF_FFFF),
    "far beyond the machine": lambda machine: machine.one.grant(9, 0, 1 << 40),
    "a page table": _grant_page_table,
    "once a page of descriptors": _grant_descriptors,
    "a page that nobody uses": lambda machine: machine.one.grant(9, 0, machine.one.p2m[2]),
    "mapped for reading": lambda machine: machine.one.table.map_for_backend(9, writable=False),
    "mapped for writing": lambda machine: machine.one.table.map_for_backend(9, writable=True),
    "a part": lambda machine: machine.one.part(9, 0, machine.one.p2m[0], 0, 8),
    "passed on": lambda machine: machine.one.pass_on(9, 0, 2, 9),
    "to be taken over": lambda machine: machine.one.grant(9, 0, machine.one.p2m[0], 2),
    "a domain that goes": lambda machine: machine.one.table.close(),
}
VERSION_2 = {"a part", "passed on", "far beyond the machine"}


def outcome(entry: str, version: int, use: Callable[[GrantMachine], object], *, traced: bool) -> object:
    """What a use answers, and what it leaves in the page, the entry and the machine."""
    machine, _ = granting(version, traced=traced)
    ENTRIES[entry](machine)
    one = machine.one
    try:
        answer: object = use(machine)
    except GrantRefusal as refusal:
        answer = refusal.status
    flags = one.table.frames and (one.flags(9), version == 2 and one.status(9))
    kind = machine.memory.frames.type[one.p2m[1]]
    return answer, bytes(one.page(0)[:16]), one.table.state.active, one.counts(0), flags, kind


def mapped(machine: GrantMachine, *, writable: bool) -> bytes:
    with map_grants(machine.one.table, [(9, 0, 8), (9, 4, 8)], writable=writable) as pages:
        if writable:
            pages[1][:] = b"abcd"
        return b"".join(pages)


USES: dict[str, Callable[[GrantMachine], object]] = {
    "read": lambda machine: read_grant(machine.one.table, 9, 4, 4),
    "read beyond": lambda machine: read_grant(machine.one.table, 9, 4093, 4),
    "write": lambda machine: write_grant(machine.one.table, 9, 4, b"abcd"),
    "write beyond": lambda machine: write_grant(machine.one.table, 9, -1, b"abcd"),
    "map to read": partial(mapped, writable=False),
    "map to write": partial(mapped, writable=True),
}


@pytest.mark.parametrize(
    ("entry", "version"),
    [(entry, version) for entry in ENTRIES for version in (1, 2) if version == 2 or entry not in VERSION_2],
)
def test_the_short_way_answers_what_the_long_way_does(entry: str, version: int) -> None:
    for name, use in USES.items():
        short = outcome(entry, version, use, traced=False)
        assert short == outcome(entry, version, use, traced=True), name


@pytest.mark.parametrize("ref", [512, 1 << 20, (1 << 32) - 1])
def test_references_beyond_the_table_are_refused(ref: int) -> None:
    machine, _ = granting()
    refused(GrantStatus.bad_gntref, lambda: read_grant(machine.one.table, ref, 0, 1))
    refused(GrantStatus.bad_gntref, lambda: write_grant(machine.one.table, ref, 0, b"x"))


@pytest.mark.parametrize("traced", [False, True])
def test_many_grants_are_mapped_or_none(traced: bool) -> None:
    machine, told = granting(traced=traced)
    one = machine.one
    for ref in range(10, 14):
        one.grant(ref, 0, one.p2m[ref - 8])
    parts = [(ref, 16 * ref, 4096) for ref in range(9, 14)]
    with map_grants(one.table, parts, writable=True) as pages:
        for at, page in enumerate(pages):
            page[0] = at + 1
    written = [one.page(pfn)[16 * ref] for pfn, ref in ((0, 9), (2, 10), (3, 11), (4, 12), (5, 13))]
    assert written == [1, 2, 3, 4, 5]
    for page in pages:
        with pytest.raises(ValueError, match="released"):
            len(page)

    def one_too_many() -> None:
        with map_grants(one.table, [*parts, (14, 0, 1)], writable=True):
            pytest.fail("not all of them are granted")

    refused(GrantStatus.general_error, one_too_many)
    assert one.table.state.active == {}
    assert one.flags(9) == PERMIT
    assert told.count("map") == told.count("release") == (10 if traced else 0)
    assert machine.audit() == []


def test_code_in_a_page_that_was_written_is_dropped() -> None:
    machine, _ = granting()
    one = machine.one
    mfn = one.p2m[0]
    dropped: list[int] = []

    class Holder:
        def drop_code(self, mfns: Sequence[int]) -> None:
            dropped.extend(mfns)

    machine.ram.attach(Holder())
    for use, found in (("read", []), ("map to read", []), ("write", [mfn]), ("map to write", [mfn])):
        machine.ram.code_map[mfn] = 1
        dropped.clear()
        USES[use](machine)
        assert dropped == found, use


def test_a_use_that_is_plain_takes_few_lines_of_python() -> None:
    """What makes a disk's segment and a packet cheap: a third of what it takes to count a use."""
    short, long = (
        lines_executed(partial(read_grant, granting(traced=traced)[0].one.table, 9, 0, 4))
        for traced in (False, True)
    )
    assert short * 3 < long
