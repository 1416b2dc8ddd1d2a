"""What a machine's turns and ends see of a guest, whatever it takes its machine for.

A guest of Xen and one of a bare PC have nothing in common but this: each has vcpus that take turns on the
processor, and comes to an end. Neither personality knows the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane.cpu import Cpu, RunEnd
    from paravane.place import Place
    from paravane.sched import Entity


class Readiness(Protocol):
    """Whether a vcpu could use the processor, and why it does not."""

    @property
    def runnable(self) -> bool: ...
    @property
    def yielded(self) -> bool:
        """Whether it has given up the rest of its slice."""
        ...

    @property
    def why_stopped(self) -> str:
        """Why the slice that ended now did not go on, for the trace."""
        ...

    def schedule(self, scheduler: Callable[[bool], None], kick: Callable[[], None]) -> None:
        """Have `scheduler` told from now on, and at once, whenever `runnable` has changed, and `kick` called
        when the vcpu has something to look at."""
        ...

    def switch_in(self) -> None:
        """The vcpu gets the processor."""
        ...

    def switch_out(self) -> None:
        """It loses the processor."""
        ...


class GuestVcpu(Protocol):
    """A virtual processor that takes turns."""

    computes: bool
    """Whether its slices have to be ended for it, as far as can be told from the last ones."""

    @property
    def domid(self) -> int: ...
    @property
    def vcpu_id(self) -> int: ...
    @property
    def entity(self) -> Entity: ...
    @property
    def cpu(self) -> Cpu: ...
    @property
    def run_state(self) -> Readiness: ...
    @property
    def hears_ticks(self) -> bool:
        """Whether its guest would notice that it was not ticked."""
        ...

    @property
    def place(self) -> Callable[[], Place]:
        """Where its guest is."""
        ...

    def run(self, instructions: int = 0, /) -> RunEnd:
        """Run the guest until something stops it, or for `instructions` (0: without a limit)."""
        ...

    def go_on(self) -> RunEnd:
        """What is left of a run that is PAUSED."""
        ...

    def stop(self) -> None:
        """Leave the guest soon: after the trap being served, or at once from another thread."""
        ...


class Guest(Protocol):
    """A guest of the machine."""

    @property
    def domid(self) -> int: ...
    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        ...

    @property
    def paused(self) -> bool:
        """Whether none of its vcpus may run, whatever they wait for."""
        ...

    @property
    def vcpus(self) -> Sequence[GuestVcpu]: ...
