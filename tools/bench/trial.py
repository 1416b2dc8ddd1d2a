"""One machine that runs for so much of its own time, and what its domains did meanwhile."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from paravane import DomainConfig, Machine
from paravane.machine import DETERMINISTIC_SLICE
from paravane.sched import POLICIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane import Domain, Image

MEMORY: Final = 4 << 20
"""Bytes of each domain."""

_PORTS: Final = 8


@contextmanager
def machine(domains: int, policy: str = "bvt", *, deterministic: bool = True) -> Iterator[Machine]:
    """A machine with room for so many. `deterministic`: its time passes with instructions, and what it
    measures is the same on every host; otherwise slices are the host's time."""
    with Machine(
        Machine.size_for(*[MEMORY] * domains),
        policy=POLICIES[policy](),
        slice_instructions=DETERMINISTIC_SLICE if deterministic else 0,
    ) as made:
        yield made


def create(
    made: Machine, image: Image, name: str, *, weight: int = 256, cap: int = 0, cmdline: str = ""
) -> Domain:
    """One domain more; what it prints is dropped."""
    config = DomainConfig(name, memory=MEMORY, weight=weight, cap=cap, cmdline=cmdline, sink=len)
    return made.create(image, config)


def run(made: Machine, seconds: float) -> None:
    """Let so much system time pass."""
    timer = made.platform.timers.timer("machine", "bench", made.interrupt)
    timer.arm(made.platform.clock.now() + round(seconds * 1e9))
    made.run()
    timer.disarm()


def work(domain: Domain) -> int:
    """What a guest that counts its work has done."""
    return domain.vcpus[0].cpu.esi


def events(domain: Domain) -> int:
    """Events that a guest with `events.inc` has handled, of its first ports."""
    counts = domain.image.symbols.address_of("event_counts")
    assert counts is not None
    cpu = domain.vcpus[0].cpu
    return sum(cpu.read_u32(counts + 4 * port) for port in range(_PORTS))
