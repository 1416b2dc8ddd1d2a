"""Random code in a whole domain, in rings 1 and 3: 50,000 traps, and the machine around it stays as it was.

What is random is the code, the registers and memory it starts with, its handlers and its hypercalls. What has
to hold: nothing of ours raises, no trap ever comes from ring 0 or 2, a neighbour's memory, the descriptor
table of the hypervisor and the neighbour's part of the machine-to-phys table do not change by a bit, and the
frame table agrees with the page tables.

The first 10,000 faults happen twice, in Python alone with each looked at, and with what is served in C: after
each piece of code both have the same registers, time and number of traps, and now and then the same memory.
"""

from __future__ import annotations

import random
import zlib
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from paravane import DomainConfig, Machine, load_image
from paravane.abi.arch import FlatSelector
from paravane.abi.hypercall import Hypercall
from paravane.abi.trap import TI_IF, TrapInfo
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.cpu import PageFault
from paravane.gateway.native import SWITCH
from paravane.x86 import VECTORS_WITH_ERROR_CODE
from tests.property.test_traps_fuzz import noise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from paravane import Domain
    from paravane.traps import TrapNote

TRAPS_WANTED = 50_000
FAULTS_COMPARED = 10_000
INSTRUCTIONS_PER_RUN = 300
TRAPS_PER_RUN = 40
RUNS_PER_CHECK = 400
MEMORY = 4 << 20
VECTORS = (*range(20), 0x80, 0x81, 0x90)
HANDLER_BYTES = 16
SKIP_ERROR_CODE, SKIP_A_BYTE = b"\x83\xc4\x04", b"\xff\x04\x24\xcf"
"""add $4, %esp; incl (%esp); iret: most handlers go on one byte further, so that both rings get far."""

# A page of code and one of data for ring 3, one of handlers, one of kernel stack, random sooner or later. The
# kernel itself only has to be there.
SOURCE = """
    .include "runtime.inc"
    .include "user.inc"
    XEN_NOTES random
    .bss
    .balign PAGE_SIZE
    .globl playground
playground:
    .skip 4 * PAGE_SIZE
    .text
main:
    movl $playground, %eax
    movl $playground + 2 * PAGE_SIZE, %edx
    call open_to_user
1:  call yield
    jmp 1b
"""
PAGE = 4096
TRAPS_TO_START = 10


class State(NamedTuple):
    """What a piece of code left: all that a guest may see, memory only where it is looked at."""

    lives: int
    traps: int
    now: int
    registers: tuple[int, ...]
    memory: int


class Attacker:
    """A domain of random code, replaced by a new one whenever it has ended or cannot be written any more.

    Its traps are looked at one by one if they are `watched`; the gateway serves none of them then.
    """

    def __init__(self, machine: Machine, seed: int, *, watched: bool) -> None:
        self.machine = machine
        self.watched = watched
        self.source = random.Random(seed)
        program = assemble_text(SOURCE, name="random.S")
        self.image = load_image(write_elf(program))
        self.playground = next(symbol.value for symbol in program.symbols if symbol.name == "playground")
        self.faults = self.entries = self.served = self.lives = 0
        self.rings = {1: 0, 3: 0}
        self.domain = self.be_born()

    def be_born(self) -> Domain:
        self.lives += 1
        domain = self.machine.create(self.image, DomainConfig(name="attacker", memory=MEMORY))
        self.machine.platform.limit_traps(0)
        traps = self.machine.platform.traps
        while self.machine.platform.traps < traps + TRAPS_TO_START:
            domain.vcpus[0].run(INSTRUCTIONS_PER_RUN)
        if self.watched:
            domain.vcpus[0].traps.observe(self.trapped)
        return domain

    def trapped(self, note: TrapNote) -> None:
        assert note.cpl in {1, 3}, f"a trap from ring {note.cpl} at {note.eip:#x}"
        self.rings[note.cpl] += 1
        self.faults += 1

    def run(self) -> None:
        """One piece of random code until it has executed enough, or the domain is over."""
        vcpu = self.domain.vcpus[0]
        ring = self.source.choice((1, 3))
        try:
            self.prepare(ring)
        except PageFault:
            # Its own hypercalls or stores have taken the playground away.
            self.replace()
            return
        platform = self.machine.platform
        before = platform.traps
        platform.limit_traps(before + TRAPS_PER_RUN)
        vcpu.run(INSTRUCTIONS_PER_RUN)
        self.entries += platform.traps - before
        if not self.domain.alive:
            self.replace()
        else:
            assert vcpu.cpu.cpl in {1, 3}

    def state(self, *, memory: bool) -> State:
        """After a piece of code."""
        platform, cpu = self.machine.platform, self.domain.vcpus[0].cpu
        registers = *cpu.gprs(), cpu.eip, cpu.eflags, cpu.cpl
        content = zlib.crc32(platform.ram.bytes) if memory else 0
        return State(self.lives, platform.traps, platform.clock.now(), registers, content)

    def replace(self) -> None:
        if gateway := self.domain.vcpus[0].gateway:
            self.served += gateway.served
        self.machine.destroy(self.domain)
        self.domain = self.be_born()

    def prepare(self, ring: int) -> None:
        source, vcpu = self.source, self.domain.vcpus[0]
        cpu, code, data = vcpu.cpu, self.playground, self.playground + PAGE
        handlers, stack = self.playground + 2 * PAGE, self.playground + 4 * PAGE
        hypercall = b"\xcd\x82" if source.random() < 0.4 else b""
        cpu.write(code, hypercall + b"".join(noise(source) for _ in range(3)))
        cpu.write(data, source.randbytes(64))
        flags = 3 | source.choice((0, TI_IF))
        for index, vector in enumerate(VECTORS):
            at = handlers + HANDLER_BYTES * index
            skip = SKIP_ERROR_CODE * (vector in VECTORS_WITH_ERROR_CODE) + SKIP_A_BYTE
            cpu.write(at, skip if source.random() < 0.8 else noise(source)[:HANDLER_BYTES])
            vcpu.traps.install_trap(TrapInfo(vector, flags, FlatSelector.KERNEL_CS, at))
        vcpu.traps.switch_stack(FlatSelector.KERNEL_SS, stack)
        vcpu.traps.state.iopl = source.choice((0, 0, 1, 3))
        eflags = 0x202 | source.choice((0, 0, 0, 0x100, 0x400, 0x4000, 0x40000))
        if ring == 1:
            self.enter(FlatSelector.RING1_CS, FlatSelector.RING1_SS, stack, eflags)
        else:
            self.enter(FlatSelector.RING3_CS, FlatSelector.RING3_SS, data + PAGE, eflags)
        pointers = (code, data, handlers, stack - 64, 0, source.getrandbits(32))
        small = source.randrange(16)
        cpu.eax = source.choice((*Hypercall, source.getrandbits(32)))
        cpu.ebx, cpu.ecx = source.choice((*pointers, small)), source.choice((*pointers, small))
        cpu.edx, cpu.esi = source.choice((*pointers, small)), source.choice((*pointers, 0x7FF0))
        cpu.edi = source.choice(pointers)

    def enter(self, cs: int, ss: int, esp: int, eflags: int) -> None:
        cpu = self.domain.vcpus[0].cpu
        cpu.enter(cs=cs, eip=self.playground, eflags=eflags, cpl=cs & 3, ss=ss, esp=esp)
        for name in ("ds", "es"):
            cpu.load_segment(name, FlatSelector.RING3_DS)


class Surroundings:
    """Everything that is not the attacker's: a neighbour that never runs, and the hypervisor's tables."""

    def __init__(self, machine: Machine, image: bytes, seed: int) -> None:
        self.machine = machine
        self.memory = machine.platform.memory
        neighbour = machine.create(load_image(image), DomainConfig(name="neighbour", memory=MEMORY))
        owner = self.memory.frames.owner
        self.frames = [mfn for mfn in range(len(owner)) if owner[mfn] == neighbour.domid]
        source = random.Random(seed)
        ram = machine.platform.ram
        for mfn in self.frames:
            if not any(ram.read(mfn << 12, PAGE)):
                ram.write(mfn << 12, source.randbytes(PAGE))
        self.watched = [0, self.memory.flat_gdt_frame, *self.frames]

    def checksum(self) -> tuple[int, int]:
        view, total = self.machine.platform.ram.bytes, 0
        for mfn in self.watched:
            total = zlib.crc32(view[mfn << 12 : mfn + 1 << 12], total)
        m2p = self.memory.m2p
        return total, hash(tuple(m2p[mfn] for mfn in self.frames))


class Attack:
    """An attacker in a machine of its own, and what is around it."""

    def __init__(self, machine: Machine, *, watched: bool) -> None:
        self.machine = machine
        program = write_elf(assemble_text(SOURCE, name="neighbour.S"))
        self.around = Surroundings(machine, program, 1)
        self.attacker = Attacker(machine, 20_261, watched=watched)
        self.before = self.around.checksum()

    def states(self) -> Iterator[State]:
        """Run pieces of code for ever; what each has left."""
        for runs in count(1):
            self.attacker.run()
            look = runs % RUNS_PER_CHECK == 0
            if look:
                self.check()
            yield self.attacker.state(memory=look)

    def check(self) -> None:
        assert self.around.checksum() == self.before
        assert self.machine.audit() == []


def test_random_code_in_a_domain_touches_nothing_outside_it_in_python_and_in_c(
    monkeypatch: pytest.MonkeyPatch, native: Path
) -> None:
    size = Machine.size_for(MEMORY, MEMORY, MEMORY)
    with Machine(size, seed=7) as one, Machine(size, seed=7) as other:
        monkeypatch.setenv(SWITCH, "0")
        python = Attack(one, watched=True)
        monkeypatch.setenv(SWITCH, str(native))
        c = Attack(other, watched=False)
        in_python, in_c = python.states(), c.states()
        while python.attacker.faults < FAULTS_COMPARED:
            monkeypatch.setenv(SWITCH, "0")
            expected = next(in_python)
            monkeypatch.setenv(SWITCH, str(native))
            assert next(in_c) == expected
        python.check()
        while c.attacker.entries < TRAPS_WANTED:
            next(in_c)
        c.check()
        attacker = python.attacker
        assert attacker.lives > 10, "some code ends its domain, or the fuzz does nothing"
        assert min(attacker.rings.values()) > FAULTS_COMPARED // 10
        assert attacker.entries > attacker.faults + 50, "hypercalls come on top of faults"
        assert attacker.served == 0
        assert c.attacker.served > TRAPS_WANTED // 1000, "or nothing was compared"
