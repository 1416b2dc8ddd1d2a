"""Data breakpoints, those of DR0-DR3, which the engine does not honour by itself, and those of debuggers.

While one is armed, every memory access asks in C whether it lies in a watched range of machine memory, and
every instruction whether the *gate* is open. An access that hits opens the gate, and the gate calls back
before the next instruction: a data breakpoint is a trap after its instruction (SDM volume 3B, 17.2.4). Once
none is armed any more the hooks go at the next run, and with them what they cost.
"""

from collections.abc import Callable

from paravane.classes import NamedTuple
from paravane.cpu.engine import library as api
from paravane.cpu.engine import numbers
from paravane.cpu.engine.bounds import MovableHook
from paravane.cpu.geometry import PAGE_MASK
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, Dr7Type

_BOTH = numbers.UC_HOOK_MEM_READ | numbers.UC_HOOK_MEM_WRITE
# No hook reports more bytes than this at once.
_WIDEST = 8
# LEN field of DR7 (SDM volume 3B, 17.2.4).
_LENGTHS = (1, 2, 8, 4)


class Watch(NamedTuple):
    """An armed data breakpoint: its bit in what is reported (of a guest's own, that of DR6), its first linear
    byte, how many there are, and which accesses count."""

    bit: int
    start: int
    size: int
    reads: bool
    writes: bool = True


class _Range(NamedTuple):
    """Part of a watched range in one page: machine addresses, and what to add to get linear ones."""

    watch: Watch
    begin: int
    end: int
    to_linear: int


def armed(dr: list[int], dr7: int) -> list[Watch]:
    """The enabled data breakpoints of DR0-DR3 (`dr`) and `dr7`."""
    watches = []
    for index in range(4):
        kind = dr7 >> 16 + 4 * index & 3
        if dr7 >> 2 * index & 3 and kind in {Dr7Type.WRITES, Dr7Type.ACCESSES}:
            size = _LENGTHS[dr7 >> 18 + 4 * index & 3]
            # The processor ignores the address bits below the length.
            watches.append(Watch(1 << index, dr[index] & -size, size, kind == Dr7Type.ACCESSES))
    return watches


def _reach(watch: Watch) -> tuple[int, int]:
    """The first and the last linear address where an access may start that reaches `watch`."""
    return max(watch.start - _WIDEST + 1, 0), watch.start + watch.size - 1


def _pages(watch: Watch) -> range:
    """The pages of these addresses: that of `watch`, perhaps also the one before, or more."""
    first, last = _reach(watch)
    return range(first & ~PAGE_MASK, last + 1, PAGE_SIZE)


class Watchpoints:
    """The watched ranges of one processor and the hooks that see them."""

    def __init__(
        self,
        engine: api.Engine,
        frame_at: Callable[[int], int | None],
        on_access: Callable[[int], None],
        on_gate: api.HookFunction,
    ) -> None:
        """`on_access` gets the bits of the watches that an access hit (0: none), before it happens.

        Both callbacks are made inside the engine; `on_gate` is a code hook.
        """
        self._engine = engine
        self._frame_at = frame_at
        self._on_access = on_access
        self._on_gate = api.CODE_HOOK(on_gate)
        self._on_memory = api.MEMORY_HOOK(self._see)
        self._watches: list[Watch] = []
        self._ranges: list[_Range] = []
        self._memory: list[MovableHook] = []
        self._instrumented = False
        self._gate: MovableHook | None = None
        self._everything: MovableHook | None = None
        self._leaving = False
        self.followed = range(0)
        """Linear addresses whose instructions go through the gate."""

    @property
    def following(self) -> bool:
        """Some instructions are followed."""
        return len(self.followed) > 0

    @property
    def watching(self) -> bool:
        """A data breakpoint is armed."""
        return bool(self._watches)

    @property
    def instrumented(self) -> bool:
        """Every instruction looks at the gate: one is armed, or was during this run."""
        return self._instrumented

    def arm(self, watches: list[Watch], followed: range = range(0)) -> bool:
        """Watch these, and send the instructions at these linear addresses through the gate. True when
        translated code must be dropped for it."""
        # Accesses look at hooks on memory where there were any when they were translated.
        grown = bool(watches) and not self._memory
        self._watches = watches
        changed, self.followed = followed != self.followed, followed
        if watches or followed:
            new = self._instrument() or grown
            self._reserve()
        else:
            new = False
        self.follow()
        if changed:
            self.close_gate()
        return new

    def _instrument(self) -> bool:
        """Have every instruction look at the gate; whether none did before."""
        if self._instrumented:
            return False
        if self._gate is None or self._everything is None:
            self._everything = MovableHook(self._engine, numbers.UC_HOOK_CODE, api.NOTHING)
            # With two hooks of this kind the engine compares bounds at each instruction instead of once.
            self._gate = MovableHook(self._engine, numbers.UC_HOOK_CODE, self._on_gate)
        self._everything.everywhere()
        self._instrumented = True
        return True

    def follow(self) -> None:
        """Look up where the watched linear addresses are now: after anything that may have moved them."""
        self._ranges = [part for watch in self._watches for part in self._parts(watch)]
        for hook in self._memory[len(self._ranges) :]:
            hook.nowhere()
        for hook, part in zip(self._memory, self._ranges, strict=False):
            hook.point(part.begin, part.end)

    def settle(self) -> bool:
        """Before a run: hooks go when nothing is watched. True when translated code must be dropped."""
        if self._leaving:
            # Only now has the engine forgotten them; what it translated since still calls on them.
            self._leaving = False
            return True
        if self._watches or self.followed or not self._instrumented or self._everything is None:
            return False
        self._instrumented = False
        self._everything.nowhere()
        for hook in self._memory:
            hook.remove()
        self._memory, self._leaving = [], True
        return True

    def open_gate(self) -> None:
        """Have the gate called before the next instruction. Any thread."""
        if self._gate is not None:
            self._gate.everywhere()

    def close_gate(self) -> None:
        """No more calls, but for instructions that are followed."""
        if self._gate is None:
            return
        if self.followed:
            # From 1 on: what begins at 0 could not be opened to everything, which is an end before the start.
            self._gate.point(max(self.followed.start, 1), self.followed.stop - 1)
        else:
            self._gate.nowhere()

    def _reserve(self) -> None:
        """Have a hook for each page that may hold a part of what is watched."""
        for _ in range(self._wanted(self._watches) - len(self._memory)):
            self._memory.append(MovableHook(self._engine, _BOTH, self._on_memory))

    @staticmethod
    def _wanted(watches: list[Watch]) -> int:
        """How many hooks these need, at most."""
        return sum(len(_pages(watch)) for watch in watches)

    def _parts(self, watch: Watch) -> list[_Range]:
        """Where an access may start that reaches `watch`."""
        first, last = _reach(watch)
        parts = []
        for page in _pages(watch):
            mfn = self._frame_at(page)
            if mfn is not None:
                begin, end = max(first, page), min(last, page + PAGE_SIZE - 1)
                to_linear = page - (mfn << PAGE_SHIFT)
                parts.append(_Range(watch, begin - to_linear, end - to_linear, to_linear))
        return parts

    def _see(self, _uc: int, kind: int, maddr: int, size: int, _value: int, _user: int) -> None:
        bits = 0
        for watch, begin, end, to_linear in self._ranges:
            counts = watch.writes if kind == numbers.UC_MEM_WRITE else watch.reads
            if begin <= maddr <= end and counts:
                start = maddr + to_linear
                if start < watch.start + watch.size and watch.start < start + size:
                    bits |= watch.bit
        self._on_access(bits)
