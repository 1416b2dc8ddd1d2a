"""What a domain costs: from nothing to its guest's first hypercall, and to take it away."""

from __future__ import annotations

import mmap
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from paravane import Domain, DomainConfig, Machine, StopReason
from paravane.tools.bench import guests
from paravane.tools.bench.bare import BareEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEMORY = 4 << 20
LARGE = 256 << 20
ROUNDS = 10


@pytest.fixture
def make() -> Iterator[Callable[[int], Machine]]:
    """Machines with room for a domain of so many bytes."""
    with ExitStack() as machines:
        yield lambda memory: machines.enter_context(Machine(Machine.size_for(memory)))


def test_create_to_first_hypercall(benchmark: Any, make: Callable[[int], Machine]) -> None:
    """Memory, page tables, xenstore, a processor, and the guest's start up to its first entry into the
    hypervisor. The floor is a bare engine that begins to run."""
    image = guests.image(guests.IDLER)

    def setup() -> tuple[tuple[Machine], dict[str, object]]:
        return (make(MEMORY),), {}

    def create(machine: Machine) -> None:
        machine.create(image, DomainConfig(memory=MEMORY))
        assert machine.run(max_traps=1).reason is StopReason.TRAPS

    benchmark.pedantic(create, setup=setup, rounds=ROUNDS)
    _report(benchmark, _bare_engine)


@pytest.mark.parametrize("memory", [MEMORY, LARGE], ids=["4-mib", "256-mib"])
def test_destroy(benchmark: Any, make: Callable[[int], Machine], memory: int) -> None:
    """A domain that sleeps, most of whose memory it has never touched. The floor is to fill 4 MiB with
    zeroes."""
    image = guests.image(guests.IDLER)

    def setup() -> tuple[tuple[Machine, Domain], dict[str, object]]:
        machine = make(memory)
        domain = machine.create(image, DomainConfig(memory=memory))
        assert machine.run().reason is StopReason.STALLED
        return (machine, domain), {}

    benchmark.pedantic(Machine.destroy, setup=setup, rounds=ROUNDS)
    _report(benchmark, _zeroes)


def _bare_engine() -> float:
    def begin() -> None:
        with BareEngine() as engine:
            engine.execute("trap", 1)

    return _best(begin)


def _zeroes() -> float:
    with mmap.mmap(-1, MEMORY) as ram:
        empty = bytes(MEMORY)

        def fill() -> None:
            ram[:] = empty

        return _best(fill)


def _best(floor: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        floor()
        best = min(best, time.perf_counter() - began)
    return best


def _report(benchmark: Any, floor: Callable[[], float]) -> None:
    """Cost beside its floor; without figures when the benchmark is a smoke test."""
    if benchmark.stats is None:
        return
    cost, bare = benchmark.stats.stats.min, floor()
    benchmark.extra_info.update(
        microseconds=round(cost * 1e6, 1),
        floor_microseconds=round(bare * 1e6, 1),
        floors=round(cost / bare, 2),
    )
