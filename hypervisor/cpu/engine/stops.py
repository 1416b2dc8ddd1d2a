"""Makes a stop from another thread land between instructions.

The engine looks for a stop request at the start of each translated block and, left alone, after every
memory access as well. There it goes back to the start of the instruction, whose store has been done: an
`incl (mem)` interrupted so is executed twice. The engine has a switch that leaves those checks out of the
code it generates (its own translators use it for instructions that must not be split), but no call to set it.

`whole_blocks_switch` finds that switch by experiment, among the bytes of the engine's own structure that lie
where it should be relative to values the API tells, and believes in it only when setting it does what it
should. An engine where it cannot be found is refused.
"""

import ctypes
import mmap
from collections.abc import Iterator
from functools import cache

from paravane.cpu.engine import library as api
from paravane.cpu.engine import numbers
from paravane.cpu.engine.errors import EngineError

# Before the switch: the size of the context's payload, padding, an 8-byte program counter, two flags. After
# it the flag that says the engine is initialised.
_SIZE_TO_SWITCH = 4 + 4 + 8 + 2
_CONTEXT_HEADER = 256
_CODE, _DATA, _SIZE = 0x1000, 0x2000, 0x4000
# mov %eax, 0x2000; inc %ecx; inc %ecx; jmp .
_STORE_THEN_COUNT = bytes.fromhex("a300200000 41 41 ebfe")


@cache
def whole_blocks_switch() -> int:
    """Offset in bytes, from the engine's handle, of the switch. EngineError when it is not found."""
    probe = _Probe()
    try:
        for offset in probe.candidates():
            if probe.works(offset):
                return offset
    finally:
        probe.close()
    raise EngineError(
        "this release of the engine cannot be made to stop between instructions: its structure is not the "
        "expected one"
    )


def end_runs_between_blocks(engine: api.Engine, on: bool) -> None:
    """Whether code that `engine` translates from now on can be left between blocks only."""
    engine.poke(whole_blocks_switch(), int(on))


class _Probe:
    """A scratch engine that stores a word, then counts in ECX; a hook on the store asks it to stop."""

    def __init__(self) -> None:
        self._engine = api.Engine()
        self._memory = mmap.mmap(-1, _SIZE)
        anchor = ctypes.c_char.from_buffer(self._memory)
        self._engine.map(0, _SIZE, ctypes.addressof(anchor))
        del anchor
        self._memory[_CODE : _CODE + len(_STORE_THEN_COUNT)] = _STORE_THEN_COUNT
        self._engine.hook(
            numbers.UC_HOOK_MEM_WRITE,
            api.MEMORY_HOOK,
            lambda *_: self._engine.stop(),
            begin=_DATA,
            end=_DATA + 3,
        )

    def close(self) -> None:
        self._engine.close()
        self._memory.close()

    def candidates(self) -> Iterator[int]:
        """Offsets that look right: all that surrounds the switch has its value."""
        raw = self._engine.structure()
        largest = self._engine.context_size
        for at in range(0, len(raw) - _SIZE_TO_SWITCH - 2, 4):
            payload = int.from_bytes(raw[at : at + 4], "little")
            switch = at + _SIZE_TO_SWITCH
            before, after = raw[at + 8 : switch - 1], raw[switch + 1]
            neighbours = before == bytes(9) and raw[switch - 1] < 2 and after == 1
            if largest - _CONTEXT_HEADER <= payload <= largest and neighbours and raw[switch] == 0:
                yield switch

    def works(self, offset: int) -> bool:
        """Whether, after a stop inside a block, the rest of it runs with the switch on and only then."""
        if self._counted() != 0:
            return False
        self._engine.poke(offset, 1)
        if self._counted() == 2:
            return True
        self._engine.poke(offset, 0)
        return False

    def _counted(self) -> int:
        self._engine.flush_code()
        self._engine.write_register(numbers.UC_X86_REG_ECX, 0)
        self._engine.start(_CODE)
        return self._engine.read_register(numbers.UC_X86_REG_ECX)
