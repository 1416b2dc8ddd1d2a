"""What a stop of the tour is: an idea, a run that shows it, figures of that run, an exercise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane import guest_kernels
from paravane.chosen import choose
from paravane.classes import NamedTuple, dataclass
from paravane.on_end import Action, OnEnd
from paravane.quick import boot
from paravane.together import Guest, boot_together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from paravane.boot_result import BootResult
    from paravane.guest_kernels import GuestKernel
    from paravane.image import Image
    from paravane.trace import Kind


TIMEOUT: Final = 300
"""Host seconds after which a run counts as hung: far more than any needs."""


class Figure(NamedTuple):
    """Something that a run shows: a number, or a sentence of the hypervisor's, and `what` it is. `name` is
    what tests call it."""

    name: str
    value: int | str
    what: str


class Run(NamedTuple):
    """What came of a stop's domains, the first of them alone where there are no more, and their kernel; and
    what came of `Stop.beside`."""

    results: tuple[BootResult, ...]
    image: Image
    beside: object = None

    @property
    def result(self) -> BootResult:
        return self.results[0]


class Part(NamedTuple):
    """A domain of a stop that runs several: its name and its command line."""

    name: str
    cmdline: str


@dataclass(frozen=True, slots=True)
class Exercise:
    """What of a kernel's folder becomes an exercise: the blocks of its sources with `# exercise KERNEL`.

    `hints` are as kernel.toml has them. `runtime` are files of `asm/include` that have such a block as well.
    `max_traps` ends an attempt that would go on for ever; 0: none does. `tlb` is what kernel.toml is to have
    for it.
    """

    hints: Mapping[str, str]
    runtime: tuple[str, ...] = ()
    max_traps: int = 0
    tlb: str | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """One idea. `section` is where "Xen and the Art of Virtualization" has it, `kernel` who shows it (and
    what marks its exercise), `kinds` what `figures` need of the trace. `parts` are the domains, if there are
    several. `beside` runs the kernel again, in another way than `paravane boot` does, for figures of that.
    """

    title: str
    section: str
    idea: str
    kernel: str
    kinds: tuple[Kind, ...]
    figures: Callable[[Run], Iterable[Figure]]
    exercise: Exercise
    parts: tuple[Part, ...] = ()
    beside: Callable[[GuestKernel], object] | None = None

    def run(self, kernel: GuestKernel | None = None) -> Run:
        """Boot the kernel, or one for each part on one machine; or another kernel than that of the catalogue.
        The slices of several are counted in instructions, so that they share the processor alike on every
        host."""
        kernel = kernel or guest_kernels.load(self.kernel)
        chosen = choose(kernel, (), {})
        known = chosen.defaults
        if self.parts:
            # As `paravane run` has it: what has powered off goes, and what it lent with it.
            on_end = OnEnd(poweroff=Action.DESTROY)
            guests = [
                Guest(chosen.image, part.name, part.cmdline, known.memory, on_end=on_end)
                for part in self.parts
            ]
            results = boot_together(*guests, trace=self.kinds, timeout=TIMEOUT, deterministic=True)
            return Run(results, chosen.image)
        result = boot(
            chosen.image,
            cmdline=known.cmdline,
            memory=known.memory,
            privileged=known.privileged,
            ramdisk=known.ramdisk,
            devices=known.devices,
            tlb=known.tlb,
            seed=known.seed,
            trace=self.kinds,
            timeout=TIMEOUT,
        )
        return Run((result,), chosen.image, None if self.beside is None else self.beside(kernel))
