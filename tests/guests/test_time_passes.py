"""Virtual time passes beside a guest that computes, however often it traps meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from paravane import DomainConfig, Machine, StopReason, load_image
from paravane.asm import build
from tests.support.boot import HOST_TIMEOUT

MEMORY = 8 << 20


@pytest.mark.parametrize("slice_instructions", [0, 1_000_000])
def test_a_timer_goes_off_beside_work_that_traps(slice_instructions: int) -> None:
    """Were only its traps counted, the guest would wait for 200,000 of them; slices that pass as long as they
    are have some hundreds, the fewer the slower the host is."""
    image = load_image(build([Path(__file__).parent / "busy.S"]))
    with Machine(Machine.size_for(MEMORY), slice_instructions=slice_instructions) as machine:
        domain = machine.create(image, DomainConfig(memory=MEMORY))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert domain.console_output() == b"went off\n"


def test_two_counted_runs_take_the_same_time() -> None:
    image = load_image(build([Path(__file__).parent / "busy.S"]))

    def ended() -> tuple[int, int]:
        with Machine(Machine.size_for(MEMORY), slice_instructions=1_000_000) as machine:
            machine.create(image, DomainConfig(memory=MEMORY))
            machine.run(timeout=HOST_TIMEOUT)
            return machine.platform.clock.now(), machine.platform.traps

    assert ended() == ended()
