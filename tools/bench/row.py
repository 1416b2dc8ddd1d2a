"""A row of a table of costs: one thing that a guest, or who starts one, waits for, and its floor."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from paravane.tools.bench.bare import bare
from paravane.tools.bench.gateways import PYTHON, gateway
from paravane.tools.bench.loops import image, loop
from paravane.tools.bench.timing import Growing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    Prepared: TypeAlias = AbstractContextManager[Callable[[], float]]
    """What gives, each time it is called, the seconds that one operation took."""


class Floor(NamedTuple):
    """What cannot be done without. `what` says it in a few words."""

    what: str
    prepare: Callable[[], Prepared]


class Row(NamedTuple):
    """`name` is what `--rows` takes, `what` a line for people; `prepare` is given the name of a gateway."""

    name: str
    what: str
    floor: Floor
    prepare: Callable[[str], Prepared]


class Routine(NamedTuple):
    """One of a kernel's. A turn of it is so many `operations` and takes so many `traps`. Where it `sleeps`,
    its time is the host's, not the processor's. `two_level` is another ABI's page tables."""

    kernel: str
    name: str
    operations: int = 1
    traps: int = 1
    sleeps: bool = False
    two_level: bool = False

    @contextmanager
    def prepare(self, which: str) -> Iterator[Callable[[], float]]:
        """It is repeated on a machine of its own with that gateway."""
        kernel = image(self.kernel, two_level=self.two_level)
        clock = time.perf_counter if self.sleeps else time.process_time
        with ExitStack() as stack:
            with gateway(which):
                repeated = stack.enter_context(loop(kernel, self.name, self.traps))
            yield Growing(repeated.turn, self.operations, clock).measure


def guest(name: str, what: str, floor: Floor, routine: Routine) -> Row:
    """What a routine of a kernel does."""
    return Row(name, what, floor, routine.prepare)


def engine(what: str, routine: str) -> Floor:
    """What a routine of kernels/floors.S does in the engine alone."""
    return Floor(what, partial(bare, routine))


def without_hypervisor(what: str, routine: Routine) -> Floor:
    """What a guest does that needs no hypervisor, but for a hypercall in every thousand operations."""
    return Floor(what, partial(routine.prepare, PYTHON))
