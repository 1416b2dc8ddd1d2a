"""Which of a kernel's code was executed, and how often."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from paravane.cpu.instructions import REPEATS, decode
from paravane.trace import Kind, TrapRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from paravane.domain import Domain
    from paravane.image import Image
    from paravane.trace import Record
    from paravane.vcpu import Vcpu

Block = tuple[int, int]
"""Linear address of its first instruction, and size in bytes."""

_NO_BLOCK: Final[Block] = (0, 0)
_STRINGS: Final = frozenset((*range(0x6C, 0x70), *range(0xA4, 0xA8), *range(0xAA, 0xB0)))
"""Opcodes that can be repeated: ins, outs, movs, cmps, stos, lods, scas."""
_REMEMBERED: Final = 1 << 12


class Coverage:
    """Counts the blocks of one image's code that domains execute: of all that are followed, one after the
    other or side by side, together.

    Counted is how often each instruction was begun, so one that faults counts, and what would have come after
    it does not. Code outside the image is not counted.
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self.blocks: Counter[Block] = Counter()
        self._counters: list[_BlockCounter] = []

    def follow(self, domain: Domain) -> None:
        """Count what `domain`, which runs this image, executes from now on."""
        self._counters += [_BlockCounter(self, domain, vcpu) for vcpu in domain.vcpus]

    def close(self) -> None:
        """Follow nobody any more; what was counted stays. Idempotent."""
        for counter in self._counters:
            counter.close()
        self._counters.clear()

    def by_line(self) -> dict[str, dict[int, int]]:
        """For every source file the lines that have code, and how often the most frequent instruction of
        each was begun."""
        lines: dict[str, dict[int, int]] = defaultdict(dict)
        rows = [row for row in self.image.lines.rows() if self.image.is_code(row[0])]
        for (_, (file, line)), count in zip(rows, self._at(row[0] for row in rows), strict=True):
            known = lines[file]
            known[line] = max(known.get(line, 0), count)
        return {file: dict(sorted(known.items())) for file, known in sorted(lines.items())}

    def functions(self) -> dict[str, int]:
        """How often the first instruction of each symbol in code was begun."""
        named = sorted(
            (address, name)
            for name in self.image.symbols.names
            if (address := self.image.symbols.address_of(name)) is not None and self.image.is_code(address)
        )
        counts = self._at(address for address, _ in named)
        return {name: count for (_, name), count in zip(named, counts, strict=True)}

    def _at(self, addresses: Iterator[int]) -> Iterator[int]:
        """How often the instructions at these addresses, in ascending order, were begun."""
        changes: dict[int, int] = defaultdict(int)
        for (start, size), count in self.blocks.items():
            changes[start] += count
            changes[start + size] -= count
        steps = iter(sorted(changes.items()))
        step, now = next(steps, None), 0
        for address in addresses:
            while step is not None and step[0] <= address:
                now += step[1]
                step = next(steps, None)
            yield now


class _BlockCounter:
    """What counts the blocks of one vcpu."""

    def __init__(self, coverage: Coverage, domain: Domain, vcpu: Vcpu) -> None:
        self._blocks = coverage.blocks
        self._first, self._end = coverage.image.virt_start, coverage.image.virt_end
        self._platform = domain.platform
        self._domid, self._vcpu_id, self._cpu = domain.domid, vcpu.vcpu_id, vcpu.cpu
        self._last: Block = _NO_BLOCK
        self._traps = -1
        self._repeated: dict[int, bool] = {}
        self._forget: Callable[[], None] = self._platform.trace.subscribe(self._trapped, (Kind.TRAP,))
        self._cpu.debuggers.watch_blocks(self._entered)

    def close(self) -> None:
        self._forget()
        self._cpu.debuggers.watch_blocks(None)

    def _entered(self, address: int, size: int) -> None:
        """A block is about to be executed."""
        last = self._last
        start, length = last
        if start <= address < start + length:
            if address + size == start + length and self._repeats(address):
                return
            if self._platform.traps != self._traps:
                # The hypervisor has mended what an instruction failed for: here it is once more.
                self._cut(address)
            elif address == start and size == length:
                # A loop of one block: what is known of it stays as it is.
                self._blocks[last] += 1
                return
        if self._first <= address < self._end:
            self._last, self._traps = (address, size), self._platform.traps
            self._blocks[self._last] += 1
        else:
            self._last = _NO_BLOCK

    def _repeats(self, address: int) -> bool:
        """Whether a repeated string instruction is at `address`: each repetition enters a block."""
        known = self._repeated.get(address)
        if known is None:
            if len(self._repeated) >= _REMEMBERED:
                self._repeated.clear()
            try:
                found = decode(self._cpu.fetch(address), big=self._cpu.has_big_code)
                known = found.opcode in _STRINGS and any(prefix in REPEATS for prefix in found.prefixes)
            except IndexError:
                known = False
            self._repeated[address] = known
        return known

    def _trapped(self, record: Record) -> None:
        """The guest has a trap. What comes after the instruction that faulted was not begun."""
        if record.domid != self._domid or record.vcpu != self._vcpu_id or not isinstance(record, TrapRecord):
            return
        start, length = self._last
        at = record.place.address
        if start <= at < start + length:
            try:
                size = decode(self._cpu.fetch(at), big=self._cpu.has_big_code).length
            except IndexError:
                size = 1
            self._cut(min(at + size, start + length))
            self._last = _NO_BLOCK

    def _cut(self, end: int) -> None:
        """The block begun last went no further than to `end`."""
        start, _ = self._last
        blocks: Counter[Block] = self._blocks
        blocks[self._last] -= 1
        if not blocks[self._last]:
            del blocks[self._last]
        if end > start:
            blocks[start, end - start] += 1
        self._last = _NO_BLOCK


def hit(counts: Mapping[int, int]) -> int:
    """How many of the lines were executed."""
    return sum(count > 0 for count in counts.values())
