"""What is known of machine memory, as plain data to keep and put back; what the frames hold is not part of
it.

Everything that says which frame is what is checked on the way back as far as its numbers go, so that nothing
reaches beyond a table. Whether it agrees with what the page tables say is for an audit to find out.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass
from paravane.memory.frames import FrameType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane.abi.e820 import E820Entry
    from paravane.memory.frames import FrameTable
    from paravane.memory.machine_memory import MachineMemory
    from paravane.memory.pool import PoolState

_COLUMNS: Final = ("owner", "type", "type_count", "count", "flags", "linear")


@dataclass(frozen=True, slots=True)
class FrameTableState:
    """The columns of the frame table, each as its bytes."""

    owner: bytes
    type: bytes
    type_count: bytes
    count: bytes
    flags: bytes
    linear: bytes


@dataclass(frozen=True, slots=True)
class MemoryState:
    """One machine's: the frame table and the free frames, those that backends hold and those that are lent to
    other domains, with how often, and the tables that map the machine-to-phys table, by geometry."""

    frames: FrameTableState
    pool: PoolState
    held: dict[int, int]
    held_writable: dict[int, int]
    lent: dict[int, int]
    m2p_tables: dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class DomainMemoryState:
    """One domain's; see `Owner`. `area_tables` are the frames of the tables that map its descriptor area."""

    max_pages: int
    tot_pages: int
    xen_frames: int
    target: int
    vm_assist: int
    e820: tuple[E820Entry, ...]
    area_tables: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class InstalledState:
    """One vcpu's; see `Installed`."""

    base_mfn: int
    gdt_frames: tuple[int, ...]
    gdt_entries: int
    ldt_base: int
    ldt_entries: int
    ldt_frames: dict[int, int]


def save(machine: MachineMemory) -> MemoryState:
    frames = machine.frames
    return MemoryState(
        FrameTableState(*(bytes(getattr(frames, name)) for name in _COLUMNS)),
        machine.pool.save(),
        dict(+machine.held),
        dict(+machine.held_writable),
        dict(machine.ram.lent),
        {name: tuple(tables) for name, tables in machine.own_tables.items()},
    )


def restore(machine: MachineMemory, state: MemoryState) -> None:
    """Have all frames be what was saved. Raises ValueError, a sentence, for numbers that cannot be."""
    _restore_frames(machine.frames, state.frames)
    machine.pool.restore(state.pool)
    for counts, kept in (
        (machine.held, state.held),
        (machine.held_writable, state.held_writable),
        (machine.ram.lent, state.lent),
    ):
        check_frames(machine, kept)
        counts.clear()
        counts.update(Counter(kept))


def check_frames(machine: MachineMemory, mfns: Iterable[int]) -> None:
    """Raises ValueError where one of them is not there."""
    wrong = next((mfn for mfn in mfns if not 0 <= mfn < machine.frames.nr_frames), None)
    if wrong is not None:
        raise ValueError(f"the machine has no frame {wrong:#x}")


def check_own(machine: MachineMemory, mfns: Iterable[int], owner: int) -> None:
    """Raises ValueError where one of them is not there, or belongs to somebody else."""
    mfns = tuple(mfns)
    check_frames(machine, mfns)
    for mfn in mfns:
        if machine.frames.owner[mfn] != owner:
            raise ValueError(f"{machine.frames.describe(mfn)} is not what it is said to be")


def _restore_frames(frames: FrameTable, state: FrameTableState) -> None:
    for name in _COLUMNS:
        column, kept = getattr(frames, name), getattr(state, name)
        if len(kept) != len(column) * memoryview(column).itemsize:
            raise ValueError(f"the frame table has {len(kept)} bytes of {name} for {frames.nr_frames} frames")
        memoryview(column).cast("B")[:] = kept
    if max(frames.type) > max(FrameType):
        raise ValueError(f"there is no type {max(frames.type)} of frames")
