"""The small machine of `memory_bench` with a real processor in place of the fake one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paravane.abi.arch import FlatSelector
from paravane.cpu import PAE, Cpu, Geometry, Ram
from paravane.memory import DomainMemory, VcpuPaging, fix_page_fault
from tests.support.memory_bench import Bench, FakeCpu, Guest
from tests.support.residents import new_domain_memory, new_machine_memory

if TYPE_CHECKING:
    from array import array

CODE, STACK, PLAIN, TABLE = 0x8000, 0x9000, 0xA000, 0x5000
"""Linear addresses: code, stack, a writable page, and the L1 table itself (mapped read-only)."""


@dataclass
class Faults:
    """What a guest does that nobody mends ends its run and is written down."""

    seen: list[tuple[str, int, int]] = field(default_factory=list)
    mended: int = 0
    paging: VcpuPaging | None = None
    cpu: Cpu | None = None

    def exception(self, vector: int, error_code: int) -> None:
        assert self.cpu is not None
        assert self.paging is not None
        if vector == 14:
            fault = fix_page_fault(self.paging, self.cpu.cr2, error_code)
            self.mended += fault is None or fault.vector == 1
            if fault is None:
                return
            vector, error_code = fault
        self.seen.append(("exception", vector, error_code))
        self.cpu.stop()

    def interrupt(self, vector: int) -> None:
        assert self.cpu is not None
        self.seen.append(("interrupt", vector, 0))
        self.cpu.stop()

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        return 0, 0, 0, 0


class Live:
    """One domain in ring 1 on flat segments, pfn n mapped at n * 4096 for the first 40 pages."""

    def __init__(self, geometry: Geometry = PAE) -> None:
        self.ram = Ram(256)
        self.machine = new_machine_memory(self.ram, seed=3, low_frames=1)
        self.domain: DomainMemory = new_domain_memory(self.machine, 1, geometry, max_pages=100)
        self.faults = Faults()
        self.cpu = Cpu(self.ram, self.faults, geometry)
        self.paging = VcpuPaging(self.domain, 0, self.cpu)
        self.faults.cpu, self.faults.paging = self.cpu, self.paging
        p2m: array[int] = self.domain.populate(80)
        self.bench = Bench(
            self.ram, self.machine, self.domain, self.paging, FakeCpu(), Guest(self.paging), p2m
        )
        self.bench.boot(mapped=40)
        self.enter_kernel()

    def enter_kernel(self) -> None:
        self.cpu.enter(
            cs=FlatSelector.RING1_CS,
            eip=CODE,
            eflags=0x202,
            cpl=1,
            ss=FlatSelector.RING1_DS,
            esp=STACK + 4096,
        )
        for name in ("ds", "es"):
            self.cpu.load_segment(name, FlatSelector.RING1_DS)

    def run(self, code: bytes) -> tuple[str, int, int]:
        """Run `code` and then `int $0x82`; how it ended."""
        self.cpu.write(CODE, code + b"\xcd\x82")
        return self.run_again()

    def run_again(self) -> tuple[str, int, int]:
        """Run the same code once more. Nothing is written first: the processor forgets no translation."""
        self.cpu.eip = CODE
        self.cpu.run()
        return self.faults.seen[-1]

    def close(self) -> None:
        self.cpu.close()
        self.ram.close()


DONE = ("interrupt", 0x82, 0)
