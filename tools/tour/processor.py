"""Stops about the processor: rings, segments, exceptions, page faults, system calls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from paravane.abi.hypercall import HYPERCALL_VECTOR
from paravane.tools.tour.counting import mean, nanoseconds, of_kind, refusal
from paravane.tools.tour.stop import Exercise, Figure, Stop
from paravane.trace import Kind, PageRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.tools.tour.stop import Run

_SYSTEM_CALL: Final = 0x80
_PAGE_FAULT: Final = 14


def _protection(run: Run) -> Iterator[Figure]:
    faults = run.result.traps["#GP"]
    yield Figure(
        "kernel",
        sum(t.cpl == 1 for t in faults),
        "attempts of the kernel, in ring 1, at what is ring 0's: #GP",
    )
    yield Figure(
        "application", sum(t.cpl == 3 for t in faults), "attempts of the application, in ring 3: #GP"
    )
    barred = [t for t in faults if t.cpl == 3 and t.error_code == 8 * HYPERCALL_VECTOR + 2]
    yield Figure(
        "hypercalls", len(barred), f"of these for `int ${HYPERCALL_VECTOR:#x}`: a hypercall is not for ring 3"
    )
    pages = run.result.traps["#PF"]
    yield Figure("pages", len(pages), "touches of the kernel's memory by the application: #PF")
    yield Figure(
        "ring0",
        sum(t.cpl == 0 for t in run.result.traps),
        "traps that came from ring 0: nobody of the guest is there",
    )


def _segmentation(run: Run) -> Iterator[Figure]:
    result = run.result
    calls = result.hypercalls("update_descriptor")
    refused = [call for call in calls if call.errno is not None]
    yield Figure("offered", len(calls), "descriptors offered to the hypervisor one by one")
    yield Figure("refused", len(refused), "of them refused: they would have led out of the guest")
    yield Figure(
        "gates", sum("gate" in call.sentence for call in refused), "of these are gates or system descriptors"
    )
    validated = [
        r for r in of_kind(result, PageRecord) if r.name == "validated" and r.after.startswith("seg")
    ]
    yield Figure("pages", len(validated), "times a page became a descriptor table, checked entry by entry")
    yield Figure("why", refusal(result, "set_gdt"), "a table that its owner can still write to was refused")


def _exceptions(run: Run) -> Iterator[Figure]:
    result = run.result
    bounced = [trap for trap in result.traps if trap.handler is not None and trap.outcome != "direct"]
    tables = result.hypercalls("set_trap_table")
    yield Figure("tables", len(tables), "hypercalls in which the kernel named all its handlers")
    yield Figure("bounced", len(bounced), "exceptions and interrupts that the hypervisor passed on to them")
    yield Figure("vectors", len({trap.vector for trap in bounced}), "different vectors")
    yield Figure(
        "codes",
        sum(trap.error_code is not None for trap in bounced),
        "had an error code, put on the stack as the processor would",
    )
    yield Figure(
        "user",
        sum(trap.cpl == 3 for trap in bounced),
        "came from ring 3, so their frames went to the kernel's own stack",
    )
    yield Figure(
        "time", mean(nanoseconds(bounced), bounced), "virtual nanoseconds each, until the handler began"
    )


def _page_faults(run: Run) -> Iterator[Figure]:
    result = run.result
    faults = result.traps[_PAGE_FAULT]
    maps = [call for call in result.hypercalls("update_va_mapping") if call.record.time > faults[0].time]
    again = re.search(r"again: (\d+)", result.console)
    yield Figure("faults", len(faults), "pages touched for the first time, a page fault each")
    yield Figure(
        "direct",
        sum(f.outcome == "direct" for f in faults),
        "of these reached the kernel without the hypervisor",
    )
    yield Figure(
        "addresses",
        len({fault.cr2 for fault in faults}),
        "different addresses, each read by the kernel from vcpu_info",
    )
    yield Figure("maps", len(maps), "pages mapped by the handler, by a hypercall each")
    yield Figure("again", int(again[1]) if again else -1, "page faults when all of them were read once more")
    time = nanoseconds(faults) + sum(nanoseconds([call.record]) for call in maps)
    yield Figure("time", mean(time, faults), "virtual nanoseconds of the hypervisor for each page")


def _system_calls(run: Run) -> Iterator[Figure]:
    result = run.result
    fast = result.traps[_SYSTEM_CALL]
    entered = [trap for trap in fast if trap.outcome != "direct"]
    bounced = [trap for trap in result.traps if trap.vector == _SYSTEM_CALL + 1 and trap.handler is not None]
    returns = result.hypercalls("iret")
    yield Figure("calls", len(fast), "system calls by `int $0x80`, which has a gate of its own")
    yield Figure("entered", len(entered), "of them entered the hypervisor")
    yield Figure(
        "bounced",
        len(bounced),
        "system calls by `int $0x81`, which has none: each passed through the hypervisor",
    )
    yield Figure(
        "bounce", mean(nanoseconds(bounced), bounced), "virtual nanoseconds each, on the way in alone"
    )
    yield Figure(
        "direct",
        mean(nanoseconds(fast), fast),
        "virtual nanoseconds for one of the fast ones, all of them the processor's own",
    )
    yield Figure(
        "returns",
        len(returns),
        "returns by the hypercall `iret`: another entry each, which plain `iret` saves",
    )


PROTECTION: Final = Stop(
    title="Protection: three rings",
    section="2.1.2",
    idea="""\
A processor of this family has four privilege levels, and ordinary systems use two of them. Here the
hypervisor has ring 0 to itself, the kernel moves up to ring 1, and applications stay in ring 3. The
kernel is still safe from its applications, and the hypervisor from both: whoever executes an
instruction that is reserved for ring 0 gets a general protection fault.""",
    kernel="rings",
    kinds=(Kind.TRAP,),
    figures=_protection,
    exercise=Exercise(
        {
            "error code 0x00000402": (
                "vector 0x80 has no gate yet: error code 0x402 is 8 * 0x80 + 2, a missing gate"
            ),
            "crash|did not end": "ring 3 calls the kernel by `int $0x80`, and without a gate that is a fault",
        },
        max_traps=2000,
    ),
)

SEGMENTATION: Final = Stop(
    title="Segmentation: descriptor tables that are checked",
    section="2.1.1",
    idea="""\
A kernel may have descriptor tables of its own, under two rules: no descriptor may give more
privilege than the kernel has, and none may be changed without being looked at. So the pages of a
table become read-only to the guest, the hypervisor checks every entry once, and later changes come
as requests, of which each is checked alone.""",
    kernel="segments",
    kinds=(Kind.HYPERCALL, Kind.REFUSAL, Kind.PAGE),
    figures=_segmentation,
    exercise=Exercise(
        {
            "set_gdt -> -EINVAL|made read-only: EINVAL": (
                "a page that somebody can write to is no descriptor table: `make_read_only` first"
            ),
        },
        max_traps=2000,
    ),
)

EXCEPTIONS: Final = Stop(
    title="Exceptions: a table of handlers, told once",
    section="2.1.2",
    idea="""\
The kernel cannot load an interrupt descriptor table, so it gives the hypervisor a list of its
handlers instead. When an exception happens, the hypervisor builds the very frame on the kernel's
stack that the processor would have built, and goes on at the handler; a handler written for bare
hardware hardly notices.""",
    kernel="traps",
    kinds=(Kind.HYPERCALL, Kind.TRAP),
    figures=_exceptions,
    exercise=Exercise(
        {
            "has no handler": (
                "the hypervisor was never told of a handler: `set_trap_table` takes a table in EAX"
            ),
            r"\+ +int \$10: #GP": (
                "an instruction may raise exceptions 10, 17 and 19 by the rows of `open_gates`, which have "
                "to replace those of `trap_table`"
            ),
        }
    ),
)

PAGE_FAULTS: Final = Stop(
    title="The first frequent exception: page faults",
    section="2.1.2",
    idea="""\
Two kinds of exceptions are frequent enough to matter for speed. The first is the page fault, and it
cannot be shortened: the address at fault is in register CR2, which ring 0 alone may read. So each
one passes through the hypervisor, which leaves the address where the kernel can read it, and the
handler asks by a hypercall for the page to be mapped.""",
    kernel="demand",
    kinds=(Kind.HYPERCALL, Kind.TRAP),
    figures=_page_faults,
    exercise=Exercise(
        {
            "update_va_mapping -> ": (
                "the entry was refused; look at the frame and the flags that it was made of"
            ),
            "more page faults than pages": (
                "the instruction faults again and again: its page is not mapped, or not to be written"
            ),
        },
        max_traps=2000,
    ),
)

SYSTEM_CALLS: Final = Stop(
    title="The second frequent exception: system calls",
    section="2.1.2",
    idea="""\
The other frequent one is the system call, and that can be made as cheap as on bare hardware. Its
gate needs nothing of ring 0, so the hypervisor checks the kernel's handler once and puts it into
the processor's own table: from then on `int $0x80` leads from the application straight into the
kernel. Every other vector goes the long way; and on a Xen of 64 bits, where no gate leads to 32-bit
code, this one does too, by a shorter path.""",
    kernel="fastcall",
    kinds=(Kind.HYPERCALL, Kind.TRAP),
    figures=_system_calls,
    exercise=Exercise(
        {
            "has no handler": (
                "`int $0x80` has no gate, so it became a #GP; the kernel has no handler for that either"
            )
        }
    ),
)
