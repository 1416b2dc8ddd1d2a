"""Stops about the machine around a kernel: what porting takes, events, time, devices, other domains."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from paravane.tools.hypercall_scan import scan_hypercalls
from paravane.tools.tour.counting import of_kind
from paravane.tools.tour.stop import Exercise, Figure, Part, Stop
from paravane.trace import (
    GrantRecord,
    Kind,
    RingRecord,
    ScheduleRecord,
    SendRecord,
    TimerRecord,
    UpcallRecord,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paravane.boot_result import BootResult
    from paravane.tools.tour.stop import Run

_FIRST_DEVICE_PORT: Final = 3
"""Ports 1 and 2 are those of xenstore and of the console, which every domain starts with."""


_OTHER_RINGS: Final = ("console", "store")


def _price(run: Run) -> Iterator[Figure]:
    calls = run.result.hypercalls()
    code = sum(end - start for start, end in run.image.code_ranges)
    sites = sum(scan_hypercalls(run.image).places.values())
    yield Figure("code", code, "bytes of code in the whole kernel, console and memory included")
    yield Figure("sites", sites, "places in it where the hypervisor is called")
    yield Figure("calls", len(calls), "hypercalls that it made, from its start to its end")
    yield Figure(
        "kinds",
        len({call.name for call in calls}),
        f"different ones: {', '.join(sorted({call.name for call in calls}))}",
    )
    yield Figure("traps", len(run.result.traps), "instructions that had to be caught and emulated")


def _events(run: Run) -> Iterator[Figure]:
    sends = [record for record in of_kind(run.result, SendRecord) if record.to_domid == record.domid]
    flows = {record.flow for record in sends}
    upcalls = of_kind(run.result, UpcallRecord)
    yield Figure("sends", len(sends), "events that the kernel sent to itself")
    yield Figure(
        "merged",
        len(sends) - len(flows),
        "of them met one that was still waiting at the port, and went with it",
    )
    yield Figure("upcalls", len(upcalls), "upcalls: the kernel was interrupted, and looked what there was")
    yield Figure("told", sum(len(record.flows) for record in upcalls), "events that it found then")
    yield Figure(
        "most",
        max((len(record.flows) for record in upcalls), default=0),
        "of them in a single upcall, after a while of masking",
    )


def _time(run: Run) -> Iterator[Figure]:
    result = run.result
    timers = of_kind(result, TimerRecord)
    passed = max(record.time for record in result.records)
    yield Figure("seconds", passed // 10**9, "seconds of system time passed for the domain")
    yield Figure(
        "ran",
        _on_processor([result])[result.name] // 10**6,
        "milliseconds of these it had the processor, its virtual time",
    )
    yield Figure("armed", sum(r.name == "armed" for r in timers), "times a timer was set")
    yield Figure("expired", sum(r.name == "expired" for r in timers), "times one went off")
    slept = [r for r in of_kind(result, ScheduleRecord) if r.why in ("blocked", "polling")]
    yield Figure("slept", len(slept), "times the kernel gave the processor away until then")
    yield Figure(
        "read",
        sum(call.name.startswith("sched_op") for call in result.hypercalls()),
        "scheduling hypercalls; none reads the time, which is in shared memory",
    )


def _rings(run: Run) -> Iterator[Figure]:
    disk = [record for record in of_kind(run.result, RingRecord) if record.device not in _OTHER_RINGS]
    requests = [record for record in disk if record.name == "request"]
    sends = [r for r in of_kind(run.result, SendRecord) if r.to_domid == 0 and r.port >= _FIRST_DEVICE_PORT]
    grants = {record.ref for record in of_kind(run.result, GrantRecord) if record.name == "map"}
    yield Figure("requests", len(requests), "requests that the disk's backend carried out")
    yield Figure(
        "responses",
        len(disk) - len(requests),
        "responses that it put into the same ring, into the places of requests",
    )
    yield Figure("bytes", sum(record.size for record in requests), "bytes that they were about")
    yield Figure("events", len(sends), "events by which the kernel told that there was something")
    yield Figure(
        "pages",
        len(grants),
        "different pages that the kernel lent for it, none of them copied through the ring",
    )
    failed = [record for record in disk if record.name == "response" and record.status != "OKAY"]
    yield Figure("failed", len(failed), "responses other than OKAY: the request reached beyond the disk")


def _grants(run: Run) -> Iterator[Figure]:
    records = [record for result in run.results for record in of_kind(result, GrantRecord)]
    lent = [record for record in records if record.by != 0]
    mapped = [record for record in lent if record.name == "map"]
    giver, taker = run.results
    yield Figure(
        "asked",
        len(giver.hypercalls("grant_table_op")),
        f"grant hypercall of `{giver.name}`, to have a table: it lends a page by just writing there",
    )
    yield Figure("mapped", len(mapped), f"times `{taker.name}` mapped a page that was lent to it")
    yield Figure(
        "copied", sum(record.name == "copy" for record in lent), "copies that the hypervisor made for it"
    )
    yield Figure("frames", len({record.mfn for record in lent}), "machine frames that both of them used")
    yield Figure(
        "released",
        sum(record.name == "release" for record in lent),
        "uses that have ended, the last of them after the death of the lender",
    )
    yield Figure(
        "refused",
        sum("refused" in line for line in taker.lines),
        "attempts to use a page otherwise than it was lent: refused",
    )
    yield Figure(
        "audit", sum(len(result.audit) for result in run.results), "frames left over that are nobody's"
    )


def _scheduling(run: Run) -> Iterator[Figure]:
    had = _on_processor(run.results)
    whole = sum(had.values())
    for name, time in had.items():
        yield Figure(name, round(100 * time / whole), f"percent of the processor for `{name}`")
    records = sorted(
        (r for result in run.results for r in of_kind(result, ScheduleRecord)), key=lambda r: r.time
    )
    sleeper = run.results[-1]
    woken = [r for r in of_kind(sleeper, ScheduleRecord) if r.name == "woken"]
    yield Figure(
        "slices", sum(r.why == "slice over" for r in records), "times somebody lost it to somebody else"
    )
    yield Figure("woken", len(woken), f"times `{sleeper.name}` woke because its timer went off")
    yield Figure(
        "late", max(_delays(sleeper), default=-1), "nanoseconds until it had the processor then, at most"
    )


def _control(run: Run) -> Iterator[Figure]:
    own = [call for call in run.result.hypercalls() if call.record.domid == 0]
    built = [call for call in run.result.hypercalls() if call.record.domid != 0]
    control = [call for call in own if call.name.startswith("domctl")]
    filled = [call for call in own if call.name == "update_va_mapping_otherdomain"]
    refused = [call for call in control if call.errno is not None]
    yield Figure(
        "control",
        len(control),
        f"hypercalls of control: {', '.join(dict.fromkeys(c.name.partition('.')[2] for c in control))}",
    )
    yield Figure("mapped", len(filled), "mappings of the new domain's frames, to fill them")
    yield Figure("built", len(built), "hypercalls that the new domain then made itself")
    yield Figure("own", len(own), "hypercalls of the domain that built it")
    yield Figure(
        "refused", len(refused), "requests refused: about a domain that is not there yet, or not any more"
    )


def _on_processor(results: Iterable[BootResult]) -> dict[str, int]:
    """Nanoseconds of system time in which each domain, by its name, was running."""
    had: defaultdict[str, int] = defaultdict(int)
    for result in results:
        since: int | None = None
        for record in of_kind(result, ScheduleRecord):
            if record.name == "in":
                since = record.time
            elif record.name == "out" and since is not None:
                had[result.name] += record.time - since
                since = None
        if since is not None:
            had[result.name] += max(record.time for record in result.records) - since
    return dict(had)


def _delays(result: BootResult) -> Iterator[int]:
    """From each time that it was woken until it was running."""
    woken: int | None = None
    for record in of_kind(result, ScheduleRecord):
        if record.name == "woken":
            woken = record.time
        elif record.name == "in" and woken is not None:
            yield record.time - woken
            woken = None


PRICE: Final = Stop(
    title="The price: what a kernel has to change",
    section="2.2",
    idea="""\
Paravirtualisation asks for changes to the kernel, and to nothing above it. The kernel says by a
note in its file that it knows Xen, starts in protected mode with its memory already mapped, and
calls the hypervisor where it would have touched the hardware. For Linux 2.4 that was about one line
in a hundred; here is a kernel that was never anything else.""",
    kernel="hello",
    kinds=(Kind.HYPERCALL, Kind.TRAP),
    figures=_price,
    exercise=Exercise(
        {
            "no kernel for Xen": (
                "the file does not say that it knows Xen: the runtime's macro XEN_NOTES writes what is read"
            )
        }
    ),
)

EVENTS: Final = Stop(
    title="Interrupts become events",
    section="3.1",
    idea="""\
A kernel gets no interrupts. What it hears is a bit: each event channel has one in shared memory
that says it is pending, and one that masks it. When a bit is set the hypervisor enters the kernel
at the place that it has named, once, however many bits there are by then; and a flag that the
kernel writes itself, without a hypercall, keeps all of them away.""",
    kernel="events",
    kinds=(Kind.EVENT,),
    figures=_events,
    exercise=Exercise(
        {
            "sent once: nothing": "the event waits at its port, which is still masked, and nobody is called",
            "status is 9": "the kernel sleeps until an event comes, and the port that it comes to is masked",
        }
    ),
)

TIME: Final = Stop(
    title="Time: real, virtual, and timers",
    section="3.3.2",
    idea="""\
A domain that did not run has missed ticks, so it cannot count them. It is told three times instead:
nanoseconds since the machine started (the paper's real time, which Xen's headers call system time);
the time of day, as an offset to these; and its virtual time, which passes only while it runs. The
first two are in a page that it reads; a timer is asked for by its end, and arrives as an event.""",
    kernel="clock",
    kinds=(Kind.HYPERCALL, Kind.TIMER, Kind.SCHEDULE),
    figures=_time,
    exercise=Exercise(
        {
            "status is 9": "the kernel sleeps, and no timer is set that could wake it",
            r"\+ a timer set for a second from now": (
                "the timer went off at another time: EBX has the low word of `deadline`, ECX the high one"
            ),
        }
    ),
)

RINGS: Final = Stop(
    title="Devices: a ring of requests and answers",
    section="3.2",
    idea="""\
A device is no set of registers to be emulated but a conversation. One page holds a ring of
descriptors with two producers: the kernel puts requests in and moves its index on, the backend puts
responses into the places of requests that it has taken. The data stay where they are, in pages of
the kernel's; and as an index tells of many requests, one event will do for all.""",
    kernel="block",
    kinds=(Kind.RING, Kind.GRANT, Kind.EVENT),
    figures=_rings,
    exercise=Exercise(
        {
            "status is 9": (
                "the kernel waits for an answer: the request is in the ring, but the index that tells "
                "of it is the old one"
            )
        },
        runtime=("blkfront.inc",),
    ),
)

GRANTS: Final = Stop(
    title="Devices: lending a page, and only that",
    section="3.2",
    idea="""\
A backend in another domain has to reach the pages of a request, and nothing else. Xen has since
given this a form of its own: the owner writes into its grant table whom it lends a page, and
whether to read it or to write it; the other domain asks the hypervisor for that entry. While it is
used the owner can see so, and cannot take it back.""",
    kernel="grants",
    kinds=(Kind.HYPERCALL, Kind.GRANT),
    figures=_grants,
    parts=(Part("giver", "giver peer=2"), Part("taker", "taker peer=1")),
    exercise=Exercise(
        {
            "the letter cannot be mapped": (
                "the first entry of the table does not lend the letter to domain `peer`, to be written"
            )
        }
    ),
)

SCHEDULING: Final = Stop(
    title="Scheduling: who waits little, who computes much",
    section="3.3.1",
    idea="""\
The processor belongs to one domain at a time. A domain that sleeps gives it up at once, and the
others share what is left in fair parts; when its event comes, it is served before those that have
had much. So a domain that answers requests stays quick beside some that do nothing but compute. The
order is by borrowed virtual time, as in the paper.""",
    kernel="share",
    kinds=(Kind.SCHEDULE,),
    figures=_scheduling,
    parts=(Part("first", "busy"), Part("second", "busy"), Part("sleeper", "")),
    exercise=Exercise(
        {
            "percent of the time": (
                "it watches the clock until its time comes, and nobody else can have the processor"
            ),
            "status is 9": "it sleeps, and nothing wakes it: a timer first, then `block`",
        }
    ),
)

CONTROL: Final = Stop(
    title="Control: policy in a domain of its own",
    section="2.3",
    idea="""\
The hypervisor has no opinion of how many domains there are or what is in them. It offers mechanism
to one domain that is trusted with it: make a domain, give it frames, write to them, set its
registers, let it run, end it. What is done with that is ordinary software in that domain; so are
the drivers of the machine, which at the time of the paper were in the hypervisor still.""",
    kernel="domain0",
    kinds=(Kind.HYPERCALL,),
    figures=_control,
    exercise=Exercise(
        {
            "status is 9": (
                "the new domain is complete, and still paused: `DOMCTL` only writes down a request of "
                "that name, `DOMCTL_MUST` makes it"
            )
        }
    ),
)
