"""A debugger that does what it likes to its guest: registers, memory, steps, breakpoints, all at random.

The guest may end in any way, or not at all; the hypervisor neither fails nor loses count of a frame.
"""

from __future__ import annotations

import random

import pytest

from paravane import guest_kernels
from paravane.asm import build
from paravane.debug.registers import NUMBERS, REGISTERS
from tests.support.debugged import Remote, served

GUESTS = ("debug", "paging", "rings", "segments")
ACTIONS = 150


class Ended(Exception):
    """The guest is no more."""


class Meddler:
    """One debugger with a random number generator for a mind."""

    def __init__(self, remote: Remote, seed: int) -> None:
        self._remote = remote
        self._chance = random.Random(seed)
        self._choices = (self._go_on, self._go_on, self._write_register, self._write_memory, self._point)

    def meddle(self) -> None:
        """Do one thing. Raises Ended."""
        self._chance.choice(self._choices)()

    def _address(self) -> int:
        known = [self._remote.register(NUMBERS[name]) for name in ("eip", "esp")]
        near = self._chance.choice([*known, *known, 0xC0100000, 0xC0102000, 0xF5800000, 0xFFC00000, 0])
        return near + self._chance.choice([0, 1, 4, 7, 16, 100, 4094, -4, -64]) & 0xFFFFFFFF

    def _go_on(self) -> None:
        here = self._remote.register(NUMBERS["eip"])
        within = f"vCont;r{here:x},{here + 64:x}:1"
        self._remote.send(self._chance.choice(["vCont;s:1", "vCont;s:1", within, "vCont;c", "s", "c"]))
        if self._chance.random() < 0.7:
            self._remote.raw(b"\x03")
        else:
            # It may run for ever: there has to be an end.
            self._remote.raw(b"\x03" * 3)
        while (answer := self._remote.answer()).startswith("O"):
            pass
        if answer[0] in "WX":
            raise Ended
        assert answer[0] == "T"

    def _write_register(self) -> None:
        number = self._chance.randrange(len(REGISTERS))
        if self._chance.random() < 0.5:
            number = self._chance.choice(
                [NUMBERS[name] for name in ("eip", "esp", "eflags", "ds", "es", "gs")]
            )
        size = REGISTERS[number].size
        value = self._chance.choice(
            [self._chance.randbytes(size), self._address().to_bytes(4, "little").ljust(size, b"\0")[:size]]
        )
        assert self._remote.ask(f"P{number:x}={value.hex()}") in {"OK", "E16"}

    def _write_memory(self) -> None:
        data = self._chance.randbytes(self._chance.choice([1, 4, 16, 5000]))
        answer = self._remote.ask(f"M{self._address():x},{len(data):x}:{data.hex()}")
        assert answer in {"OK", "E0d", "E0e"}

    def _point(self) -> None:
        kind, size = self._chance.randrange(5), self._chance.choice([1, 4, 4096])
        verb = self._chance.choice("ZZz")
        assert self._remote.ask(f"{verb}{kind},{self._address():x},{size:x}") in {"OK", "E16"}


@pytest.mark.parametrize("name", GUESTS)
@pytest.mark.parametrize("seed", range(4))
def test_a_debugger_that_meddles(name: str, seed: int) -> None:
    image = build(guest_kernels.load(name).sources)
    with served(image) as guest:
        remote = Remote(guest.port)
        meddler = Meddler(remote, seed)
        try:
            for _ in range(ACTIONS):
                meddler.meddle()
        except Ended:
            pass
        remote.close()
        if guest.domain.alive:
            guest.machine.interrupt()
        guest.end()
        assert guest.audit == []
