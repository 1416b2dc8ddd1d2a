"""The state of one processor before instructions that leave nothing to tell what it was.

IRET is one: it may have led into virtual-8086 mode. A rotation through the carry in memory is another: the
engine has changed CF by the time its store faults. Each such instruction gets a hook that copies the state.
"""

from typing import Final

from paravane.cpu.engine import numbers
from paravane.cpu.engine.snapshot import Snapshot
from paravane.cpu.registers import EFLAGS_ARITHMETIC, Registers

_LINEAR: Final = 0xFFFFFFFF
# Guests return from few places; beyond this many one hook on everything takes over (slow, but bounded).
_MOST_PLACES: Final = 64


class StatesBefore:
    """Where copies are made, and the last one. `bytes` and `words` are the copy, laid out as the state."""

    def __init__(self, cpu: Registers) -> None:
        self._cpu = cpu
        self._eflags_at, self._eip_at = cpu._layout.eflags, cpu._layout.eip
        self._cs_base_at = cpu._layout.segments["cs"].base
        self._snapshot: Snapshot | None = None
        self._places: set[int] = set()
        self._everywhere = False
        self._alone = False

    @property
    def everywhere(self) -> bool:
        """A copy is made before each instruction."""
        return self._everywhere

    def copied_at(self, address: int) -> bool:
        """The instruction at linear `address` was translated with a hook."""
        return self._everywhere or address in self._places

    def is_of(self, address: int) -> bool:
        """The last copy was made at linear `address`."""
        if self._snapshot is None or not self.copied_at(address):
            return False
        words = self._snapshot.words
        return words[self._eip_at] + words[self._cs_base_at] & _LINEAR == address

    def copy_at(self, addresses: set[int]) -> bool:
        """Copy the state at these linear addresses. True when code must be translated anew for it."""
        wanted = addresses - self._places
        if not wanted or self._everywhere:
            return False
        if self._snapshot is None:
            layout = self._cpu._layout
            self._snapshot = Snapshot(self._cpu._engine, 4 * layout.end_of_segments, layout.hflags)
            self.run_next_alone(self._alone)
        if len(self._places) + len(wanted) > _MOST_PLACES:
            self._everywhere = True
            self._snapshot.at()
            return True
        for address in wanted:
            self._snapshot.at(address, address)
        self._places |= wanted
        return True

    def places(self) -> set[int]:
        """The linear addresses with a hook of their own."""
        return set(self._places)

    def restore(self, places: set[int], *, everywhere: bool) -> None:
        """Have the hooks that `places` told of in another processor, before anything is translated."""
        self.copy_at(places)
        if everywhere and not self._everywhere and self._snapshot is not None:
            self._everywhere = True
            self._snapshot.at()

    def run_next_alone(self, wanted: bool) -> None:
        """Whether the instruction after each copy is to be a block of its own.

        After an IRET: RF is for one instruction, and the engine clears it at the end of a block. It costs a
        second translation of whatever guests return to, and only breakpoints look at RF.
        """
        self._alone = wanted
        if self._snapshot is not None:
            self._snapshot.mark = self._cpu._layout.inhibit if wanted else 0

    def put_back(self) -> bool:
        """Make the last copy the processor's state. False when there is none."""
        if self._snapshot is None:
            return False
        cpu = self._cpu
        cpu._engine.bytes[: len(self._snapshot.bytes)] = self._snapshot.bytes
        # The hook put the arithmetic flags here as well; they would never be cleared again.
        cpu._words[self._eflags_at] &= ~EFLAGS_ARITHMETIC & _LINEAR
        cpu._engine.restore()
        cpu._eflags = None
        return True

    def eflags(self) -> int:
        """EFLAGS in the last copy, which there must be. What they are computed from is spread over the state,
        so the engine does it, with the copy in place of the state for a moment."""
        engine = self._cpu._engine
        now = engine.bytes.tobytes()
        self.put_back()
        flags = engine.read_register(numbers.UC_X86_REG_EFLAGS)
        engine.bytes[:] = now
        engine.restore()
        return flags

    def close(self) -> None:
        """After the engine was closed."""
        if self._snapshot is not None:
            self._snapshot.close()
