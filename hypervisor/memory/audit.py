"""The audit: owners, types and counts rebuilt from nothing but page tables, pins and descriptor tables.

Everything the frame table says follows from facts elsewhere: what is pinned or installed, and what validated
tables contain. The audit derives it again, without the code that keeps it up to date, and compares.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from paravane.abi.domid import DomId
from paravane.memory.frames import (
    ALLOCATED,
    FREE,
    L1,
    L2,
    L3,
    LEAVING,
    NONE,
    PAE_XEN_L2,
    PINNED,
    SEG_DESC,
    VALIDATED,
    WRITABLE,
    XEN_HEAP,
)

if TYPE_CHECKING:
    from paravane.memory.machine_memory import MachineMemory
    from paravane.memory.owner import Owner


_HYPERVISORS = frozenset((DomId.XEN.value, DomId.IO.value))


def audit(machine: MachineMemory) -> list[str]:
    """Every difference found, in sentences; none if all is right."""
    return Audit(machine).run()


class Audit:
    """Counts derived so far: `count` and `types` per mfn, `kinds` the types that uses ask for."""

    def __init__(self, machine: MachineMemory) -> None:
        self._machine = machine
        self._frames = machine.frames
        nr_frames = machine.frames.nr_frames
        self._count = [0] * nr_frames
        self._types = [0] * nr_frames
        self._kinds: defaultdict[int, set[int]] = defaultdict(set)
        self._written = bytearray(nr_frames)  # whether an L1 maps it writably: the kind of most frames
        self._named: dict[int, bool] = {}  # whether there is such an owner, by domid
        self._xen_l2: set[int] = set()
        self._linear = [0] * nr_frames
        self.found: list[str] = []

    def run(self) -> list[str]:
        """Derive everything, then compare."""
        self._reservations()
        for domain in self._machine.owners():
            self._installed(domain)
        for mfn, kind in enumerate(self._frames.type):
            if kind in (L1, L2, L3) and self._frames.type_count[mfn]:
                self._table(mfn, kind)
        self._held()
        self._compare()
        self._descriptors()
        return self.found

    def _use(self, mfn: int, kind: int) -> None:
        if not 0 <= mfn < self._frames.nr_frames:
            self.found.append(f"mfn {mfn:#x} is used as {kind} and does not exist")
            return
        self._count[mfn] += 1
        if kind != NONE:
            self._types[mfn] += 1
            self._kinds[mfn].add(kind)

    def _reservations(self) -> None:
        """What an owner has, pinned frames, the hypervisor's own, and the totals of each domain."""
        frames = self._frames
        totals: defaultdict[int, int] = defaultdict(int)
        for mfn, (owner, flags) in enumerate(zip(frames.owner, frames.flags, strict=True)):
            if owner == FREE:
                continue
            if flags == ALLOCATED and owner not in _HYPERVISORS:  # as nearly all are
                self._count[mfn] += 1
                totals[owner] += 1
                continue
            self._count[mfn] += bool(flags & ALLOCATED)
            if flags & XEN_HEAP:
                self._count[mfn] += not flags & LEAVING
                self._types[mfn] += not flags & LEAVING
            elif owner not in _HYPERVISORS:
                totals[owner] += 1
            if flags & PINNED:
                self._use(mfn, frames.type[mfn])
        for domain in self._machine.owners():
            domid = domain.domid
            if domain.tot_pages != totals.pop(domid, 0):
                self.found.append(f"d{domid} does not have the {domain.tot_pages} pages it is said to")
        self.found += [f"frames belong to d{domid}, which does not exist" for domid in totals]

    def _installed(self, domain: Owner) -> None:
        for vcpu in domain.vcpus:
            if vcpu.base_mfn:
                self._use(vcpu.base_mfn, domain.space.root)
            for mfn in (*vcpu.gdt_frames, *vcpu.ldt_frames.values()):
                self._use(mfn, SEG_DESC)

    def _table(self, table: int, kind: int) -> None:
        domain = self._machine.types.owner(self._frames.owner[table])
        if domain is None:
            self.found.append(f"{self._frames.describe(table)} is a table of nobody")
            return
        if not self._frames.flags[table] & VALIDATED:
            self.found.append(f"{self._frames.describe(table)} is in use and not validated")
        entries = domain.table(table)
        if kind == L1:
            self._leaves(table, entries, domain)
        elif kind == L2:
            self._directory(table, entries, domain)
        else:
            self._root(table, entries, domain)

    def _leaves(self, table: int, entries: list[int], domain: Owner) -> None:
        mask, odd = domain.space.geometry.address_mask, domain.space.refused[1] | domain.space.dropped
        # A domain has an entry for each of its frames here, at least: what `_use` does is written out.
        count, types, written, nr_frames = self._count, self._types, self._written, self._frames.nr_frames
        owner, named = self._frames.owner, self._named
        for slot, entry in enumerate(entries):
            if entry & 1:
                mfn = (entry & mask) >> 12
                if mfn < nr_frames:
                    count[mfn] += 1
                    if entry & 2:
                        types[mfn] += 1
                        written[mfn] = 1
                else:
                    self._use(mfn, WRITABLE if entry & 2 else NONE)
                if mfn >= nr_frames or not named.get(owner[mfn]):
                    self._check_owner(table, slot, mfn, domain)
                if entry & odd:
                    self.found.append(f"entry {slot} of L1 {table:#x} is {entry:#x}")

    def _check_owner(self, table: int, slot: int, mfn: int, domain: Owner) -> None:
        """A frame of another domain may be mapped by grant or by privilege; the hypervisor's own and free
        ones not.
        """
        if mfn < self._frames.nr_frames:
            domid = self._frames.owner[mfn]
            self._named[domid] = self._machine.types.owner(domid) is not None
            if self._named[domid]:
                return
        self.found.append(
            f"entry {slot} of L1 {table:#x} of d{domain.domid} maps {self._frames.describe(mfn)}"
        )

    def _directory(self, table: int, entries: list[int], domain: Owner) -> None:
        space = domain.space
        carries_xen = space.root == L2 or bool(self._frames.flags[table] & PAE_XEN_L2)
        own = space.first_xen_slot if carries_xen else space.entries
        mask = space.geometry.address_mask
        for slot, entry in enumerate(entries[:own]):
            if not entry & 1 or (mfn := (entry & mask) >> 12) == table:
                continue
            linear = mfn < self._frames.nr_frames and self._frames.type[mfn] == L2
            self._use(mfn, L2 if linear else L1)
            if linear:
                self._linear[table] += 1
                self._linear[mfn] -= 1
                if entry & 2:
                    self.found.append(f"entry {slot} of L2 {table:#x} maps a table writably")
        if carries_xen and entries[own:] != _xen_entries(domain):
            self.found.append(f"the hypervisor's entries of L2 {table:#x} were changed")

    def _root(self, table: int, entries: list[int], domain: Owner) -> None:
        for slot, entry in enumerate(entries[:4]):
            mfn = (entry & domain.space.geometry.address_mask) >> 12
            if entry & 1:
                self._use(mfn, L2)
                if slot == 3:
                    self._xen_l2.add(mfn)
        if not entries[3] & 1:
            self.found.append(f"L3 {table:#x} has no fourth entry")
        if any(entries[4:]):
            self.found.append(f"L3 {table:#x} has more than four entries")

    def _held(self) -> None:
        """References that device backends hold."""
        for mfn, count in self._machine.held.items():
            self._count[mfn] += count
        for mfn, count in self._machine.held_writable.items():
            self._types[mfn] += count
            if count:
                self._kinds[mfn].add(WRITABLE)

    def _compare(self) -> None:
        frames, free = self._frames, self._machine.free_frames()
        said = zip(frames.owner, frames.flags, frames.type, frames.count, frames.type_count, strict=True)
        derived = zip(self._count, self._types, self._written, strict=True)
        for mfn, ((owner, flags, kind, count, uses), (references, types, written)) in enumerate(
            zip(said, derived, strict=True)
        ):
            if (owner == FREE) != (mfn in free):
                self.found.append(f"{frames.describe(mfn)} is and is not free")
            if owner == FREE and (count or uses or flags):
                self.found.append(f"{frames.describe(mfn)} has counts")
            if count != references:
                self.found.append(f"{frames.describe(mfn)} should have {references} references")
            if uses != types:
                self.found.append(f"{frames.describe(mfn)} should be in use {types} times")
            if written and (kind != WRITABLE or mfn in self._kinds):
                self._kinds[mfn].add(WRITABLE)
            if mfn in self._kinds and self._kinds[mfn] != {kind}:
                self.found.append(f"{frames.describe(mfn)} is used as {sorted(self._kinds[mfn])}")
            if uses and bool(flags & PAE_XEN_L2) != (mfn in self._xen_l2):
                self.found.append(f"{frames.describe(mfn)} wrongly has or lacks the mark of a fourth L2")
            if kind == L2 and uses and frames.linear[mfn] != self._linear[mfn]:
                self.found.append(f"{frames.describe(mfn)} has a linear count of {frames.linear[mfn]}")

    def _descriptors(self) -> None:
        """What is validated as a descriptor table, in use or not, holds nothing that leads to ring 0."""
        frames = self._frames
        for mfn, kind in enumerate(frames.type):
            if kind != SEG_DESC or not frames.flags[mfn] & VALIDATED or frames.owner[mfn] == FREE:
                continue
            table = self._machine.ram.quads[mfn << 9 : (mfn << 9) + 512].tolist()
            for slot, raw in enumerate(table):
                if raw and raw >> 47 & 1 and not _is_harmless(raw):
                    self.found.append(f"descriptor {slot} of mfn {mfn:#x} is {raw:#018x}")


def _xen_entries(domain: Owner) -> list[int]:
    """What the hypervisor's slots of an L2 hold."""
    return memoryview(domain.xen_slots).cast(domain.space.code).tolist()


def _is_harmless(raw: int) -> bool:
    """A present descriptor: a segment below ring 0 and not 64-bit; a gate nobody passes; or nothing."""
    dpl, kind = raw >> 45 & 3, raw >> 40 & 15
    if raw >> 44 & 1:
        return dpl != 0 and not raw >> 53 & 1
    return kind == 0 or (kind == 12 and dpl == 0)
