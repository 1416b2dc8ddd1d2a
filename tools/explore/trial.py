"""One run of a kernel under a seed, and what speaks against it."""

from __future__ import annotations

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
    from paravane import BootResult, DomainConfig
    from paravane.guest_kernels import GuestKernel
    from paravane.testing.cases import Sections
    from paravane.testing.expectation import Expected
    from paravane.variation import Variation

FIRST_RUN: Final = 60.0
"""Host seconds for the plain run: how long the others may take is known only when it has ended."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run again and again, and what it is held against.

    `image` is the file's contents. `kernel` is that of a folder (None: an image or a source, which is held
    against its plain run, that ended with `status`), `expected` what that should print. A run that has not
    ended at system time `until`, in nanoseconds, hangs; None: only `FIRST_RUN` counts. `typed` is on its
    console from the start.
    """

    image: bytes
    config: DomainConfig
    typed: bytes = b""
    kernel: GuestKernel | None = None
    expected: Expected | None = None
    status: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """A seed, and what it may decide. Seed 0 decides nothing: it is the plain run."""

    seed: int
    variation: Variation = PLAIN


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a run: its exit status as `paravane boot` has it, sentences against it, what is to be seen
    of one that failed; how many turns were left to chance, and the system time at which it was over."""

    draw: Draw
    status: int
    findings: tuple[str, ...]
    sections: Sections = ()
    decisions: int = 0
    ended_at: int = 0

    @property
    def failed(self) -> bool:
        return bool(self.findings)

    def alike(self, other: Trial) -> bool:
        """Whether both failed, in the same way as far as the exit status tells."""
        return self.failed and other.failed and self.status == other.status


def run(plan: Plan, draw: Draw) -> Trial:
    """Run it once. Slices are counted in instructions, so the draw says all that is left to chance. Raises
    what `Machine.create` raises."""
    with Machine(
        Machine.size_for(plan.config.memory, privileged=plan.config.privileged),
        seed=draw.seed,
        slice_instructions=DETERMINISTIC_SLICE,
        variation=draw.variation,
    ) as machine:
        domain = machine.create(_image(plan.image), plan.config)
        feed(domain, plan.typed)
        ending = machine.run(timeout=FIRST_RUN if plan.until is None else None, until=plan.until)
        result = result_of(machine, domain, ending.reason, Kept())
        findings = tuple(finding.sentence for finding in _against(plan, result))
        return Trial(
            draw,
            result.status,
            findings,
            sections_of(result) if findings else (),
            machine.decisions,
            machine.platform.clock.now(),
        )


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
    if plan.until is None and result.ending is StopReason.TIMEOUT and not found:
        found.append(Finding(Verdict.FAILURE, f"it has not ended after {FIRST_RUN:.0f} seconds of the host"))
    return [finding for finding in found if finding.verdict > Verdict.SKIP]
