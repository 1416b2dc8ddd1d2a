"""What was found out about the engine in this process, for `paravane --version -v` and bug reports."""

from importlib import import_module

from paravane.cpu.engine import fill_place, guard, library
from paravane.cpu.engine.bounds import bounds_place
from paravane.cpu.engine.context_offsets import ContextLayout, context_layout
from paravane.cpu.engine.exits import pointer_place
from paravane.cpu.engine.library import LiveState
from paravane.cpu.engine.live import find
from paravane.cpu.engine.progress import counter_place
from paravane.cpu.engine.stepping import step_flag
from paravane.cpu.engine.stops import whole_blocks_switch


def engine_report() -> list[str]:
    """One line for each finding, without line ends; looks for all of them now. EngineError when the engine is
    one that this code does not know."""
    place, layout = find(), context_layout()
    state = (
        f"in place, {place.state:#x} bytes into the object at {place.pointer:#x} of its structure"
        if place is not None
        else "through copies: it was not found in memory"
    )
    missing = guard.why_not()
    survived = f"no: that takes {missing}" if missing else "yes"
    # What is installed takes a parser of mail to read, which no boot needs.
    version: str = import_module("importlib.metadata").version("unicorn")
    return [
        f"engine: Unicorn {version}",
        f"processor state: {state}",
        *_offsets(layout),
        f"stops between instructions: switch at {whole_blocks_switch():#x} of its structure",
        f"stops that leave no hook out: {_block_exit(place)}",
        f"instructions of a run: counted at {counter_place():#x} of its structure",
        f"forgets one translation alone: {_page_flush(place)}",
        f"TLB filled by code in C: {_fill(place)}",
        f"bounds of hooks: at {bounds_place():#x} of a hook's record",
        f"steps unseen by its guest: by {step_flag():#x} of the cached flags",
        f"survives its own deaths: {survived}",
    ]


def _fill(place: LiveState | None) -> str:
    found = fill_place.find(place)
    if isinstance(found, str):
        return f"no: {found}"
    return f"where there is any, by the pointer {found.pointer:#x} past the state"


def _page_flush(place: LiveState | None) -> str:
    if place is None:
        return "no: that takes the processor's state in place"
    return "yes" if library.exports_page_flush() else "no: the library does not export it"


def _block_exit(place: LiveState | None) -> str:
    offset = None if place is None else pointer_place(place)
    return (
        "no: a breakpoint may be passed" if offset is None else f"by the pointer {offset:#x} past the state"
    )


def _offsets(layout: ContextLayout) -> list[str]:
    names = ("regs", "eip", "eflags", "flags", "hflags", "cr0", "cr2", "cr3", "dr")
    faults = ("error_code", "is_int", "old_exception")
    words = " ".join(f"{name} {4 * getattr(layout, name):#x}" for name in names + faults)
    segments = " ".join(f"{name} {4 * slot.selector:#x}" for name, slot in layout.segments.items())
    masks = ("cs32", "ss32", "addseg", "io_break", "inhibit")
    bits = " ".join(f"{name} {getattr(layout, name):#x}" for name in masks)
    return [f"offsets in it: {words}", f"segment registers: {segments}", f"cached flags: {bits}"]
