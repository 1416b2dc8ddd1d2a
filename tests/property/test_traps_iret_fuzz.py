"""Random frames for `iret` and the iret hypercall, from both rings: never ring 0, never a write out of place.

An application may return wherever the processor lets it, but its traps are saved on the registered kernel
stack. A kernel chooses its stack itself: what its traps write is right at its new ESP.
"""

import random
import struct
from collections.abc import Iterator

import pytest

from paravane.traps import GuestCrash
from tests.support.trap_machine import (
    CURRENT_STACK_TOP,
    DATA,
    GDT,
    GUEST_DESCRIPTORS,
    INFO,
    KERNEL,
    KERNEL_STACK_TOP,
    PRESENT,
    RESERVED_DESCRIPTORS,
    RING1_DS,
    TABLE,
    UNMAPPED,
    USER,
    USER_STACK_TOP,
    TrapMachine,
)

ROUNDS = 500
WORDS = 10
"""Those of a virtual-8086 frame with EAX below it."""

SELECTORS = [
    *(8 * index + rpl for index in GUEST_DESCRIPTORS for rpl in range(4)),
    *(selector & ~3 | rpl for selector in RESERVED_DESCRIPTORS for rpl in range(4)),
    *(0, 1, 2, 3, 4, 7, 0xE008, 0xE040, 0xF001, 0xFFFF),
]
ADDRESSES = [
    *(KERNEL, USER, KERNEL + 8, USER + 8, KERNEL_STACK_TOP, CURRENT_STACK_TOP, USER_STACK_TOP, DATA + 0x800),
    *(UNMAPPED, UNMAPPED + 0x1000, GDT, INFO, 0, 4, 0xFFFFFFFC, 0xFFC00010, 0xF5800000),
]
GOOD_PAIRS = [
    (0xE02B, 0xE033),
    (8 * 3 + 3, 8 * 4 + 3),
    (0xE019, 0xE021),
    (8 * 1 + 1, 8 * 2 + 1),
    (8 * 9 + 2, 8 * 10 + 2),
]
"""Code and stack segments that belong together, of every ring a guest has."""

FLAGS = [0x100, 0x400, 0x1000, 0x3000, 0x4000, 0x10000, 0x20000, 0x40000, 0x8D5]
INVALID = b"\x0f\x0b" * 64


class Frames:
    """One machine whose code is all `ud2`, but for the instruction under test."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.machine = machine = TrapMachine()
        machine.install_all()
        for page in range(GDT >> 12, (GDT >> 12) + 15):
            machine.map(page << 12, page, PRESENT)
        for start in (KERNEL, USER):
            machine.ram.write(start, INVALID)
        self.before = bytes(machine.ram.bytes)

    def frame(self) -> bytes:
        source = self.source
        flags = 0x202
        for _ in range(source.randrange(4)):
            flags |= source.choice(FLAGS)
        cs, ss = source.choice(SELECTORS), source.choice(SELECTORS)
        if source.random() < 0.4:
            cs, ss = source.choice(GOOD_PAIRS)
        words = [source.getrandbits(32) for _ in range(WORDS)]
        words[1:6] = (
            source.choice(ADDRESSES),
            cs | source.getrandbits(16) << 16,
            flags if source.random() < 0.9 else source.getrandbits(32),
            source.choice((*ADDRESSES, source.getrandbits(32))),
            ss,
        )
        return struct.pack(f"<{WORDS}I", *words)

    def prepare(self, ring: int, *, eax: bool) -> None:
        """A fresh start in `ring` with a frame at ESP, with or without EAX as its first word."""
        machine, cpu = self.machine, self.machine.cpu
        machine.crash = None
        machine.trace.clear()
        machine.notes.clear()
        machine.ram.bytes[:] = self.before
        machine.enter_ring(ring)
        data = self.frame() if eax else self.frame()[4:]
        cpu.esp -= len(data)
        machine.ram.write(cpu.esp, data)

    def hypercall(self) -> None:
        """The iret hypercall; what ends the domain is noted."""
        try:
            self.machine.traps.iret()
        except GuestCrash as crash:
            self.machine.crash = crash

    def written(self) -> list[int]:
        """Addresses, in steps of 4, that differ from the start, but for page tables (Accessed and Dirty)."""
        now, before = bytes(self.machine.ram.bytes), self.before
        found = []
        for page in range(TABLE + 1 << 12, len(now), 0x1000):
            if now[page : page + 0x1000] != before[page : page + 0x1000]:
                found += [
                    at for at in range(page, page + 0x1000, 4) if now[at : at + 4] != before[at : at + 4]
                ]
        return found


@pytest.fixture
def frames(request: pytest.FixtureRequest) -> Iterator[Frames]:
    made = Frames(request.param)
    yield made
    made.machine.close()


@pytest.mark.parametrize("frames", [1], indirect=True)
@pytest.mark.parametrize("code", [b"\xcf", b"\x66\xcf"], ids=["iret", "iretw"])
def test_an_application_never_chooses_where_its_trap_is_saved(frames: Frames, code: bytes) -> None:
    machine = frames.machine
    own = range(USER_STACK_TOP - 64, USER_STACK_TOP)
    allowed = {*range(KERNEL_STACK_TOP - 24, KERNEL_STACK_TOP, 4), *range(INFO, INFO + 12, 4), *own, USER}
    rings = set()
    for _ in range(ROUNDS):
        frames.prepare(3, eax=False)
        machine.ram.write(USER, code)
        machine.cpu.run()
        assert machine.crash is None
        rings |= {note.cpl for note in machine.trace}
        assert machine.cpu.cpl == 1
        assert machine.cpu.ss == RING1_DS
        assert KERNEL_STACK_TOP - 24 <= machine.cpu.esp <= KERNEL_STACK_TOP - 20
        assert set(frames.written()) <= allowed
    assert rings == {3}


@pytest.mark.parametrize("frames", [2], indirect=True)
@pytest.mark.parametrize("way", ["iret", "hypercall"])
def test_a_kernel_that_returns_anywhere_stays_below_ring_0(frames: Frames, way: str) -> None:
    machine, crashes, returned = frames.machine, 0, 0
    own = range(CURRENT_STACK_TOP - 64, CURRENT_STACK_TOP)
    for _ in range(ROUNDS):
        frames.prepare(1, eax=way == "hypercall")
        machine.ram.write(KERNEL, b"\xcf")
        if way == "hypercall":
            frames.hypercall()
        if machine.crash is None:
            machine.cpu.run()
        crashes += machine.crash is not None
        returned += any(note.cpl == 3 for note in machine.trace)
        assert machine.cpu.cpl in {1, 2, 3}
        if machine.crash is not None:
            continue
        esp, base = machine.cpu.esp, machine.cpu.segment_base("ss")
        frame = {
            *range(base + esp - 48 & ~3, base + esp + 24, 4),
            *range(KERNEL_STACK_TOP - 64, KERNEL_STACK_TOP, 4),
        }
        outside = set(frames.written()) - frame - {*own, KERNEL, *range(INFO, INFO + 12, 4)}
        assert not outside, sorted(map(hex, outside))
    assert crashes < ROUNDS
    assert bool(crashes) == (way == "hypercall"), "a frame for ring 0 ends the domain in the hypercall only"
    assert returned, "no frame ever led to an application, so nothing was tried"
