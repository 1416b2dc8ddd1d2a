"""Machine memory: frames, their owners, the machine-to-phys table, and the domains that share it all."""

from __future__ import annotations

from array import array
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Final

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.memory.address_space import (
    DESCRIPTOR_AREA,
    INVALID_M2P_ENTRY,
    MAX_FRAMES,
    AddressSpace,
    space_named,
)
from paravane.memory.descriptors import DescriptorPages, reserved_gdt_page
from paravane.memory.entries import PageTables
from paravane.memory.frames import ALLOCATED, LEAVING, PINNED, SEG_DESC, WRITABLE, XEN_HEAP, FrameTable
from paravane.memory.page_types import PageTypes
from paravane.memory.pool import FramePool
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, Pte

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from paravane.cpu.ram import Ram
    from paravane.memory.owner import HasMemory, Owner
    from paravane.registry import Domains

_M2P_PER_FRAME: Final = PAGE_SIZE // 4
MIN_FRAMES: Final = 16
"""Frames above low memory that a machine needs, for the hypervisor alone."""

LOW_FRAMES: Final = 256
"""The first MiB of a PC: low memory, and the hole where its devices are. Xen gives none of it to anybody."""


def check_nr_frames(nr_frames: int, low_frames: int = LOW_FRAMES) -> None:
    """Raises ValueError for a machine that is too small or too large."""
    smallest = low_frames + MIN_FRAMES
    if not smallest <= nr_frames <= MAX_FRAMES:
        raise ValueError(
            f"a machine has from {smallest * PAGE_SIZE >> 10} KiB to {MAX_FRAMES * PAGE_SIZE >> 20} MiB "
            f"of memory, not {nr_frames * PAGE_SIZE >> 10} KiB"
        )


class MachineMemory:
    """All frames of one machine. `seed` decides which of them a domain gets.

    The map is a PC's: `low_frames` are device memory, as is what lies beyond the last frame. A frame of
    zeroes and the machine-to-phys table (`m2p`, 32 bits a frame) follow, then what can be handed out.
    """

    def __init__(
        self, ram: Ram, domains: Domains[HasMemory], *, seed: int = 0, low_frames: int = LOW_FRAMES
    ) -> None:
        """`domains`: those that there will be. Raises ValueError for a machine that is too small or too
        large."""
        check_nr_frames(ram.nr_frames, low_frames)
        self.ram = ram
        self.frames = FrameTable(ram.nr_frames)
        self.domains = domains
        self.types = PageTypes(self.frames, self.domains, self._released)
        self.types.contents[SEG_DESC] = DescriptorPages(ram, self.frames)
        self.tables = PageTables(self.types, ram)
        self.exhausted: Callable[[int, int], bool] | None = None
        """Asked with domain and order whether an extent is to be refused though there may be one."""
        self.held: Counter[int] = Counter()
        self.held_writable: Counter[int] = Counter()
        self.zero_frame = low_frames
        first_m2p = self.zero_frame + 1
        self.m2p_frames = range(first_m2p, first_m2p + -(-ram.nr_frames // _M2P_PER_FRAME))
        self.flat_gdt_frame = self.m2p_frames.stop
        first_free = self.flat_gdt_frame + 1
        self.frames.give(range(low_frames), DomId.IO, ALLOCATED)
        self.frames.give(range(low_frames, first_free), DomId.XEN, ALLOCATED)
        self.m2p[:] = memoryview(array("I", [INVALID_M2P_ENTRY]) * ram.nr_frames)
        ram.write(self.flat_gdt_frame << PAGE_SHIFT, reserved_gdt_page())
        self._pool = FramePool(range(first_free, ram.nr_frames), seed)
        self._m2p_tables: dict[str, Sequence[int]] = {}

    @property
    def m2p(self) -> memoryview:
        """The machine-to-phys table, 32 bits an mfn. Not to be kept: it pins machine memory."""
        first = self.m2p_frames.start * _M2P_PER_FRAME
        return self.ram.words[first : first + self.ram.nr_frames]

    @property
    def pool(self) -> FramePool:
        """The frames nobody has."""
        return self._pool

    @property
    def own_tables(self) -> dict[str, Sequence[int]]:
        """The tables that map the machine-to-phys table, by geometry, as far as they were made."""
        return self._m2p_tables

    def remake_own(self, tables: Mapping[str, Sequence[int]]) -> None:
        """Write once more what the hypervisor's own frames hold: the frame of zeroes, its descriptors, and in
        these frames the tables that map the machine-to-phys table, by geometry. Raises ValueError for frames
        that are too few."""
        self.ram.clear_frame(self.zero_frame)
        self.ram.write(self.flat_gdt_frame << PAGE_SHIFT, reserved_gdt_page())
        for name, mfns in tables.items():
            space = space_named(name)
            if len(mfns) != self._nr_m2p_tables(space):
                raise ValueError(f"{len(mfns)} tables cannot map the machine-to-phys table")
            for mfn in mfns:
                self.ram.clear_frame(mfn)
            self._fill_m2p_tables(space, mfns)
            self._m2p_tables[name] = mfns

    def owners(self) -> Iterator[Owner]:
        """The domains that have memory of this machine."""
        return (domain.memory for domain in self.domains if domain.memory is not None)

    @property
    def nr_free(self) -> int:
        """Frames nobody has."""
        return self._pool.free

    def nr_free_between(self, first: int, end: int) -> int:
        """Free frames from mfn `first` to before `end`."""
        return self._pool.free_between(first, end)

    def free_frames(self) -> set[int]:
        """The frames nobody has, for audits."""
        return self._pool.frames()

    def take(self, domid: int, nr_frames: int, flags: int) -> list[range]:
        """Make free frames `domid`'s, in strided runs, one reference each. MemoryError takes none."""
        runs = self._pool.take(nr_frames)
        for run in runs:
            self.frames.give(run, domid, flags)
        return runs

    def take_contiguous(self, domid: int, order: int, flags: int, limit: int) -> range | None:
        """Make 2**order neighbouring frames below mfn `limit` `domid`'s, or None if there are none."""
        if self.exhausted is not None and self.exhausted(domid, order):
            return None
        if order == 0 and limit >= self.frames.nr_frames:
            return self.take(domid, 1, flags)[0] if self.nr_free else None
        run = self._pool.take_contiguous(order, limit)
        if run is not None:
            self.frames.give(run, domid, flags)
        return run

    def drop(self, run: range) -> None:
        """Undo a `take` that came to nothing: the frames were used by nobody."""
        for mfn in run:
            self.frames.reset(mfn)
        self._pool.give_back(run)

    def free(self, mfns: Iterable[int]) -> None:
        """Drop the owner's own reference to frames; those nobody uses otherwise are free at once."""
        for mfn in mfns:
            self.frames.flags[mfn] &= ~ALLOCATED
            self.types.put_page(mfn)

    def hold(self, mfn: int, domid: int, *, writable: bool) -> None:
        """Keep a domain's frame for a device backend, so that it stays what it is. Raises Refusal
        (-EINVAL).
        """
        if writable:
            self.types.get_page_and_type(mfn, domid, WRITABLE)
            self.held_writable[mfn] += 1
        elif not self.types.get_page(mfn, domid):
            raise Refusal(Errno.EINVAL, f"{self.frames.describe(mfn)} is not a frame of d{domid}")
        self.held[mfn] += 1

    def let_go(self, mfn: int, *, writable: bool) -> None:
        """Undo a `hold`."""
        self.held[mfn] -= 1
        if writable:
            self.held_writable[mfn] -= 1
            self.types.put_page_and_type(mfn)
        else:
            self.types.put_page(mfn)

    def allocate_own(self, nr_frames: int) -> array[int]:
        """Zeroed frames for the hypervisor itself."""
        mfns = array("I")
        for run in self.take(DomId.XEN, nr_frames, ALLOCATED):
            mfns.extend(run)
        return mfns

    def free_own(self, mfns: Iterable[int]) -> None:
        """Give the hypervisor's own frames back."""
        for mfn in mfns:
            self.types.put_page(mfn)

    def m2p_tables(self, space: AddressSpace) -> Sequence[int]:
        """L1 tables that map the machine-to-phys table read-only, one per L2 entry; made once per shape."""
        tables = self._m2p_tables.get(space.geometry.name)
        if tables is None:
            tables = self._make_m2p_tables(space)
            self._m2p_tables[space.geometry.name] = tables
        return tables

    def _make_m2p_tables(self, space: AddressSpace) -> Sequence[int]:
        tables = self.allocate_own(self._nr_m2p_tables(space))
        self._fill_m2p_tables(space, tables)
        return tables

    def _mapped_m2p(self, space: AddressSpace) -> range:
        """The frames of the machine-to-phys table that fit into the address space."""
        return self.m2p_frames[: (DESCRIPTOR_AREA - space.hole) >> PAGE_SHIFT]

    def _nr_m2p_tables(self, space: AddressSpace) -> int:
        return -(-len(self._mapped_m2p(space)) // space.entries)

    def _fill_m2p_tables(self, space: AddressSpace, tables: Sequence[int]) -> None:
        view: memoryview = getattr(self.ram, space.view)
        flags = Pte.PRESENT | Pte.ACCESSED | Pte.DIRTY | space.nx
        for at, mfn in enumerate(self._mapped_m2p(space)):
            table, slot = divmod(at, space.entries)
            view[(tables[table] << space.table_shift) + slot] = mfn << PAGE_SHIFT | flags

    def _released(self, mfn: int) -> None:
        """The last reference to a frame is gone: erase it, then it may be anybody's."""
        owner, flags = self.frames.owner[mfn], self.frames.flags[mfn]
        domain = self.types.owner(owner)
        if domain is not None:
            if flags & XEN_HEAP:
                domain.xen_frames -= 1
            else:
                domain.tot_pages -= 1
            domain.flush_tlb()
            if domain.dying and not domain.tot_pages and not domain.xen_frames:
                self.domains.leave(owner)
        self.scrub(mfn)
        self.frames.reset(mfn)
        self._pool.give_back((mfn,))

    def _free_unused(self, domain: Owner, run: range) -> None:
        """Free, all at once, those frames of a run of a domain's that nobody uses for anything and that only
        it has a reference to: after its tables nearly all of its memory. That they are free is all that
        anybody has to hear of it. What is in use is found by halving."""
        if not self.frames.unused(run):
            if len(run) > 1:
                self._free_unused(domain, run[: len(run) // 2])
                self._free_unused(domain, run[len(run) // 2 :])
            return
        self.ram.clear_frames(run)
        unnumbered = memoryview(array("I", [INVALID_M2P_ENTRY]) * len(run))
        self.m2p[run.start : run.stop : run.step] = unnumbered
        self.frames.reset_all(run)
        self._pool.give_back_run(run)
        domain.tot_pages -= len(run)

    def scrub(self, mfn: int) -> None:
        """Erase a frame, what was translated from it, and its pseudo-physical number."""
        self.ram.clear_frame(mfn)
        self.ram.words[self.m2p_frames.start * _M2P_PER_FRAME + mfn] = INVALID_M2P_ENTRY

    def release_domain(self, domain: Owner) -> None:
        """Unpin and free everything a domain owns, once no vcpu of it uses anything any more.

        The domain leaves with its last frame: here, or when those who hold some of them let go.
        """
        frames, domid = self.frames, domain.domid
        owned = frames.owned(domid, self._pool.window)
        for run in owned:
            for mfn in frames.pinned(run):
                frames.flags[mfn] &= ~PINNED
                self.types.put_page_and_type(mfn)
        for run in owned:
            self._free_unused(domain, run)
        for mfn in chain.from_iterable(frames.owned(domid, self._pool.window)):
            if frames.owner[mfn] == domid and frames.flags[mfn] & ALLOCATED:
                frames.flags[mfn] &= ~ALLOCATED
                self.types.put_page(mfn)
            if frames.owner[mfn] == domid and frames.flags[mfn] & (XEN_HEAP | LEAVING) == XEN_HEAP:
                frames.flags[mfn] |= LEAVING
                frames.type_count[mfn] -= 1
                self.types.put_page(mfn)
        if self.types.owner(domid) is domain and not domain.tot_pages and not domain.xen_frames:
            self.domains.leave(domid)
