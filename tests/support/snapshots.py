"""Machines that are stopped, saved and restored, beside others that are left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paravane import Machine
from paravane.chosen import choose
from paravane.sched import POLICIES
from paravane.trace.text import line
from paravane.variation import PLAIN, Variation
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane import DomainConfig, Image
    from paravane.together import Guest
    from paravane.trace import Kind, Record

SLICE = 20_000
"""Instructions: so few that most kernels have some slices."""


class Outcome(NamedTuple):
    """What can be told of a machine that has run to its end, and what it wrote into its trace."""

    consoles: tuple[bytes, ...]
    ended: tuple[str, ...]
    now: int
    traps: int
    audit: tuple[str, ...]
    trace: tuple[str, ...]


class Bench:
    """Some kernels as the domains of one machine, each time from the beginning."""

    def __init__(
        self,
        *guests: Guest,
        seed: int = 0,
        policy: str = "bvt",
        slices: int = SLICE,
        variation: Variation = PLAIN,
    ) -> None:
        chosen = [(guest, choose(guest.kernel, (), {})) for guest in guests]
        self._wanted: list[tuple[Image, DomainConfig]] = [
            (one.image, guest.config(one)) for guest, one in chosen
        ]
        self._seed, self._policy, self._slices = seed, policy, slices
        self._variation = variation

    def machine(self) -> Machine:
        """One that has not run. Close it."""
        made = Machine(
            Machine.size_for(*(config.memory for _, config in self._wanted)),
            seed=self._seed,
            policy=POLICIES[self._policy](),
            slice_instructions=self._slices,
            variation=self._variation,
        )
        for image, config in self._wanted:
            made.create(image, config)
        return made

    def alone(self, kinds: Sequence[Kind] = ()) -> Outcome:
        """A machine that nobody stops, with its trace of these kinds."""
        return finish(self.machine(), kinds)

    def saved(self, until: int) -> bytes:
        """A machine saved at the first end of a slice from a system time on."""
        with self.machine() as machine:
            machine.run(timeout=HOST_TIMEOUT, until=until)
            return machine.save()


def finish(machine: Machine, kinds: Sequence[Kind] = ()) -> Outcome:
    """Run a machine to its end, and close it."""
    records: list[Record] = []
    domains = list(machine.domains.values())
    with machine:
        if kinds:
            machine.trace.subscribe(records.append, kinds)
        machine.run(timeout=HOST_TIMEOUT)
        return Outcome(
            tuple(domain.console_output() for domain in domains),
            tuple("" if domain.reason is None else domain.reason.name for domain in domains),
            machine.platform.clock.now(),
            machine.platform.traps,
            tuple(machine.audit()),
            tuple(map(line, records)),
        )
