"""What a machine by the host's clock takes of the processor while nobody on it has anything to do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from paravane import DomainConfig, HostClock, Machine, StopReason
from tests.support.small_machines import BLOCK, image

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY = 4 << 20
SECOND = 1.0


@pytest.mark.parametrize("domains", [1, 64])
def test_idle_second(benchmark: Any, domains: int) -> None:
    """The floor is a process that sleeps: in a second of either, how long it has the processor."""
    kernel = image(BLOCK)
    with Machine(Machine.size_for(*[MEMORY] * domains), clock=HostClock()) as machine:
        for _ in range(domains):
            machine.create(kernel, DomainConfig(memory=MEMORY))
        machine.promise()  # something may come from outside, or the machine would be given up
        assert machine.run(timeout=0.1).reason is StopReason.TIMEOUT  # all have started, and sleep
        seconds = SECOND if benchmark.enabled else 0.01

        def idle() -> None:
            assert machine.run(timeout=seconds).reason is StopReason.TIMEOUT

        benchmark.pedantic(idle, rounds=3)
        if benchmark.stats is not None:
            benchmark.extra_info.update(
                microseconds=round(min(_taken(idle) for _ in range(3)) * 1e6),
                floor_microseconds=round(min(_taken(lambda: time.sleep(SECOND)) for _ in range(3)) * 1e6),
            )


def _taken(call: Callable[[], object]) -> float:
    """Seconds of the processor that all threads of this process had meanwhile."""
    before = time.process_time()
    call()
    return time.process_time() - before
