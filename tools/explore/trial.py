"""One run of a kernel under a seed, and what speaks against it."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from paravane import Image, Machine, StopReason, load_image
from paravane.classes import dataclass
from paravane.machine import DETERMINISTIC_SLICE
from paravane.quick import Kept, feed, result_of
from paravane.testing.cases import Finding, judged, of_the_run, sections_of
from paravane.testing.verdict import Verdict, told
from paravane.variation import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane import BootResult, DomainConfig
    from paravane.faults import Fault
    from paravane.guest_kernels import GuestKernel
    from paravane.testing.cases import Sections
    from paravane.testing.expectation import Expected
    from paravane.variation import Variation

HOST_SECONDS: Final = 60.0
"""How long a run may take by the host's time."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run again and again, and what it is held against.

    `image` is the file's contents. `kernel` is that of a folder (None: an image or a source, which is held
    against its plain run, that ended with `status`), `expected` what that should print. A run that has not
    ended at system time `until`, in nanoseconds, hangs (None: not known yet), as does one that takes longer
    than `timeout` seconds of the host. `typed` is on its console from the start.
    """

    image: bytes
    config: DomainConfig
    typed: bytes = b""
    kernel: GuestKernel | None = None
    expected: Expected | None = None
    status: int | None = None
    until: int | None = None
    timeout: float = HOST_SECONDS


@dataclass(frozen=True, slots=True)
class Draw:
    """A seed, and what it may decide. Seed 0 decides nothing: it is the plain run."""

    seed: int
    variation: Variation = PLAIN


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a run: its exit status as `paravane boot` has it, sentences against it, what is to be seen
    of one that failed; how many turns were left to chance, and the system time at which it was over; how many
    faults there were, and the first of them. `by_host`: it was cut short for the host's time, which no seed
    decides."""

    draw: Draw
    status: int
    findings: tuple[str, ...]
    sections: Sections = ()
    decisions: int = 0
    ended_at: int = 0
    nr_faults: int = 0
    faults: tuple[Fault, ...] = ()
    by_host: bool = False

    @property
    def failed(self) -> bool:
        return bool(self.findings)

    def alike(self, other: Trial) -> bool:
        """Whether both failed, in the same way as far as the exit status tells."""
        return self.failed and other.failed and self.status == other.status


def run(plan: Plan, draw: Draw) -> Trial:
    """Run it once. Slices are counted in instructions, so the draw says all that is left to chance. Raises
    what `Machine.create` raises."""
    with quiet(), machine_of(plan, draw) as machine:
        domain = machine.create(image_of(plan), plan.config)
        feed(domain, plan.typed)
        ending = machine.run(timeout=plan.timeout, until=plan.until)
        result = result_of(machine, domain, ending.reason, Kept())
        findings = tuple(finding.sentence for finding in _against(plan, result))
        return Trial(
            draw,
            result.status,
            findings,
            sections_of(result) if findings else (),
            machine.decisions,
            machine.platform.clock.now(),
            machine.nr_faults,
            machine.first_faults,
            result.ending is StopReason.TIMEOUT,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is logged: of many runs nobody could tell which one it is about."""
    log = logging.getLogger("paravane")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def machine_of(plan: Plan, draw: Draw) -> Machine:
    """The machine of a run."""
    return Machine(
        Machine.size_for(plan.config.memory + plan.config.overhead, privileged=plan.config.privileged),
        seed=draw.seed,
        slice_instructions=DETERMINISTIC_SLICE,
        variation=draw.variation,
    )


def image_of(plan: Plan) -> Image:
    """The image that is run, read once. Raises ImageError."""
    return _image(plan.image)


@lru_cache(maxsize=1)
def _image(data: bytes) -> Image:
    return load_image(data)


def _against(plan: Plan, result: BootResult) -> list[Finding]:
    """All that speaks against a run."""
    kernel = plan.kernel
    if kernel is not None and (plan.expected is not None or told(result.console) is not None):
        found = judged(kernel, plan.expected, result)
    else:
        wanted = plan.status if kernel is None else kernel.exit_status
        found = of_the_run(result.status if wanted is None else wanted, result)
    if result.ending is StopReason.TIMEOUT:
        found.append(
            Finding(Verdict.FAILURE, f"it has not ended after {plan.timeout:g} seconds of the host's time")
        )
    return [finding for finding in found if finding.verdict > Verdict.SKIP]
