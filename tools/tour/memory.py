"""Stops about memory: what is real, page tables, batches, safety, balloons."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from paravane.abi.memory import MemoryOp
from paravane.abi.mmu import MmuextCmd
from paravane.tools.tour.counting import nanoseconds, of_kind, refusal, with_command, with_operation
from paravane.tools.tour.stop import Exercise, Figure, Stop
from paravane.trace import Kind, PageRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.tools.tour.stop import Run

_TABLES: Final = ("l1_page_table", "l2_page_table", "l3_page_table")


def _principles(run: Run) -> Iterator[Figure]:
    pages = [record for record in of_kind(run.result, PageRecord) if record.owner == record.domid]
    frames = {record.mfn for record in pages}
    adjacent = re.search(r"adjacent frames: (\d+)", run.result.console)
    tables = {record.mfn for record in pages if record.name == "validated"}
    yield Figure(
        "frames", len(frames), "machine frames that it was given and has mapped, anywhere in the machine"
    )
    yield Figure(
        "span", max(frames) - min(frames) + 1, "frames of the machine from the first of them to the last"
    )
    yield Figure(
        "adjacent",
        int(adjacent[1]) if adjacent else -1,
        "pairs of neighbouring pages that are neighbours there too",
    )
    yield Figure("tables", len(tables), "of the frames are page tables, which hold machine addresses")
    yield Figure(
        "audit", len(run.result.audit), "differences between the hypervisor's books and those tables"
    )


def _paging(run: Run) -> Iterator[Figure]:
    result = run.result
    records = of_kind(result, PageRecord)
    yield Figure(
        "tables",
        sum(r.name == "validated" for r in records),
        "page tables checked before they came into use, those of its start included",
    )
    yield Figure(
        "pins",
        len(with_operation(result, MmuextCmd.PIN_L3_TABLE)),
        "requests to take the new root, with all below it: refused, then carried out",
    )
    yield Figure(
        "switches",
        len(with_operation(result, MmuextCmd.NEW_BASEPTR)),
        "switches of the address space, a hypercall each",
    )
    yield Figure("faults", len(result.traps["#PF"]), "page faults at what one of the spaces does not map")
    yield Figure("pin", refusal(result, "mmuext_op"), "the first attempt to pin it was refused")
    yield Figure("write", refusal(result, "update_va_mapping"), "and so was write access to a table in use")


def _batches(run: Run) -> Iterator[Figure]:
    calls = [call for call in run.result.hypercalls("mmu_update") if call.errno is None]
    sizes = [call.args["count"] for call in calls]
    largest = max(sizes)
    single = [call.record for call in calls if call.args["count"] == 1]
    together = [call.record for call in calls if call.args["count"] == largest]
    multicalls = run.result.hypercalls("multicall")
    yield Figure("single", len(single), "updates one by one, a hypercall each")
    yield Figure("single_time", nanoseconds(single), "virtual nanoseconds for all of these")
    yield Figure("largest", largest, "updates in a single hypercall")
    yield Figure(
        "largest_time",
        nanoseconds(together[:1]),
        "virtual nanoseconds for all of those: entries are charged, not work",
    )
    yield Figure(
        "multicalls",
        len(multicalls),
        f"multicalls, each with {multicalls[0].args['nr_calls']} other hypercalls in it",
    )
    yield Figure(
        "bad", refusal(run.result, "mmu_update"), "of a batch with a bad request in it, the rest was not done"
    )


def _safety(run: Run) -> Iterator[Figure]:
    result = run.result
    refused = result.refusals
    faults = [trap for trap in result.traps if trap.vector in (13, 14)]
    yield Figure(
        "attacks", sum(": " in line for line in result.lines), "attempts to break out, by a kernel in ring 1"
    )
    yield Figure("refused", len(refused), "requests that the hypervisor refused")
    yield Figure("kinds", len({record.errno for record in refused}), "different errnos")
    yield Figure("faults", len(faults), "attempts that the processor itself stopped, by #GP or #PF")
    yield Figure(
        "harmless",
        sum(": harmless" in line for line in result.lines),
        "attempts that were carried out, or corrected, and gained nothing",
    )
    yield Figure("succeeded", sum("NOT REFUSED" in line for line in result.lines), "attempts that succeeded")
    yield Figure(
        "audit",
        len(result.audit),
        "differences between the hypervisor's books and the page tables, after all that",
    )
    yield Figure(
        "table",
        refusal(result, "mmu_update", "writable_page"),
        "an update that would have made a table writable was refused",
    )
    yield Figure("other", refusal(result, "mmu_update", "control domain"), "and one in another domain's name")


def _balloon(run: Run) -> Iterator[Figure]:
    result = run.result
    given = with_command(result, "memory_op", MemoryOp.decrease_reservation)
    taken = with_command(result, "memory_op", MemoryOp.populate_physmap)
    asked = with_command(result, "memory_op", MemoryOp.maximum_reservation)
    most = max(given, key=lambda call: call.result or 0)
    yield Figure("limit", asked[0].result or 0, "pages: the limit of the domain, set from outside")
    yield Figure("most", most.result or 0, "pages given back by a single hypercall")
    yield Figure("given", sum(call.result or 0 for call in given), "pages given back in all")
    yield Figure(
        "taken", sum(call.result or 0 for call in taken), "extents asked for and got, emptied before"
    )
    yield Figure(
        "short", sum((call.result or 0) == 0 for call in taken), "requests beyond the limit that got nothing"
    )
    mapped = [call for call in result.hypercalls("update_va_mapping") if call.errno is not None]
    yield Figure("refused", len(mapped), "attempts to map a frame that had been given back: all refused")
    yield Figure("why", refusal(result, "update_va_mapping"), "the first of these")


PRINCIPLES: Final = Stop(
    title="The design: hide nothing that matters",
    section="2",
    idea="""\
A virtual machine that pretends to be a real one has to hide a lot, and the kernel makes its
decisions on what it is shown. Here it is told the truth where that helps: next to its own page
numbers, which run from zero, it sees the machine's frame numbers, next to its own time the real
one. Applications see no difference; only the kernel has to be ported.""",
    kernel="discontiguous",
    kinds=(Kind.PAGE,),
    figures=_principles,
    exercise=Exercise(
        {
            "hold the p2m's frame: ": (
                "the entry holds a machine frame, not a page number: `pfn_to_mfn` makes one of the other"
            )
        }
    ),
)

PAGING: Final = Stop(
    title="Paging: the kernel's own tables, checked",
    section="3.3.3",
    idea="""\
The kernel's page tables are the ones that the processor uses, with machine addresses in them; no
shadow of them is kept. What makes that safe is a type for each frame, with a count of its uses: a
page table, a descriptor table, or a page that may be written, and never two of them at once. A
table is checked when it gets its type, and can only be changed by requests that are checked as
well.""",
    kernel="paging",
    kinds=(Kind.HYPERCALL, Kind.REFUSAL, Kind.PAGE, Kind.TRAP),
    figures=_paging,
    exercise=Exercise(
        {
            "mmuext_op -> -EINVAL": (
                "a frame that somebody can write to cannot get the type of a table: `make_read_only` "
                "every one first"
            )
        }
    ),
)

BATCHES: Final = Stop(
    title="Batches: many updates, one hypercall",
    section="3.3.3",
    idea="""\
A hypercall costs about as much as a system call, and a kernel that makes or copies an address space
changes hundreds of entries. So requests are lists: as many updates as one likes go through one
crossing into the hypervisor, each checked as if it had come alone, and the table is the same in the
end.""",
    kernel="batch",
    kinds=(Kind.HYPERCALL, Kind.REFUSAL),
    figures=_batches,
    exercise=Exercise(
        {
            r"\+ .* a call: 1000 hypercalls": (
                "each call still takes a single request: ECX says how many there are at EBX"
            ),
            r"\+ .* a call: panic": (
                "a call asks for more requests than are left in the list: EDI says how many these are"
            ),
        }
    ),
)

SAFETY: Final = Stop(
    title="Safety: one kernel against the others",
    section="2.1",
    idea="""\
The kernels of a machine do not trust each other, and the hypervisor trusts none of them. Whatever a
request names (a frame, a table, another domain, a list in memory), its owner and its type are
checked before anything is done. The worst that a hostile kernel can come to is its own end.""",
    kernel="attack",
    kinds=(Kind.REFUSAL, Kind.TRAP),
    figures=_safety,
    exercise=Exercise(
        {"NOT REFUSED": "nobody has asked for that memory yet, so there was nothing to refuse"}
    ),
)

BALLOON: Final = Stop(
    title="Ballooning: memory that comes and goes",
    section="3.3.4",
    idea="""\
A domain starts with a fixed reservation and a limit beyond it. Inside a kernel that needs less sits
a balloon driver, which takes pages from the kernel's own allocator and gives their frames back to
the hypervisor, and asks for others when there is need. What was given back is somebody else's: it
can neither be mapped nor read, and comes back empty.""",
    kernel="balloon",
    kinds=(Kind.HYPERCALL, Kind.REFUSAL),
    figures=_balloon,
    exercise=Exercise(
        {
            "rest: 511 pages, now: 2047": (
                "a frame that is still mapped stays ours although it was given back: unmap it first"
            )
        }
    ),
)
