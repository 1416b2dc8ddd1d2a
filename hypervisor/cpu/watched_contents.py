"""What is in watched memory, to find stores that no instruction of the processor made."""

from paravane.classes import NamedTuple
from paravane.cpu.debugger import Watched
from paravane.cpu.geometry import PAGE_MASK
from paravane.cpu.state import ProcessorState
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE


class Contents(NamedTuple):
    """The machine addresses of a watched range, a run of bytes in each page that is there, and the bytes.
    `whole`: no page was missing."""

    places: tuple[tuple[int, int], ...]
    data: bytes
    whole: bool

    def changed_to(self, later: "Contents") -> bool:
        """Whether something was stored. What another page is mapped over has not changed."""
        return self.places == later.places and self.data != later.data


def contents(cpu: ProcessorState, watched: Watched) -> Contents:
    """What is in a watched range now, through the page tables that `cpu` is on."""
    places, at, end = [], watched.start, watched.start + watched.size
    while at < end:
        size = min(end - at, PAGE_SIZE - (at & PAGE_MASK))
        mfn = cpu.frame_at(at)
        if mfn is not None:
            places.append(((mfn << PAGE_SHIFT) + (at & PAGE_MASK), size))
        at += size
    data = b"".join(cpu.ram.bytes[start : start + size] for start, size in places)
    return Contents(tuple(places), data, len(data) == watched.size)
