"""Breakpoints of debuggers: hooks that go where they are wanted, and cost nothing once they are not."""

from collections.abc import Collection
from typing import Final

from paravane.cpu.engine import library as api
from paravane.cpu.engine import numbers
from paravane.cpu.engine.bounds import MovableHook

MOST: Final = 256
"""Addresses that can have a breakpoint at a time: at each, the engine goes through all hooks."""


class MovingBreakpoints:
    """The hooks of one processor.

    A hook whose breakpoint was removed stays where it is until another one needs it: debuggers remove and
    insert the same breakpoints at every stop, and each move has all code translated anew.
    """

    def __init__(self, engine: api.Engine, on_code: api.HookFunction) -> None:
        self._engine = engine
        self._on_code = api.CODE_HOOK(on_code)
        # By address, those that were wanted longest ago first.
        self._placed: dict[int, MovableHook] = {}
        self._spare: list[MovableHook] = []

    def placed(self, address: int) -> bool:
        """Whether the instruction at linear `address` was translated with a hook."""
        return address in self._placed

    def place(self, addresses: Collection[int]) -> bool:
        """Have these hooked; ValueError for more than `MOST`. True when translated code must be dropped for
        it."""
        wanted = set(addresses)
        if len(wanted) > MOST:
            raise ValueError(f"a processor can have {MOST} breakpoints at a time, not {len(wanted)}")
        missing = sorted(wanted - self._placed.keys())
        for address in sorted(wanted & self._placed.keys()):
            self._placed[address] = self._placed.pop(address)
        for address in missing:
            hook = self._take()
            hook.point(address, address)
            self._placed[address] = hook
        return bool(missing)

    def remove_all(self) -> bool:
        """Hook nothing any more. True as for `place`."""
        for hook in self._placed.values():
            hook.nowhere()
        self._spare += self._placed.values()
        removed = bool(self._placed)
        self._placed.clear()
        return removed

    def _take(self) -> MovableHook:
        if self._spare:
            return self._spare.pop()
        if len(self._placed) < MOST:
            return MovableHook(self._engine, numbers.UC_HOOK_CODE, self._on_code)
        return self._placed.pop(next(iter(self._placed)))
