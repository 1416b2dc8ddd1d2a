"""Hooks that can be pointed elsewhere while the guest runs.

The engine compares an address with a hook's bounds each time, but has no call to change them, and a hook that
is deleted stays in its lists until the run ends. `MovableHook` stores new bounds where the engine keeps them.
That place is found by experiment and believed in only when the hook follows.
"""

import ctypes
import mmap
from functools import cache
from typing import Any

from paravane.cpu.engine import library as api
from paravane.cpu.engine import numbers
from paravane.cpu.engine.errors import EngineError

# Bounds that no 32-bit address lies in.
_NOWHERE = 0x5AFE_0000_0000
# Enough of the engine's record of a hook: it starts with a few numbers, then come the bounds.
_RECORD = 64
_CODE, _SIZE = 0x1000, 0x2000


class MovableHook:
    """A raw hook that starts out nowhere. Code that is to call it must be translated anew."""

    def __init__(self, engine: api.Engine, kind: int, callback: Any) -> None:
        """`callback` is a C function, of the type that `kind` asks for."""
        self._engine = engine
        self._hook = engine.add_hook(kind, callback, begin=_NOWHERE, end=_NOWHERE)
        at = self._hook + bounds_place()
        self._begin, self._end = (ctypes.c_uint64.from_address(at + offset) for offset in (0, 8))

    def everywhere(self) -> None:
        """See every address. One store, so any thread may do it; what ends it is `nowhere`."""
        self._end.value = 0

    def nowhere(self) -> None:
        """See no address."""
        self.point(_NOWHERE, _NOWHERE)

    def point(self, begin: int, end: int) -> None:
        """See the addresses from `begin` to `end`, both included."""
        self._begin.value, self._end.value = begin, end

    def remove(self) -> None:
        """Uninstall for good. The engine forgets it when its next run ends."""
        self._engine.remove_hook(self._hook)


@cache
def bounds_place() -> int:
    """Offset in bytes of a hook's bounds in the engine's record of it. EngineError when it is not found."""
    memory = mmap.mmap(-1, _SIZE)
    engine = api.Engine()
    anchor = ctypes.c_char.from_buffer(memory)
    engine.map(0, _SIZE, ctypes.addressof(anchor))
    del anchor
    # inc %eax; hlt
    memory[_CODE : _CODE + 2] = b"\x40\xf4"
    try:
        return _find(engine)
    finally:
        engine.close()
        memory.close()


def _find(engine: api.Engine) -> int:
    seen: list[int] = []
    callback = api.CODE_HOOK(lambda uc, address, size, user: seen.append(address))
    hook = engine.add_hook(numbers.UC_HOOK_CODE, callback, begin=_NOWHERE, end=_NOWHERE + 1)
    words = ctypes.string_at(hook, _RECORD)
    mark = _NOWHERE.to_bytes(8, "little") + (_NOWHERE + 1).to_bytes(8, "little")
    place = words.find(mark)
    if place >= 0 and words.count(mark) == 1:
        engine.start(_CODE)
        bounds = (ctypes.c_uint64 * 2).from_address(hook + place)
        bounds[0] = bounds[1] = _CODE
        engine.flush_code()
        engine.start(_CODE)
        if seen == [_CODE]:
            return place
    raise EngineError("cannot find where the engine keeps the bounds of a hook: unknown engine")
