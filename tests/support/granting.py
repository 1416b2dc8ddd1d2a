"""Domains with grant tables and no real processors: what the rules of grants are tried on one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.abi.grant_table import GnttabMapGrantRef, GrantFlag, GrantMapFlag, GrantStatus
from paravane.cpu import PAE, Ram
from paravane.grants import GrantLimits, GrantRefusal, GrantTable, GrantTables
from paravane.grants.audit import audit_grants
from paravane.grants.mapping import map_grant, release_mappings, unmap_grant
from paravane.grants.versions import set_version
from paravane.memory import VcpuPaging, audit
from tests.support.memory_bench import Bench, FakeCpu
from tests.support.memory_bench import Guest as MemoryGuest
from tests.support.residents import new_domain_memory, new_machine_memory, new_registry

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

    from paravane.cpu.geometry import Geometry
    from paravane.memory import DomainMemory, MachineMemory

PERMIT = int(GrantFlag.permit_access)
HOST_MAP = int(GrantMapFlag.host_map)
READ_ONLY = int(GrantMapFlag.host_map | GrantMapFlag.readonly)


class Guest:
    """A domain of 8 pages. `grant`, `part` and `pass_on` write entries as its kernel would.

    One that is `booted` has 24, of which the first 6 are page tables, and the first 12 are mapped at address
    0; what it maps of others goes to pages beyond those.
    """

    def __init__(
        self,
        machine: MachineMemory,
        tables: GrantTables,
        domid: int,
        booted: Geometry | None = None,
        limits: GrantLimits | None = None,
    ) -> None:
        self.machine = machine
        nr_pages = 8 if booted is None else 24
        self.memory: DomainMemory = new_domain_memory(machine, domid, booted or PAE, max_pages=2 * nr_pages)
        self.p2m: array[int] = self.memory.populate(nr_pages)
        self.table = GrantTable(self.memory, tables, limits or GrantLimits())
        if booted is not None:
            cpu = FakeCpu()
            self.cpu, self.paging = cpu, VcpuPaging(self.memory, 0, cpu)
            self.bench = Bench(
                machine.ram, machine, self.memory, self.paging, cpu, MemoryGuest(self.paging), self.p2m
            )
            self.bench.boot(mapped=12)

    def map(self, giver: int, ref: int, page: int, flags: int = HOST_MAP) -> int:
        """Map a grant at page `page` of linear memory: its handle. Raises GrantRefusal."""
        request = GnttabMapGrantRef(page << 12, flags, ref, giver, 0, 0, 0)
        return map_grant(self.table, self.paging, request)[0]

    def unmap(self, handle: int, page: int, bus_address: int = 0) -> None:
        """Raises GrantRefusal."""
        unmap_grant(self.table, self.paging, handle, page << 12, bus_address)

    def entry(self, page: int) -> int:
        """The L1 entry of a page of linear memory."""
        return self.bench.read_entry(5, page)

    def die(self) -> None:
        """As the toolstack takes a domain away."""
        release_mappings(self.table)
        self.table.close()
        self.memory.destroy()

    def use_version(self, version: int) -> None:
        set_version(self.table, version)

    def _at(self, ref: int) -> int:
        frame, slot = divmod(ref, self.table.entries.per_frame)
        return (self.table.frames[frame] << 10) + slot * (1024 // self.table.entries.per_frame)

    def grant(self, ref: int, domid: int, mfn: int, flags: int = PERMIT) -> None:
        at, words = self._at(ref), self.machine.ram.words
        words[at] = flags | domid << 16
        if self.table.version == 1:
            words[at + 1] = mfn
        else:
            words[at + 2], words[at + 3] = mfn & 0xFFFF_FFFF, mfn >> 32

    def part(self, ref: int, domid: int, mfn: int, start: int, length: int, flags: int = PERMIT) -> None:
        """Version 2: a part of a page."""
        self.grant(ref, domid, mfn, flags | GrantFlag.sub_page)
        self.machine.ram.words[self._at(ref) + 1] = start | length << 16

    def pass_on(self, ref: int, domid: int, behind_domid: int, behind_ref: int, flags: int = 0) -> None:
        """Version 2: what another domain granted."""
        at, words = self._at(ref), self.machine.ram.words
        words[at : at + 4] = memoryview(bytes(16)).cast("I")
        words[at], words[at + 1] = flags | GrantFlag.transitive | domid << 16, behind_domid
        words[at + 2] = behind_ref

    def flags(self, ref: int) -> int:
        """The flags of an entry: with uses, in version 1."""
        return int(self.machine.ram.words[self._at(ref)]) & 0xFFFF

    def status(self, ref: int) -> int:
        """The status word of an entry of version 2."""
        words = self.machine.ram.words
        return (
            int(words[(self.table.status_frames[ref >> 11] << 10) + (ref & 2047) // 2]) >> ref % 2 * 16
            & 0xFFFF
        )

    def counts(self, pfn: int) -> tuple[int, int]:
        mfn = self.p2m[pfn]
        return self.machine.frames.count[mfn], self.machine.frames.type_count[mfn]

    def page(self, pfn: int) -> memoryview:
        return self.machine.ram.bytes[self.p2m[pfn] << 12 : (self.p2m[pfn] + 1) << 12]


class GrantMachine:
    """Domains 1 and 2 (`one`, `two`), and as many more as `guests` says, on a small machine."""

    def __init__(
        self,
        guests: int = 2,
        nr_frames: int = 64,
        *,
        booted: Geometry | None = None,
        limits: GrantLimits | None = None,
    ) -> None:
        self.ram = Ram(nr_frames)
        self.registry = new_registry()
        self.memory = new_machine_memory(self.ram, self.registry, seed=1, low_frames=1)
        self.tables = GrantTables(self.registry)
        self.guests = [
            Guest(self.memory, self.tables, domid, booted, limits) for domid in range(1, guests + 1)
        ]
        for guest in self.guests:
            self.registry.by_id(guest.memory.domid).grants = guest.table
        self.one, self.two = self.guests[:2]

    def audit(self) -> list[str]:
        return audit(self.memory) + audit_grants(self.tables)


def refused(status: GrantStatus, call: Callable[[], object]) -> None:
    with pytest.raises(GrantRefusal) as caught:
        call()
    assert caught.value.status is status, str(caught.value)
