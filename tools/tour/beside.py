"""Stops about what the paper argues against, or wishes for: full virtualisation, and other TLBs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.tlb import TlbKind
from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from paravane.tools.compare import forms, tlbs
from paravane.tools.compare.comparison import Comparison, compare
from paravane.tools.compare.tlbs import TlbComparison, compare_tlbs, every_kind
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


def _three_tlbs(kernel: GuestKernel) -> TlbComparison:
    return compare_tlbs(tlbs.find(kernel, forms.sources_of(kernel)), every_kind(), TIMEOUT)


def _translations(run: Run) -> Iterator[Figure]:
    found = run.beside
    assert isinstance(found, TlbComparison)
    *_, (_, whole) = found.rows()
    hardware, software, tagged = (whole[kind] for kind in TlbKind)
    yield Figure("flushes", hardware.tlb["flushes"], "times one as x86's was emptied, for a switch as a rule")
    yield Figure("misses", hardware.tlb["misses"], "misses of it, mended by the processor from page tables")
    yield Figure("exits", hardware.nr_exits, "exits to the hypervisor, the switches among them")
    yield Figure(
        "tagged_flushes", tagged.tlb["flushes"], "times one whose entries say whose they are was emptied"
    )
    yield Figure("tagged_misses", tagged.tlb["misses"], "misses of it: a switch leaves what is there")
    yield Figure("tagged_exits", tagged.nr_exits, "exits with it")
    yield Figure(
        "refills", software.tlb["refills"], "refills by the kernel of one without tags, from a hash table"
    )
    yield Figure(
        "software_exits", software.nr_exits, "exits with it: two for each miss, but no page table is checked"
    )


TLBS: Final = Stop(
    title="Two wishes: a TLB that software fills, and tags in it",
    section="2.1",
    idea="""\
Memory is the hardest part to virtualise, and more so on x86, whose processor fills its TLB by itself from
page tables in memory: what is in them has to be right at each moment, so the hypervisor checks each
entry. Where software fills the TLB, as on MIPS or Alpha, it would check what goes in, and a kernel could
keep its translations in any form. And entries of x86's TLB do not say whose they are, so that it is
emptied at each switch; that is why Xen is mapped at the top of each address space, where it need not be
switched to. The processors of this stop have the one, the other, and the TLB that x86 has.""",
    kernel="tlb",
    kinds=(),
    figures=_translations,
    exercise=Exercise(
        {
            r"status is 124|traps|time given": (
                "the miss comes again and again: the handler returns, and the TLB has not been given the page"
            ),
            "refill": "the refill was refused: ECX is the address, EDX and ESI are the entry",
        },
        max_traps=20_000,
        tlb="software",
    ),
    beside=_three_tlbs,
)
