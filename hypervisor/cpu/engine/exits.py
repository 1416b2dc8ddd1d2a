"""Ends a run from another thread where a block ends, and leaves no hook out before.

The engine's own stop sets two things: a request that its hooks look at, and one that each block looks at as
it begins. From another thread the first one comes in the middle of a block, whose remaining instructions are
then executed without their hooks: a breakpoint among them is passed, and what the engine gets wrong unless a
hook prevents it goes wrong. So only the second one is made (`cpu_exit`, which the library exports), and the
stop itself when the engine has left its blocks: it calls a function of its processor's class there, whose
pointer is ours from the request on until it was called.

That pointer is found by what it points to, and believed in only when a scratch engine stops as it should. A
library that does not export the functions has none, and neither has an engine whose processor is not found in
memory (`paravane.cpu.engine.live`).
"""

import ctypes
import mmap
from collections.abc import Callable
from contextlib import closing
from functools import cache
from typing import Final

from paravane.cpu.engine import library as api
from paravane.cpu.engine import numbers
from paravane.cpu.engine.host_signals import address
from paravane.cpu.engine.library import Engine, LiveState
from paravane.cpu.engine.stops import end_runs_between_blocks

_REQUEST, _ENTERED, _LEFT = "cpu_exit", "x86_cpu_exec_enter_x86_64", "x86_cpu_exec_exit_x86_64"
_POINTER: Final = 8
_CLASS_FUNCTION: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_library: Final = ctypes.PyDLL(api.PATH)

_CODE, _SIZE = 0x1000, 0x2000
_PROGRAM: Final = bytes.fromhex("40 40 40 ebfe")  # inc %eax, three times; jmp .


class BlockExit:
    """The way out of one engine's blocks."""

    def __init__(self, engine: Engine, pointer: int, wanted: Callable[[], bool]) -> None:
        """`pointer` is the address of the class's pointer. `wanted` is asked as the engine leaves its blocks,
        for whatever reason, whether the run is to end: a request may have come too late for the one it was
        made for."""
        self._engine = engine
        self._wanted = wanted
        self._pointer = ctypes.c_size_t.from_address(pointer)
        self._original = self._pointer.value
        self._call_original = _CLASS_FUNCTION(self._original)
        self._ours = _CLASS_FUNCTION(self._left)
        self._our_address = address(self._ours)
        self._processor = ctypes.c_void_p(engine.processor)

    def ask(self) -> None:
        """Have the run end at its next block. Any thread; lost if the run is just being entered."""
        self._pointer.value = self._our_address
        _library.cpu_exit(self._processor)

    def _left(self, processor: int) -> None:
        self._pointer.value = self._original
        self._call_original(processor)
        if self._wanted():
            self._engine.stop()


def block_exit(engine: Engine, wanted: Callable[[], bool]) -> BlockExit | None:
    """That of `engine`; None where there is no other way than the engine's own stop. See `BlockExit`."""
    place = engine.place
    if place is None:
        return None
    offset = pointer_place(place)
    return None if offset is None else BlockExit(engine, engine.state_address(place) + offset, wanted)


@cache
def pointer_place(place: LiveState) -> int | None:
    """Bytes from a processor's state, which is at `place`, to the pointer; None where it is not found."""
    if not all(hasattr(_library, name) for name in (_REQUEST, _ENTERED, _LEFT)):
        return None
    memory = mmap.mmap(-1, _SIZE)
    memory[_CODE : _CODE + len(_PROGRAM)] = _PROGRAM
    try:
        with closing(Engine(place)) as engine:
            anchor = ctypes.c_char.from_buffer(memory)
            engine.map(0, _SIZE, ctypes.addressof(anchor))
            del anchor
            offset = _find(engine)
            return offset if offset is not None and _works(engine, place, offset) else None
    finally:
        memory.close()


def _find(engine: Engine) -> int | None:
    """Where the two functions' addresses are, one after the other; None unless that is at one place."""
    entered, left = (address(getattr(_library, name)) for name in (_ENTERED, _LEFT))
    pair = entered.to_bytes(_POINTER, "little") + left.to_bytes(_POINTER, "little")
    rest = engine.past_state()
    return rest.index(pair) + _POINTER if rest.count(pair) == 1 else None


def _works(engine: Engine, place: LiveState, offset: int) -> bool:
    """Whether a request at the first of two hooked instructions leaves the second one its hook, and ends the
    run after that."""
    out = BlockExit(engine, engine.state_address(place) + offset, lambda: True)
    seen: list[int] = []

    def reached(_uc: int, at: int, _size: int, _user: int) -> None:
        seen.append(at)
        if at == _CODE:
            out.ask()

    for at in (_CODE, _CODE + 2):
        engine.hook(numbers.UC_HOOK_CODE, api.CODE_HOOK, reached, begin=at, end=at)
    end_runs_between_blocks(engine, True)
    engine.start(_CODE)
    return seen == [_CODE, _CODE + 2]
