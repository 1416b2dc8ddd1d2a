"""What the engine can see is what the TLB holds, whatever a guest does: random steps of a real kernel.

It loads and stores, switches, changes pages with flushes and without, refills, pins page tables and gives
pages back, well or not. Before each step its hypervisor looks at all: the engine's tables, the books, and
that no TLB could write to what is a page table or somebody else's.
"""

from __future__ import annotations

import random
import struct
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from paravane import DomainConfig, Kind, Machine, ShutdownReason, load_image
from paravane.abi.domid import DomId
from paravane.abi.hypercall import Hypercall
from paravane.abi.memory import MemoryOp
from paravane.abi.mmu import MmuextCmd, UvmFlag
from paravane.abi.tlb import TLB_ASNS, TLB_OP, TlbKind, TlbOp
from paravane.asm import build
from paravane.guest_kernels import folder_of
from paravane.memory.audit import audit
from paravane.memory.frames import WRITABLE
from paravane.tlb import TlbProcessor, TlbSpec
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, Pte
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane import Domain, Record

MEMORY: Final = 4 << 20
STEPS: Final = 150
SIZES: Final = ((1, 1), (4, 2), (16, 4), (64, 8))
SCRIPT: Final = Path(__file__).parents[1] / "support" / "tlb_script.S"

FINISH, LOAD, STORE, SWITCH, SET, WANT, FLUSH, HYPERCALL = range(8)
STEP: Final = struct.Struct("<8I32s")
USER_VA: Final = 0x400000
SPACES, PAGES, SPARES = 3, 10, 6
PROCESS: Final = 4 * (13 + 6 + PAGES)
READ: Final = int(Pte.PRESENT | Pte.USER | Pte.ACCESSED)
CLEAN: Final = int(Pte.PRESENT | Pte.RW | Pte.USER)
WRITE: Final = int(CLEAN | Pte.ACCESSED | Pte.DIRTY)
SELF: Final = int(DomId.SELF)


@cache
def image() -> bytes:
    folder = folder_of("tlb")
    return build([SCRIPT, folder / "space.S"], include=[folder])


class Author:
    """Writes steps for a domain that has yet to run."""

    def __init__(self, domain: Domain, kind: TlbKind, seed: int) -> None:
        self._random, self._kind, self._domain = random.Random(seed), kind, domain
        self._steps: list[bytes] = []
        self._at = self.symbol("script")

    def symbol(self, name: str) -> int:
        found = self._domain.image.symbols.address_of(name)
        assert found is not None
        return found

    def write(self) -> None:
        """All of them into the domain, with an end."""
        any_of = self._random.choices
        what: list[Callable[[], None]] = [
            *(self._load, self._store, self._switch, self._set, self._want, self._flush),
            *(self._mmuext, self._update, self._balloon, self._ask, self._part),
        ]
        chances = (30, 30, 8, 10, 8 if self._kind is TlbKind.software else 0, 2, 8, 12, 2, 6, 3)
        while len(self._steps) < STEPS:
            any_of(what, chances)[0]()
        self._step(FINISH)
        self._domain.vcpus[0].cpu.write(self.symbol("script"), b"".join(self._steps))

    def _step(self, what: int, *words: int, data: bytes = b"") -> None:
        padded = [word & 0xFFFFFFFF for word in (*words, *(0,) * (7 - len(words)))]
        self._steps.append(STEP.pack(what, *padded, data))
        self._at += STEP.size

    def _hypercall(self, number: int, *arguments: int, data: bytes = b"") -> None:
        self._step(HYPERCALL, number, *arguments, data=data)

    @property
    def _data(self) -> int:
        """Where the data of the next step will be."""
        return self._at + 32

    def _load(self) -> None:
        self._step(LOAD, self._va() + self._random.choice((0, 8, PAGE_SIZE - 2)))

    def _store(self) -> None:
        self._step(STORE, self._va() + self._random.choice((0, 8, PAGE_SIZE - 2)))

    def _switch(self) -> None:
        self._step(SWITCH, self._process())

    def _set(self) -> None:
        self._step(SET, self._process(), self._random.randrange(PAGES), self._page() | self._flags())

    def _want(self) -> None:
        self._step(WANT, self._process(), self._random.randrange(PAGES), self._spare() | self._flags())

    def _flush(self) -> None:
        self._step(FLUSH)

    def _mmuext(self) -> None:
        any_va = (
            *(MmuextCmd.TLB_FLUSH_LOCAL, MmuextCmd.TLB_FLUSH_ALL),
            *(MmuextCmd.INVLPG_LOCAL, MmuextCmd.INVLPG_ALL),
        )
        if self._random.random() < 0.6:
            self._operate(self._random.choice(any_va), self._va())
        else:
            command = self._random.choice((MmuextCmd.PIN_L1_TABLE, MmuextCmd.UNPIN_TABLE))
            self._operate(command, self._mfn(self._spare()))

    def _operate(self, command: MmuextCmd, argument: int) -> None:
        data = struct.pack("<3I", command, argument, 0)
        self._hypercall(Hypercall.mmuext_op, self._data, 1, 0, SELF, data=data)

    def _update(self) -> None:
        """Of a process's page to what may be a table, or of the kernel's own mapping of one."""
        spare, flush = self._spare(), self._random.choice((UvmFlag.NONE, UvmFlag.TLB_FLUSH, UvmFlag.INVLPG))
        va = spare if self._random.random() < 0.5 else self._va()
        self._map(va, spare, self._flags() & ~(Pte.USER if va == spare else 0), flush)

    def _map(self, va: int, page: int, flags: int, flush: UvmFlag = UvmFlag.NONE) -> None:
        entry = self._mfn(page) << PAGE_SHIFT | flags if flags else 0
        self._hypercall(Hypercall.update_va_mapping, va, entry, entry >> 32, flush)

    def _part(self) -> None:
        """Write to a page, and have it be a page table or nothing of ours, without a flush if it can be: as
        who would go on writing to it does."""
        va, spare, other = self._va(), self._spare(), self._page()
        self._operate(MmuextCmd.UNPIN_TABLE, self._mfn(spare))
        number = (va - USER_VA) // PAGE_SIZE
        if self._kind is TlbKind.software:
            where = self._process()
            self._step(SWITCH, where)
            self._step(WANT, where, number, spare | WRITE)
            self._step(STORE, va)
            self._step(WANT, where, number, other | WRITE)
            if self._random.random() < 0.5:
                self._operate(MmuextCmd.INVLPG_LOCAL, va)
        else:
            self._map(va, spare, WRITE)
            self._step(STORE, va)
            self._map(va, other, WRITE)
        if self._random.random() < 0.7:
            self._map(spare, spare, READ & ~Pte.USER)
            self._operate(MmuextCmd.PIN_L1_TABLE, self._mfn(spare))
        else:
            self._map(spare, spare, 0)
            self._reserve(MemoryOp.decrease_reservation, self._mfn(spare))

    def _balloon(self) -> None:
        """Give a page back, or get one for it; its place in our books stays what it was."""
        spare = self._spare()
        if self._random.random() < 0.5:
            self._reserve(MemoryOp.decrease_reservation, self._mfn(spare))
        else:
            pfn = (spare - self._domain.image.virt_base) >> PAGE_SHIFT
            self._reserve(MemoryOp.populate_physmap, pfn)

    def _reserve(self, command: MemoryOp, extent: int) -> None:
        data = struct.pack("<4IHxxI", self._data + 24, 1, 0, 0, SELF, extent)
        self._hypercall(Hypercall.memory_op, command, self._data, data=data)

    def _ask(self) -> None:
        """Something of the TLB, whether it has that or not."""
        command = self._random.choice((TlbOp.refill, TlbOp.set_asn, TlbOp.flush_asn))
        if command is TlbOp.refill:
            entry = self._random.choice((0, self._mfn(self._spare()) << PAGE_SHIFT | self._flags()))
            self._hypercall(TLB_OP, command, self._va(), entry, entry >> 32)
        else:
            self._hypercall(TLB_OP, command, self._random.choice((0, 1, 2, 3, TLB_ASNS)))

    def _va(self) -> int:
        return USER_VA + self._random.randrange(PAGES) * PAGE_SIZE

    def _page(self) -> int:
        return self.symbol("pool") + self._random.randrange(SPACES * PAGES) * PAGE_SIZE

    def _process(self) -> int:
        return self.symbol("processes") + self._random.randrange(SPACES) * PROCESS

    def _spare(self) -> int:
        return self.symbol("spares") + self._random.randrange(SPARES) * PAGE_SIZE

    def _flags(self) -> int:
        return self._random.choice((READ, CLEAN, WRITE))

    def _mfn(self, va: int) -> int:
        mfn = self._domain.vcpus[0].cpu.frame_at(va)
        assert mfn is not None
        return mfn


class Onlooker:
    """Looks at a domain whenever it is asked to."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self.looked = 0
        self.wrong: list[str] = []

    def take(self, record: Record) -> None:
        if record.name.startswith("xen_version"):
            self.looked += 1
            if not self.wrong:
                self.look()

    def look(self) -> None:
        machine, (vcpu,) = self._domain.memory.machine, self._domain.vcpus
        processor, frames = vcpu.cpu, machine.frames
        assert isinstance(processor, TlbProcessor)
        self.wrong += [*processor.differences(), *audit(machine)]
        for tag, entry in [*processor.tlb, *((vpn, held) for vpn, held in processor.shown.items())]:
            mfn = (entry & 0xF_FFFF_FFFF_F000) >> PAGE_SHIFT
            if frames.owner[mfn] != self._domain.domid:
                self.wrong.append(f"{tag}: {frames.describe(mfn)} can be seen")
            elif entry & Pte.RW and frames.type[mfn] != WRITABLE and frames.type_count[mfn]:
                self.wrong.append(f"{tag}: {frames.describe(mfn)} can be written")


@pytest.mark.parametrize("kind", list(TlbKind))
@pytest.mark.parametrize(("entries", "ways"), SIZES)
@pytest.mark.parametrize("seed", [1, 2])
def test_after_each_step_the_engine_sees_what_the_tlb_holds(
    kind: TlbKind, entries: int, ways: int, seed: int
) -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        config = DomainConfig(memory=MEMORY, tlb=TlbSpec(kind, entries, ways))
        domain = machine.create(load_image(image()), config)
        Author(domain, kind, seed).write()
        onlooker = Onlooker(domain)
        machine.trace.subscribe(onlooker.take, (Kind.HYPERCALL,))
        machine.run(timeout=HOST_TIMEOUT)
        story = domain.console_output().decode() + domain.crash_report
        assert (onlooker.wrong, domain.reason) == ([], ShutdownReason.poweroff), story
        assert onlooker.looked > STEPS
        machine.destroy(domain)
        assert machine.audit() == []
