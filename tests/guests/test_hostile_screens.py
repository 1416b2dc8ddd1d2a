"""A guest that scribbles on the pages of its framebuffer and its keyboard while somebody looks and types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine
from paravane.devices.framebuffer import FramebufferDevice, Vfb
from paravane.devices.vnc import Rect
from tests.support.hostile import MEMORY, SLICE, counts, kernel, neighbour, run, undisturbed

if TYPE_CHECKING:
    from paravane.devices.framebuffer.display import Display

EVENTS = 50_000
KEY_A = 30
PIXEL = 4


class Somebody:
    """Looks at all that is said to have changed, and presses a key and moves the pointer each time."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self.looks = 0

    def resized(self) -> None:
        self.damaged(Rect(0, 0, 1, 1))

    def damaged(self, rect: Rect) -> None:
        self.looks += 1
        seen = rect.within(Rect(0, 0, *self._display.size))
        if seen:
            assert len(self._display.read(seen)) == seen.width * seen.height * PIXEL
        self._display.key(KEY_A, pressed=bool(self.looks & 1))
        self._display.point(self.looks % 320, self.looks % 200, 0)


@pytest.mark.parametrize(("seed", "words"), [(1, ""), (2, "rewriter")], ids=["alone", "two-vcpus"])
def test_hostile_pages_harm_nobody_and_serve_again(seed: int, words: str) -> None:
    """100,000 events by both of them together. All frames are given back at the end."""
    with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=SLICE) as machine:
        other = neighbour(machine, "store")
        config = DomainConfig(
            memory=MEMORY,
            vcpus=2,
            cmdline=f"seed={seed} requests={EVENTS} {words}",
            devices=Vfb(vnc=False).devices,
        )
        hostile = machine.create(kernel("screen", "paint"), config)
        attachment = hostile.devices.find("vfb", 0)
        assert attachment is not None
        assert isinstance(attachment.device, FramebufferDevice)
        display = attachment.device.display
        somebody = Somebody(display)
        display.look(somebody)
        run(machine)
        undisturbed(other)
        found = counts(hostile)
        assert "the screen still serves" in hostile.console_output().decode()
        assert found.requests >= EVENTS
        assert found.answered > EVENTS * 3 // 4
        assert found.closed > 10
        assert somebody.looks > EVENTS // 10
        machine.destroy(hostile)
        machine.destroy(other)
        assert machine.platform.memory.held.total() == 0
        assert machine.audit() == []
