"""Virtual time passes beside a guest that computes, however often it traps meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane.asm import build
from tests.support.boot import booted, finished

if TYPE_CHECKING:
    from paravane.testing.plugin import Boot

MEMORY = 8 << 20
BUSY = Path(__file__).parent / "busy.S"


@pytest.mark.parametrize("slice_instructions", [0, 1_000_000])
def test_a_timer_goes_off_beside_work_that_traps(boot: Boot, slice_instructions: int) -> None:
    """Were only its traps counted, the guest would wait for 200,000 of them; slices that pass as long as they
    are have some hundreds, the fewer the slower the host is."""
    outcome = boot(BUSY, memory=MEMORY, slice_instructions=slice_instructions)
    assert finished(outcome).lines == ["went off"]


def test_two_counted_runs_take_the_same_time() -> None:
    def ended() -> tuple[int, int]:
        with booted(build([BUSY]), memory=MEMORY, slice_instructions=1_000_000) as guest:
            return guest.machine.platform.clock.now(), guest.machine.platform.traps

    assert ended() == ended()
