"""A guest that runs with and without the native gateway: all that is left of it, to be compared."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from paravane import DomainConfig, Machine, StopReason
from paravane.gateway.native import SWITCH
from paravane.trace import Kind, Record
from tests.support.boot import HOST_TIMEOUT
from tests.support.small_machines import image

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pytest

    from paravane.time.clock import Clock

MEMORY: Final = 8 << 20
SLICE: Final = 1_000_000
"""Instructions a slice: what a run does must not depend on how fast the host is."""


class Outcome(NamedTuple):
    """All that is left of a run. `counters` are those of `paravane.traps.state.Counters.cell`."""

    console: bytes
    memory: str
    traps: int
    now: int
    counters: tuple[int, ...]
    audit: tuple[str, ...]


class Ran(NamedTuple):
    """`served`: traps that never came to Python. `records`: what was watched."""

    outcome: Outcome
    served: int
    records: list[str]


class Runner:
    """Runs kernels by Python alone or with `native`, the library."""

    def __init__(self, native: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._native = native
        self._monkeypatch = monkeypatch

    def __call__(
        self,
        text: str,
        *,
        in_c: bool,
        watched: tuple[Kind, ...] = (),
        pauses: Iterable[int] = (),
        clock: Clock | None = None,
    ) -> Ran:
        """`pauses`: run for so many traps at a time first."""
        self._monkeypatch.setenv(SWITCH, str(self._native) if in_c else "0")
        printed, seen = bytearray(), list[Record]()
        with Machine(Machine.size_for(MEMORY), slice_instructions=SLICE, clock=clock) as machine:
            if watched:
                machine.trace.subscribe(seen.append, watched)
            domain = machine.create(image(text), DomainConfig(memory=MEMORY, sink=printed.extend))
            vcpu, platform = domain.vcpus[0], machine.platform
            assert (vcpu.gateway is not None) is in_c
            for traps in pauses:
                before = platform.traps
                assert machine.run(max_traps=traps).reason is StopReason.TRAPS
                assert platform.traps == before + traps
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
            outcome = Outcome(
                bytes(printed),
                sha256(platform.ram.bytes).hexdigest(),
                platform.traps,
                platform.clock.now(),
                tuple(vcpu.traps.counters.cell),
                tuple(machine.audit()),
            )
            served = 0 if vcpu.gateway is None else vcpu.gateway.served
            return Ran(outcome, served, [f"{record.time} {record.kind} {record.place}" for record in seen])
