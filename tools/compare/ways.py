"""A kernel on Xen and on a bare PC, counted or not: what it printed, and how it ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from paravane import DomainConfig, Kind, Machine, ShutdownReason
from paravane.classes import dataclass
from paravane.full.machine import BareMachine
from paravane.machine import DETERMINISTIC_SLICE
from paravane.tools.compare.bare import BareCounter
from paravane.tools.compare.paravirtual import XenCounter
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paravane import Domain, Image
    from paravane.full.shadow import Policy
    from paravane.full.state import Sensitive
    from paravane.tools.compare.costs import Phases
    from paravane.tools.compare.forms import Twice

SLICE: Final = DETERMINISTIC_SLICE


@dataclass(frozen=True, slots=True)
class Modes:
    """How a bare PC is virtualised."""

    shadow: Policy
    sensitive: Sensitive


@dataclass(frozen=True, slots=True)
class Outcome:
    """`console` is what was printed; `story` says how it ended, where that is not with success."""

    console: str
    story: str = ""


def check(name: str, outcomes: Mapping[str, Outcome]) -> None:
    """UsageError where the kernel that is called so did not end well, or said different things."""
    for where, outcome in outcomes.items():
        if outcome.story:
            raise UsageError(f"{name} on {where} did not succeed: {outcome.story}", Status.CRASHED)
    (first, expected), *others = outcomes.items()
    for where, outcome in others:
        if outcome.console != expected.console:
            raise UsageError(
                f"{name} says other things on {where} than on {first}: that is no comparison", Status.ERRORS
            )


def seconds(run: Callable[[], object]) -> float:
    """What it takes of the host's processor, now."""
    began = time.process_time()
    run()
    return time.process_time() - began


def on_xen(kernel: Twice, timeout: float, phases: Phases | None = None) -> Outcome:
    """Run its form for Xen for `timeout` host seconds at most, and count into `phases`, if there are any."""

    def counted(machine: Machine, domain: Domain) -> XenCounter | None:
        if phases is None:
            return None
        return XenCounter(machine.platform, domain.vcpus[0], kernel.xen.phase, phases)

    config = DomainConfig(memory=kernel.memory, cmdline=kernel.cmdline, name=kernel.name)
    return run_on_xen(kernel.image, config, timeout, counted)


def run_on_xen(
    image: Image,
    config: DomainConfig,
    timeout: float,
    counted: Callable[[Machine, Domain], XenCounter | None],
) -> Outcome:
    """Run a domain for `timeout` host seconds at most on a machine of its own, with what `counted` makes to
    count it, if it makes anything. Raises ImageError."""
    with Machine(Machine.size_for(config.memory + config.overhead), slice_instructions=SLICE) as machine:
        domain = machine.create(image, config)
        counter = counted(machine, domain)
        if counter is not None:
            machine.trace.subscribe(counter.take, (Kind.HYPERCALL, Kind.TRAP))
        ending = machine.run(timeout=timeout)
        if counter is not None:
            counter.finish()
        story = ""
        if domain.reason is not ShutdownReason.poweroff:
            story = str(ending) if domain.reason is None else f"it ended by {domain.reason.name}"
        return Outcome(domain.console_output().decode("utf-8", "replace"), story)


def on_pc(kernel: Twice, modes: Modes, timeout: float, phases: Phases | None = None) -> Outcome:
    """Run its form for a bare PC, as `on_xen` does the other. Raises ImageError."""
    console = bytearray()
    with BareMachine(
        kernel.bare.data,
        kernel.memory,
        command_line=kernel.cmdline,
        sink=console.extend,
        slice_instructions=SLICE,
        sensitive=modes.sensitive,
        shadow=modes.shadow,
    ) as machine:
        counter = None if phases is None else BareCounter(machine, kernel.bare.phase, phases)
        ending = machine.run(timeout=timeout)
        if counter is not None:
            counter.finish()
        guest = machine.guest
        story = ""
        if guest.reset_by is not None:
            story = f"it reset its machine by {guest.reset_by}"
        elif guest.exit_code != 0:
            story = str(ending) if guest.exit_code is None else f"it ended with {guest.exit_code}"
        return Outcome(console.decode("utf-8", "replace"), guest.failure or story)
