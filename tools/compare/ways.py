"""A kernel on Xen and on a bare PC, counted or not: what it printed, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane import DomainConfig, Kind, Machine, ShutdownReason
from paravane.classes import dataclass
from paravane.full.machine import BareMachine
from paravane.machine import DETERMINISTIC_SLICE
from paravane.tools.compare.bare import BareCounter
from paravane.tools.compare.paravirtual import XenCounter

if TYPE_CHECKING:
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


def on_xen(kernel: Twice, timeout: float, phases: Phases | None = None) -> Outcome:
    """Run its form for Xen for `timeout` host seconds at most, and count into `phases`, if there are any."""
    with Machine(Machine.size_for(kernel.memory), slice_instructions=SLICE) as machine:
        domain = machine.create(
            kernel.image, DomainConfig(memory=kernel.memory, cmdline=kernel.cmdline, name=kernel.name)
        )
        counter = None
        if phases is not None:
            counter = XenCounter(machine.platform, domain.vcpus[0], kernel.xen.phase, phases)
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
        if guest.exit_code != 0:
            story = str(ending) if guest.exit_code is None else f"it ended with {guest.exit_code}"
        return Outcome(console.decode("utf-8", "replace"), guest.failure or story)
