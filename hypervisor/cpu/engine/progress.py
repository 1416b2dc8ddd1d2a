"""How many instructions of its budget a run has used.

The engine counts them to end the run in time, but has no call that tells. The count lies in the engine's own
structure, in front of the budget; `counter_place` finds the two by experiment, and an engine where they are
not found is refused.
"""

import ctypes
import mmap
from functools import cache

from paravane.cpu.engine import library as api
from paravane.cpu.engine.errors import EngineError

_CODE, _SIZE = 0x1000, 0x2000
# Two budgets: a pair of words that follows both is no coincidence.
_BUDGETS = (0x51A7, 0x2B5)


def instructions_begun(engine: api.Engine) -> int:
    """Of the last run, which must have had a budget: the instructions that it began."""
    assert engine.handle.value is not None
    begun: int = ctypes.c_uint64.from_address(engine.handle.value + counter_place()).value
    return begun


@cache
def counter_place() -> int:
    """Offset in bytes, from the engine's handle, of the count. EngineError when it is not found."""
    memory = mmap.mmap(-1, _SIZE)
    engine = api.Engine()
    anchor = ctypes.c_char.from_buffer(memory)
    engine.map(0, _SIZE, ctypes.addressof(anchor))
    del anchor
    memory[_CODE : _CODE + 2] = b"\xeb\xfe"  # jmp .
    try:
        places = set.intersection(*(_places(engine, budget) for budget in _BUDGETS))
    finally:
        engine.close()
        memory.close()
    if len(places) != 1:
        raise EngineError(
            "this release of the engine does not tell how far a run has come: its structure is new"
        )
    return places.pop()


def _places(engine: api.Engine, budget: int) -> set[int]:
    """Where the structure has the count of a run that used `budget` up, and after it the budget: the engine
    ends a run as it counts the first instruction too many."""
    engine.start(_CODE, budget)
    raw = engine.structure()
    mark = (budget + 1).to_bytes(8, "little") + budget.to_bytes(8, "little")
    return {at for at in range(0, len(raw) - 15, 8) if raw[at : at + 16] == mark}
