"""What the frames of a machine hold, as far as it is not zero, each content once."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from paravane.abi.domid import DomId
from paravane.classes import dataclass
from paravane.memory.frames import FREE
from paravane.snapshot.errors import SnapshotError
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from paravane.memory import MachineMemory

_ZERO: Final = bytes(PAGE_SIZE)


@dataclass(frozen=True, slots=True)
class Pages:
    """Frames that are not all zero (`frames`, 32-bit numbers) and which of the pages in `contents`, counted
    from 0, each of them holds (`which`, 32-bit numbers too)."""

    frames: bytes
    which: bytes
    contents: bytes


def save_pages(machine: MachineMemory) -> Pages:
    """Those of guests, and the machine-to-phys table. What the hypervisor's own frames hold besides is made
    anew, and free frames are empty."""
    memory, owners = machine.ram.bytes, machine.frames.owner
    frames, which = array("I"), array("I")
    numbers: dict[bytes, int] = {}
    own = {FREE, int(DomId.XEN), int(DomId.IO)}
    guests = [mfn for mfn, owner in enumerate(owners) if owner not in own]
    for mfn in (*machine.m2p_frames, *guests):
        page = memory[mfn << PAGE_SHIFT : mfn + 1 << PAGE_SHIFT].tobytes()
        if page != _ZERO:
            frames.append(mfn)
            which.append(numbers.setdefault(page, len(numbers)))
    return Pages(frames.tobytes(), which.tobytes(), b"".join(numbers))


def load_pages(machine: MachineMemory, pages: Pages) -> None:
    """Fill the frames of a machine that holds nothing yet. Raises SnapshotError for those that it does not
    have, or that are its own."""
    memory, nr_frames = machine.ram.bytes, machine.ram.nr_frames
    contents, nr_pages = memoryview(pages.contents), len(pages.contents) >> PAGE_SHIFT
    if len(pages.frames) != len(pages.which) or len(pages.frames) % 4 or len(contents) % PAGE_SIZE:
        raise SnapshotError("the snapshot is damaged: its pages are not whole")
    first = machine.zero_frame
    for mfn, page in zip(array("I", pages.frames), array("I", pages.which), strict=True):
        if not first < mfn < nr_frames or page >= nr_pages:
            raise SnapshotError(f"the snapshot is damaged: there is no frame {mfn:#x} for its page {page}")
        start = page << PAGE_SHIFT
        memory[mfn << PAGE_SHIFT : mfn + 1 << PAGE_SHIFT] = contents[start : start + PAGE_SIZE]
