"""Where the engine keeps its processor's state, to read and write it in place.

The API's way to the whole state is a copy out and a copy back, 5 KiB each, which together cost as much as all
else that a trap needs. The state itself lies in an object that the engine's own structure points to. `find`
looks for it by content: general registers written through the API, with everything around them equal to a
copy that the API gives. Only an object that holds all of it counts, so that the distance is the same in every
engine, and only if API and place see each other's writes, in two engines. Memory is searched through the
operating system, which answers for an address that is not mapped instead of ending the process. Where this
cannot be done or finds nothing, copies do.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import closing
from functools import cache

from paravane.cpu.engine import library as api
from paravane.cpu.engine.library import Engine, LiveState

_MARKS = tuple(0x51A7_E000 + 0x111 * index for index in range(1, 9))
_BLOCK = b"".join(mark.to_bytes(8, "little") for mark in _MARKS)
_BLOCK_SIZES = range(1 << 12, 1 << 19)
_LONGEST_HEADER = 256


def open_engine() -> Engine:
    """An engine whose state is seen in place, where that is possible."""
    return Engine(find())


@cache
def find() -> LiveState | None:
    """Where to look in any engine of this process; None where it cannot be told."""
    try:
        memory = os.open("/proc/self/mem", os.O_RDONLY)
    except OSError:
        return None
    try:
        with closing(Engine()) as engine, closing(Engine()) as another:
            for found in _candidates(engine, memory):
                if _works(engine, found) and _works(another, found):
                    return found
    finally:
        os.close(memory)
    return None


def _candidates(engine: Engine, memory: int) -> Iterator[LiveState]:
    """Objects of the heap that hold, now, exactly what a copy of the state holds."""
    for number, mark in zip(api.GPRS, _MARKS, strict=True):
        engine.write_register(number, mark)
    engine.save()
    copy = engine.copy.tobytes()
    in_copy = copy.find(_BLOCK)
    structure = engine.structure()
    for offset in range(0, len(structure) - 7, 8):
        pointer = int.from_bytes(structure[offset : offset + 8], "little")
        found = _heap_block(memory, pointer)
        start = found.find(_BLOCK) - in_copy
        if in_copy >= 0 and start >= 0:
            header = _header(copy, found[start : start + len(copy)])
            if header is not None:
                yield LiveState(offset, start + header, header)


def _heap_block(memory: int, pointer: int) -> bytes:
    """The heap block at `pointer`, or what looks like one; nothing where there is none of a fitting size.

    The C library keeps a block's size, with three flag bits, in the word before it.
    """
    if not 8 < pointer < 1 << 47:
        return b""
    try:
        size = int.from_bytes(os.pread(memory, 8, pointer - 8), "little") & ~7
        return os.pread(memory, size - 8, pointer) if size - 8 in _BLOCK_SIZES else b""
    except OSError:
        return b""


def _header(copy: bytes, found: bytes) -> int | None:
    """From which byte on the two agree to the end: the context has a header of its own."""
    for header in range(8, _LONGEST_HEADER, 8):
        if copy[header:] == found[header:]:
            return header
    return None


def _works(engine: Engine, where: LiveState) -> bool:
    """Whether the API and the place see each other's writes."""
    for number, mark in zip(api.GPRS, _MARKS, strict=True):
        engine.write_register(number, mark)
    start = engine.state_address(where)
    payload = (ctypes.c_uint8 * (engine.context_size - where.header)).from_address(start)
    at = bytes(payload).find(_BLOCK)
    if at < 0:
        return False
    register = ctypes.c_uint32.from_address(start + at)
    register.value = 0x600D
    if engine.read_register(api.GPRS[0]) != 0x600D:
        return False
    engine.write_register(api.GPRS[0], 0xCAFE)
    return register.value == 0xCAFE
