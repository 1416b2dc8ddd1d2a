"""A processor that waits in a loop for another one: PAUSE, again and again (SDM volume 2, PAUSE).

What it waits for cannot happen before the other one runs, which shares the host's thread with it. So PAUSE
instructions get a hook where somebody wants to hear of such loops. The engine ends a block at each PAUSE: a
run that is stopped there, by its own hook, leaves out no hook of another instruction.
"""

from collections.abc import Callable
from typing import Final

from paravane.cpu.instructions import decode, is_pause
from paravane.cpu.state import ProcessorState

LOOPS: Final = 16
"""A loop is told of after so many PAUSEs. One hook takes a microsecond or two; giving another processor its
turn takes some hundred."""

_MOST_PLACES: Final = 128
# Each hook makes every later translation slower, and a guest picks how many there are.


class Spins:
    """The PAUSE instructions of one processor that are known, and how often they were reached."""

    def __init__(self, cpu: ProcessorState, spins: Callable[[], None] | None) -> None:
        """`spins` is called, in a hook, when the guest loops; it may stop the run, and nothing else."""
        self._cpu = cpu
        self._spins = spins
        self._places: set[int] = set()
        self._reached = 0

    def wanted(self, addresses: set[int]) -> set[int]:
        """Those of the PAUSEs at these linear addresses that are to have a hook."""
        if self._spins is None or len(self._places) >= _MOST_PLACES:
            return set()
        self._places |= addresses
        return addresses

    def reached(self, address: int) -> bool:
        """The instruction at linear `address` is about to be executed; whether it is one of the PAUSEs."""
        if address not in self._places:
            return False
        self._reached += 1
        if self._spins is not None and self._reached % LOOPS == 0 and self._at_pause(address):
            self._spins()
        return True

    def save(self) -> tuple[set[int], int]:
        """The places that are known, and how often one was reached."""
        return set(self._places), self._reached

    def restore(self, places: set[int], reached: int) -> None:
        """Go on from what `save` gave. The hooks are whoever's looks at instructions."""
        self._places, self._reached = set(places), reached

    def _at_pause(self, address: int) -> bool:
        """It still is one: code may have changed."""
        try:
            return is_pause(decode(self._cpu.fetch(address), big=self._cpu.has_big_code))
        except IndexError:
            return False
