"""Where the engine keeps the pointer to its TLB fill, the function that walks the guest's page tables.

It calls it through that pointer for each linear address that its software TLB does not know, and has another
such function of its own, for a TLB that its user fills: switched to that one, the pointer changes, while a
copy beside it stays. `find` looks for the two by the addresses of what they point to, which the library
exports, and believes in the place only when a function put there is called as expected, for the right
accesses, and what it then has the engine remember (`set_page`) has the rights that it said. Where any of it
is missing the engine walks the tables itself.
"""

import ctypes
import mmap
from contextlib import closing
from functools import cache
from typing import Any, Final

from paravane.classes import NamedTuple
from paravane.cpu.engine import library as api
from paravane.cpu.engine.context_offsets import context_layout
from paravane.cpu.engine.host_signals import address
from paravane.cpu.engine.library import Engine, LiveState

READ: Final = 1
WRITE: Final = 2
EXECUTE: Final = 4
WRITE_ONCE: Final = 0x40
"""With WRITE: the next store there fills the TLB again."""
LOAD, STORE, FETCH = range(3)
"""Accesses."""
USER: Final = 1
KERNEL: Final = 2
"""The engine's TLBs: that of ring 3, and that of the others (without CR4.SMAP)."""

FILL: Final = ctypes.CFUNCTYPE(
    ctypes.c_bool,
    ctypes.c_void_p,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_bool,
    ctypes.c_size_t,
)
_OWN, _OTHER = "x86_cpu_tlb_fill_x86_64", "unicorn_fill_tlb_x86_64"
_SET_PAGE, _FLUSH = "tlb_set_page_x86_64", "tlb_flush_x86_64"
_POINTER: Final = 8
_PAGE: Final = 0x1000
_library: Final = ctypes.PyDLL(api.PATH)

# Linear pages, the frame that the second one is mapped to, and the size of memory.
_CODE, _DATA, _STORES, _FRAME, _SIZE = 0x1000, 0x2000, 0x4000, 0x3000, 0x5000
_MARK: Final = b"\x11\xe1\xa7\x51"
_FAR: Final = 0x10
# mov 0x2000, %eax; mov %eax, 0x2004; jmp 0x2010
_PROGRAM: Final = bytes.fromhex("a100200000 a304200000 e901100000")
# mov %eax, 0x4008; mov %eax, 0x400c; jmp .
_FAR_PROGRAM: Final = bytes.fromhex("a308400000 a30c400000 ebfe")
# Linear address and access of each call that is expected, in their order: frame and rights to answer with.
_ANSWERS: Final = {
    (_CODE, FETCH): (_CODE, READ | EXECUTE),
    (_DATA, LOAD): (_FRAME, READ | WRITE),
    (_DATA + _FAR, FETCH): (_FRAME, READ | EXECUTE),
    (_STORES + 8, STORE): (_STORES, READ | WRITE | WRITE_ONCE),
    (_STORES + 12, STORE): (_STORES, READ | WRITE),
}


class FillPlace(NamedTuple):
    """Bytes from a processor's state to the pointer; addresses, in this process, of functions."""

    pointer: int
    own: int
    set_page: int
    flush: int


class FillSwap:
    """Another function in the place of an engine's own TLB fill."""

    def __init__(self, engine: Engine, place: FillPlace, function: Any) -> None:
        """`function` is one of C, of the type FILL."""
        assert engine.place is not None
        self._function = function
        self._pointer = ctypes.c_size_t.from_address(engine.state_address(engine.place) + place.pointer)
        self._own = place.own
        self._pointer.value = address(function)
        # Whatever was filled before was not filled by it.
        engine.flush_tlb()

    def undo(self) -> None:
        """Have the engine call its own again. It must be open."""
        self._pointer.value = self._own


@cache
def find(place: LiveState | None) -> FillPlace | str:
    """For processors whose state is at `place`; or what is missing."""
    if place is None:
        return "the processor's state is not seen in place"
    names = (_OWN, _OTHER, _SET_PAGE, _FLUSH)
    unexported = next((name for name in names if not hasattr(_library, name)), None)
    if unexported is not None:
        return f"the library does not export {unexported}"
    own, other, set_page, flush = (address(getattr(_library, name)) for name in names)
    memory = mmap.mmap(-1, _SIZE)
    try:
        with closing(Engine(place)) as engine:
            anchor = ctypes.c_char.from_buffer(memory)
            engine.map(0, _SIZE, ctypes.addressof(anchor))
            del anchor
            offset = _find(engine, own, other)
            if offset is None:
                return "the engine keeps its TLB fill elsewhere"
            found = FillPlace(offset, own, set_page, flush)
            if not all(_works(engine, found, memory, ring) for ring in (0, 3)):
                return "the engine calls its TLB fill in a way that is not known"
            return found
    finally:
        memory.close()


def _find(engine: Engine, own: int, other: int) -> int | None:
    """Where the pointer is and, after it, its copy; None unless that is at one place."""
    tail = engine.past_state()
    pair = own.to_bytes(_POINTER, "little") * 2
    if tail.count(pair) != 1:
        return None
    offset = tail.index(pair)
    engine.fill_tlb_by_hook(True)
    switched = engine.past_state()[offset : offset + 2 * _POINTER]
    engine.fill_tlb_by_hook(False)
    return offset if switched == other.to_bytes(_POINTER, "little") + pair[_POINTER:] else None


def _works(engine: Engine, found: FillPlace, memory: mmap.mmap, ring: int) -> bool:
    """Whether a function at that place is called, in that ring, for what has no translation, then only."""
    calls: list[tuple[int, int, int]] = []
    set_page: Any = getattr(_library, _SET_PAGE)

    def fill(
        processor: int, linear: int, _size: int, access: int, index: int, _probe: bool, _pc: int
    ) -> bool:
        calls.append((linear, access, index))
        # Whatever is not expected is the last one as well, and may do anything.
        frame, rights = _ANSWERS.get((linear, access), (linear & -_PAGE, READ | WRITE | EXECUTE))
        if len(calls) == len(_ANSWERS) or (linear, access) not in _ANSWERS:
            engine.stop()
        set_page(
            ctypes.c_void_p(processor),
            ctypes.c_uint64(linear & -_PAGE),
            ctypes.c_uint64(frame),
            ctypes.c_int(rights),
            ctypes.c_int(index),
            ctypes.c_uint64(_PAGE),
        )
        return True

    memory[:] = bytes(_SIZE)
    memory[_CODE : _CODE + len(_PROGRAM)] = _PROGRAM
    memory[_FRAME : _FRAME + 4] = _MARK
    memory[_FRAME + _FAR : _FRAME + _FAR + len(_FAR_PROGRAM)] = _FAR_PROGRAM
    layout = context_layout()
    engine.words[layout.hflags] = engine.words[layout.hflags] & ~layout.cpl_mask | ring
    engine.flush_code()
    swap = FillSwap(engine, found, FILL(fill))
    try:
        engine.start(_CODE)
    finally:
        swap.undo()
    index = USER if ring else KERNEL
    stored = (memory[at : at + 4] for at in (_FRAME + 4, _STORES + 8, _STORES + 12))
    return calls == [(*call, index) for call in _ANSWERS] and all(word == _MARK for word in stored)
