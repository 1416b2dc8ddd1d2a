"""How the engine is made to trap after one instruction without the guest's knowing.

A guest steps by EFLAGS.TF, which it can read, save and clear. The engine translates by a copy of that flag
among its cached ones, and those no instruction of the guest reads or writes: set there alone, every
instruction is followed by #DB and EFLAGS stay what they are. `step_flag` finds out whether that is so.
"""

import ctypes
import mmap
from functools import cache
from typing import Final

from paravane.cpu.engine import library as api
from paravane.cpu.engine import numbers
from paravane.cpu.engine.context_offsets import context_layout
from paravane.cpu.engine.errors import EngineError
from paravane.cpu.engine.live import open_engine
from paravane.x86 import Eflags, Vector

_CODE, _STACK, _SIZE = 0x1000, 0x2000, 0x2000
# pushf; popf; inc %eax: flags go to memory and come back, and after each of the three there is a trap.
_PROGRAM: Final = bytes.fromhex("9c9d40")


@cache
def step_flag() -> int:
    """The mask of that flag in the word of cached flags. EngineError where it does not do this."""
    flag = int(Eflags.TF)
    memory = mmap.mmap(-1, _SIZE)
    anchor = ctypes.c_char.from_buffer(memory)
    engine = open_engine()
    engine.map(0, _SIZE, ctypes.addressof(anchor))
    del anchor
    memory[_CODE : _CODE + len(_PROGRAM)] = _PROGRAM
    try:
        traps = _traps(engine, flag)
        pushed = int.from_bytes(memory[_STACK - 4 : _STACK], "little")
    finally:
        engine.close()
        memory.close()
    if traps != [(Vector.DB, _CODE + 1 + at) for at in range(3)] or pushed & flag:
        raise EngineError("this release of the engine cannot be made to step unseen by its guest")
    return flag


def _traps(engine: api.Engine, flag: int) -> list[tuple[int, int]]:
    """Vector and EIP of the first three traps of the program when `flag` is set among the cached flags."""
    layout, seen = context_layout(), list[tuple[int, int]]()

    def on_trap(_uc: int, vector: int, _user: int) -> None:
        engine.save()
        seen.append((vector, engine.words[layout.eip]))
        engine.words[layout.old_exception] = 0xFFFFFFFF
        engine.restore()
        if len(seen) == len(_PROGRAM):
            engine.stop()

    engine.hook(numbers.UC_HOOK_INTR, api.INTERRUPT_HOOK, on_trap)
    engine.write_register(numbers.UC_X86_REG_ESP, _STACK)
    engine.save()
    engine.words[layout.hflags] |= flag
    engine.restore()
    engine.start(_CODE)
    return seen
