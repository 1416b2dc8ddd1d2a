"""Blocks that are translated otherwise than they read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.cpu_bench import CODE, CODE_MFN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.cpu_bench import Bench

# nop; mov %cs, %eax; int $0x20
LOOKED_FOR = b"\x8c\xc8"
BLOCK = b"\x90" + LOOKED_FOR + b"\xcd\x20"
PLACE = (CODE_MFN << 12) + 1


class Planter:
    """Has a breakpoint translated in the place of what it looks for."""

    def __init__(self, bench: Bench) -> None:
        self._bytes = bench.ram.bytes
        self._planted = self._trapping = False
        self.scanned: list[bytes] = []
        bench.cpu.scanner = self

    def translated(self) -> None:
        self._trapping, self._planted = self._planted, False
        if self._trapping:
            self._bytes[PLACE] = LOOKED_FOR[0]

    def scan(self, va: int, code: bytes) -> Sequence[int]:
        self.scanned.append(code)
        if LOOKED_FOR not in code or self._trapping:
            return ()
        self._bytes[PLACE], self._planted = 0xCC, True
        return (PLACE,)


def test_block_traps_where_memory_reads_as_it_was_written(bench: Bench) -> None:
    planter = Planter(bench)
    bench.run(BLOCK)
    trap = bench.traps[0]
    assert (trap.kind, trap.vector, trap.eip) == ("interrupt", 3, CODE + 2)
    assert bench.ram.read(CODE_MFN << 12, len(BLOCK)) == BLOCK
    assert planter.scanned[0] == BLOCK


def test_it_goes_on_trapping_until_the_byte_is_written(bench: Bench) -> None:
    planter = Planter(bench)
    bench.run(BLOCK)
    for _ in range(2):
        bench.kernel()
        bench.run()
    assert [trap.vector for trap in bench.traps] == [3, 3, 3]
    bench.cpu.scanner = None
    bench.ram.write(PLACE, b"\x90\x90")
    bench.kernel()
    bench.run()
    assert bench.traps[-1].vector == 0x20
    assert planter.scanned[0] == BLOCK
