"""Lists of hypercalls that are preempted or cannot be read, asked for by a vcpu that never ran."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, load_image
from paravane.abi.errno import Errno
from paravane.abi.hypercall import MULTICALL_ENTRY, Hypercall, MulticallEntry
from paravane.abi.mmu import UvmFlag
from paravane.platform import TRAPS
from paravane.preemption import Preempted
from paravane.trace import Kind, Record, RefusalRecord
from tests.support.boot import kernel_image
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = 4 << 20
TEXT = b"0123456789" * 3000 + b"\n"
KERNEL = f"""
main:
    ret
    .data
    .balign PAGE_SIZE
    .globl list, text, edge
list:
    .skip PAGE_SIZE
text:
    .skip {len(TEXT)}
    .bss
    .balign PAGE_SIZE
    .skip PAGE_SIZE
edge:                               # nothing is mapped here in the end
    .skip PAGE_SIZE
"""


class Guest:
    """A guest that enters the hypervisor when a test says so."""

    def __init__(self, machine: Machine) -> None:
        image = load_image(kernel_image(prelude() + KERNEL))
        self.machine = machine
        self.vcpu = machine.create(image, DomainConfig(memory=MEMORY)).vcpus[0]
        self.cpu = self.vcpu.cpu
        self.list, self.text, self.edge = (
            image.symbols.address_of(name) or 0 for name in ("list", "text", "edge")
        )
        self.records: list[Record] = []
        machine.trace.subscribe(self.records.append, (Kind.REFUSAL,))
        self.call(Hypercall.update_va_mapping, self.edge, 0, 0, UvmFlag.INVLPG)

    def call(self, number: Hypercall, *arguments: int) -> int | None:
        """One entry. Raises Preempted."""
        self.machine.platform.counts[TRAPS] += 1
        return self.vcpu.hypercall(number, (*arguments, *[0] * (6 - len(arguments))))

    def put(self, at: int, *entries: MulticallEntry) -> int:
        """A list of hypercalls in the guest's memory; its address."""
        self.cpu.write(at, b"".join(map(MULTICALL_ENTRY.pack, entries)))
        return at

    def entry(self, at: int) -> MulticallEntry:
        return MULTICALL_ENTRY.unpack(self.cpu.read(at, MULTICALL_ENTRY.size))

    @property
    def refusals(self) -> list[tuple[str, str]]:
        return [(r.request, r.sentence) for r in self.records if isinstance(r, RefusalRecord)]


@pytest.fixture
def guest() -> Iterator[Guest]:
    with Machine(Machine.size_for(MEMORY)) as machine:
        yield Guest(machine)


def test_an_entry_of_a_multicall_holds_what_is_left_of_it(
    guest: Guest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    guest.cpu.write(guest.text, TEXT)
    version = MulticallEntry(Hypercall.xen_version, 0, (0,) * 6)
    write = MulticallEntry(Hypercall.console_io, 0, (0, len(TEXT), guest.text, 11, 12, 13))
    with pytest.raises(Preempted) as rest:
        guest.call(Hypercall.multicall, guest.put(guest.list, version, write), 2)
    at = guest.list + MULTICALL_ENTRY.size
    assert (rest.value.done, rest.value.arguments) == (1, (at, 1))
    entry = guest.entry(at)
    done = entry.args[2] - guest.text
    assert 0 < done < len(TEXT)
    left = (0, len(TEXT) - done, guest.text + done, 11, 12, 13)
    assert entry == MulticallEntry(Hypercall.console_io, Hypercall.console_io, left)
    arguments = rest.value.arguments
    for _ in itertools.count():
        try:
            assert guest.call(Hypercall.multicall, *arguments) == 0
            break
        except Preempted as more:
            arguments = more.arguments
    assert guest.entry(at).result == 0
    printed = "".join(message.removeprefix("(d1) ") for message in caplog.messages)
    assert printed + "\n" == TEXT.decode()


def test_a_multicall_list_that_ends_early_is_efault_and_says_where(guest: Guest) -> None:
    version = MulticallEntry(Hypercall.xen_version, 0, (0,) * 6)
    at = guest.put(guest.edge - MULTICALL_ENTRY.size, version)
    assert guest.call(Hypercall.multicall, at, 0xFFFFFFFF) == -Errno.EFAULT
    assert guest.entry(at).result != 0, "what precedes the end was done"
    assert guest.call(Hypercall.xen_version, 1, guest.edge - 8) == -Errno.EFAULT
    place = f"an argument points to {guest.edge:#010x}, which the guest's own kernel could not"
    assert guest.refusals[0] == ("multicall", f"{place} read")
    assert guest.refusals[1][1].startswith("an argument points to ")
    assert guest.refusals[1][1].endswith("which the guest's own kernel could not write to")


VERSION = MulticallEntry(Hypercall.xen_version, 0, (0,) * 6)
RESULT = 4 << 16 | 17
UNKNOWN = 0x3FF
"""The number of no hypercall."""


def mapping(va: int, entry: int) -> MulticallEntry:
    """The hypercall that has `va` mapped by this page-table entry."""
    arguments = (va, entry & 0xFFFF_FFFF, entry >> 32, UvmFlag.INVLPG, 0, 0)
    return MulticallEntry(Hypercall.update_va_mapping, 0, arguments)


def test_an_entry_of_a_multicall_may_write_those_after_it(guest: Guest) -> None:
    """A list is read entry by entry: what the hypervisor copies into it counts."""
    later = guest.list + 2 * MULTICALL_ENTRY.size
    extraversion = MulticallEntry(Hypercall.xen_version, 0, (1, later, 0, 0, 0, 0))
    assert guest.call(Hypercall.multicall, guest.put(guest.list, VERSION, extraversion, VERSION), 3) == 0
    assert guest.entry(later).op == int.from_bytes(b".7\0\0", "little")
    assert guest.entry(later).result == -Errno.ENOSYS & 0xFFFF_FFFF
    assert guest.entry(guest.list).result == RESULT


def test_an_entry_of_a_multicall_may_map_another_page_for_the_list(guest: Guest) -> None:
    """The hypercalls after it are those of the new page, and so are the results."""
    old, new = (guest.vcpu.paging.read_l1_entry(va) for va in (guest.list, guest.text))
    unknown = MulticallEntry(UNKNOWN, 0, (0,) * 6)
    guest.put(guest.text, unknown, unknown, VERSION)
    guest.put(guest.list, VERSION, mapping(guest.list, new), unknown)
    assert guest.call(Hypercall.multicall, guest.list, 3) == 0
    assert [guest.entry(guest.text + at * MULTICALL_ENTRY.size).result for at in range(3)] == [0, 0, RESULT]
    assert guest.call(Hypercall.update_va_mapping, *mapping(guest.list, old).args[:4]) == 0
    assert [guest.entry(guest.list + at * MULTICALL_ENTRY.size).result for at in range(3)] == [RESULT, 0, 0]


def test_a_list_that_an_entry_makes_read_only_ends_with_that_entry(guest: Guest) -> None:
    """It was carried out; its result has nowhere to go, which is -EFAULT for the multicall."""
    writable = guest.vcpu.paging.read_l1_entry(guest.list)
    guest.put(guest.list, VERSION, mapping(guest.list, writable & ~2), VERSION)
    assert guest.call(Hypercall.multicall, guest.list, 3) == -Errno.EFAULT
    assert [guest.entry(guest.list + at * MULTICALL_ENTRY.size).result for at in range(3)] == [RESULT, 0, 0]
    assert not guest.vcpu.paging.read_l1_entry(guest.list) & 2


def test_entries_of_a_multicall_may_lie_across_pages(guest: Guest) -> None:
    at = guest.text - MULTICALL_ENTRY.size - 12
    guest.put(at, VERSION, VERSION, VERSION)
    assert guest.call(Hypercall.multicall, at, 3) == 0
    assert [guest.entry(at + n * MULTICALL_ENTRY.size).result for n in range(3)] == [RESULT] * 3
