"""Going back in a run, as the protocol has it: each place is found again as it was."""

from __future__ import annotations

import random

import pytest

from paravane import asm, guest_kernels
from tests.support.boot import kernel_image
from tests.support.debugged import KERNEL, TWO_VCPUS, Remote, served

BEGIN, END = "T05replaylog:begin;", "T05replaylog:end;"


def kernel(name: str) -> bytes:
    return asm.build(guest_kernels.load(name).sources)


class Walker:
    """Steps a guest forward, keeps its registers at each place, and compares them wherever it comes again."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self.at = 0
        self.places = [self._registers()]

    def forward(self) -> None:
        assert self._remote.ask("vCont;s:1;c").startswith("T05")
        self.at += 1
        if self.at == len(self.places):
            self.places.append(self._registers())
        else:
            assert self._registers() == self.places[self.at], self.at

    def back(self) -> None:
        assert self._remote.ask("bs").startswith("T05thread:1;")
        self.at -= 1
        assert self._registers() == self.places[self.at], self.at

    def _registers(self) -> str:
        return self._remote.ask("g")


@pytest.mark.parametrize(
    ("guest", "vcpus", "slice_instructions", "steps"),
    [
        pytest.param(KERNEL, 1, 37, 150, id="over ends of slices"),
        pytest.param(TWO_VCPUS, 2, 50, 200, id="among two vcpus"),
        pytest.param("traps", 1, 100, 300, id="int 0x80, iret and faults"),
        pytest.param("paging", 1, 1000, 400, id="page tables"),
    ],
)
def test_a_random_walk_finds_the_registers_of_the_way_there(
    guest: str, vcpus: int, slice_instructions: int, steps: int
) -> None:
    chance = random.Random(steps)
    image = kernel_image(guest) if "\n" in guest else kernel(guest)
    with served(image, vcpus=vcpus, slice_instructions=slice_instructions, reversible=True) as running:
        remote = Remote(running.port)
        walker = Walker(remote)
        for _ in range(steps):
            walker.forward()
        for _ in range(8):
            move = walker.back if chance.random() < 0.7 else walker.forward
            for _ in range(chance.randint(1, 3)):
                move()
        remote.close()


def test_history_begins_where_the_debugger_came() -> None:
    with served(KERNEL, slice_instructions=1000, reversible=True) as running:
        remote = Remote(running.port)
        first = remote.ask("g")
        remote.ask("vCont;s:1")
        remote.ask("vCont;s:1")
        assert remote.ask("bs").startswith("T05thread:1;")
        assert remote.ask("bs").startswith("T05thread:1;")
        assert remote.ask("g") == first
        for packet in ("bs", "bc", "bc"):
            assert remote.ask(packet).startswith(BEGIN)
            assert remote.ask("g") == first
        remote.finish()
        remote.close()
    assert running.console == "done\n"
