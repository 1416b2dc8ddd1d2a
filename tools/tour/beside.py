"""Stops about what the paper argues against, or wishes for: full virtualisation, and other TLBs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from paravane.tools.compare import forms
from paravane.tools.compare.comparison import Comparison, compare
from paravane.tools.compare.ways import Modes
from paravane.tools.tour.stop import TIMEOUT, Exercise, Figure, Stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.guest_kernels import GuestKernel
    from paravane.tools.tour.stop import Run

_MODES: Final = Modes(Policy.VTLB, Sensitive.REWRITE)


def _both_ways(kernel: GuestKernel) -> Comparison:
    return compare(forms.build(kernel), _MODES, TIMEOUT)


def _full_virtualisation(run: Run) -> Iterator[Figure]:
    found = run.beside
    assert isinstance(found, Comparison)
    xen, pc = found.xen, found.pc
    *_, (_, whole, other) = found.rows()
    calls = pc["system calls"].exits
    yield Figure("xen", whole.nr_exits, "times the kernel for Xen was left for the hypervisor")
    yield Figure("pc", other.nr_exits, "times the kernel for a PC was, which printed the same lines")
    yield Figure("direct", xen["system calls"].nr_exits, "of Xen's were for system calls")
    yield Figure("calls", calls.total(), "of the PC's were for the same system calls:")
    yield Figure("traps", calls["int n"], "for the call itself, which its own gate does not take")
    yield Figure("loads", calls["mov to a segment"], "for segment registers: its GDT is not the real one")
    yield Figure("returns", calls["iret"], "for the return to ring 3")
    yield Figure("emulated", other.instructions, "instructions that the monitor did in the PC's place")
    yield Figure("switches", xen["context switches"].nr_exits, "hypercalls for Xen's context switches")
    yield Figure(
        "refills",
        pc["context switches"].exits["page filled in"],
        "pages that the PC's shadow tables lacked after each load of CR3, and that were filled in again",
    )


FULL: Final = Stop(
    title="The wrong way: full virtualisation, and its price",
    section="2",
    idea="""\
x86 was not made to be virtualised: some instructions that need privilege do not trap without it, they
fail in silence, and the page tables that a kernel writes cannot be those that the processor walks. A
hypervisor that shows a kernel the hardware all the same has to rewrite its code while it runs, and to
keep shadows of its tables, and is entered for each trap, each segment load, each page. Xen has the
kernel changed instead, by a few thousand lines, and is asked for what the kernel needs. The kernel of
this stop is both: bare.S is what it needs of a PC, xen.S what it needs of Xen, the rest is the same.""",
    kernel="twice",
    kinds=(),
    figures=_full_virtualisation,
    exercise=Exercise(
        {
            "the first process failed": (
                "the second process runs in the address space of the first: nothing has told the "
                "hypervisor of its table, or of its stack"
            ),
            "switch": "a call of the switch was refused: words of `switch_calls` or `switch_op` are wrong",
        }
    ),
    beside=_both_ways,
)
