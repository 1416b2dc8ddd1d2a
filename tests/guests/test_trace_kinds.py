"""What the trace tells of each kind, as guests bring it about."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from paravane import DomainConfig, Machine, ShutdownReason, StopReason, load_image
from paravane.abi.errno import Errno
from paravane.devices.observers import DeviceObservers
from paravane.follow import Breakpoints, InstructionTrace, location
from paravane.trace import (
    ConsoleRecord,
    DomainRecord,
    GrantRecord,
    Header,
    Kind,
    PageRecord,
    Record,
    RefusalRecord,
    RingRecord,
    ScheduleRecord,
    SendRecord,
    StoreRecord,
    TimerRecord,
    UpcallRecord,
    VirqRecord,
    entry_of,
)
from paravane.trace.forms import FORMS
from tests.support.boot import HOST_TIMEOUT, boot, kernel_image
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from collections.abc import Iterable

MEMORY = 4 << 20
SLICE = 100_000

RecordT = TypeVar("RecordT", bound=Record)


def only(records: Iterable[Record], kind: type[RecordT]) -> list[RecordT]:
    return [record for record in records if isinstance(record, kind)]


def trace(*kernels: str, kinds: Iterable[Kind] = tuple(Kind)) -> list[Record]:
    """The records of kernels that run beside each other, domain 1 the first, until all have ended."""
    records: list[Record] = []
    size = Machine.size_for(*[MEMORY] * len(kernels))
    with Machine(size, slice_instructions=SLICE) as machine:
        machine.trace.subscribe(records.append, kinds)
        for number, kernel in enumerate(kernels, 1):
            image = load_image(kernel_image(kernel, f"kernel{number}.S"))
            machine.create(image, DomainConfig(name=f"kernel{number}", memory=MEMORY))
        machine.run(timeout=HOST_TIMEOUT)
        assert all(not domain.alive for domain in machine.domains.values())
    return records


UPCALLS = """
    .macro UNMASK_UPCALLS
    call map_shared_info
    call mask_all_events
    movl $FLAT_KERNEL_CS, %ebx
    movl $upcall, %ecx
    movl $FLAT_KERNEL_CS, %edx
    movl $upcall, %esi
    HYPERCALL set_callbacks
    MUST set_callbacks
    movb $0, UPCALL_MASK
    .endm

    .macro OP hypercall, command, struct
    movl $\\command, %ebx
    movl $\\struct, %ecx
    HYPERCALL \\hypercall
    .endm

    .globl upcall
upcall:                             # notes that it came, and leaves nothing pending
    movb $0, shared_info + VCPU_INFO_evtchn_upcall_pending
    movl $0, shared_info + VCPU_INFO_evtchn_pending_sel
    movl $0, shared_info + SHARED_INFO_evtchn_pending
    incl upcalls
    movb $0, UPCALL_MASK
    iret

    .data
    .balign 4
upcalls: .long 0
    .text
"""

WAITER = (
    prelude("paging", "shared")
    + UPCALLS
    + """
main:
    UNMASK_UPCALLS
    OP event_channel_op, EVTCHNOP_alloc_unbound, unbound
    MUST alloc_unbound
    movl $0, shared_info + SHARED_INFO_evtchn_mask
1:  cmpl $0, upcalls
    jne 2f
    OP sched_op, SCHEDOP_block, 0
    jmp 1b
2:  ret
    .data
    .balign 4
unbound: .word DOMID_SELF, 2        # struct evtchn_alloc_unbound: for domain 2
    .long 0
"""
)

SENDER = (
    prelude("paging")
    + """
main:
1:  movl $EVTCHNOP_bind_interdomain, %ebx
    movl $interdomain, %ecx
    HYPERCALL event_channel_op
    testl %eax, %eax
    jz ring
    movl $SCHEDOP_yield, %ebx
    HYPERCALL sched_op
    jmp 1b
ring:
    movl interdomain + EVTCHN_BIND_INTERDOMAIN_local_port, %eax
    movl %eax, port
    movl $EVTCHNOP_send, %ebx
    movl $port, %ecx
    HYPERCALL event_channel_op
    MUST send
    ret
    .data
    .balign 4
interdomain: .word 1, 0             # struct evtchn_bind_interdomain: port 3 of domain 1
    .long 3, 0
port: .long 0
"""
)


def test_an_event_between_domains_can_be_followed_from_the_send_to_the_upcall() -> None:
    records = trace(WAITER, SENDER)
    (send,) = [record for record in only(records, SendRecord) if record.to_domid == 1 and record.domid == 2]
    assert (send.vcpu, send.port, send.to_port) == (0, 3, 3)
    assert send.place is not None
    assert (send.place.symbol, send.place.file) == ("ring", "kernel2.S")
    assert send.flow is not None
    (upcall,) = [record for record in only(records, UpcallRecord) if send.flow in record.flows]
    assert (upcall.domid, upcall.vcpu) == (1, 0)
    assert 3 in upcall.ports
    assert records.index(upcall) > records.index(send)
    assert entry_of(send).data["flow"] == entry_of(upcall).data["flows"][0]


def test_the_schedule_says_who_ran_and_why_not_longer() -> None:
    told = only(trace(WAITER, SENDER, kinds=(Kind.SCHEDULE,)), ScheduleRecord)
    steps = [(record.domid, record.name, record.why) for record in told]
    assert steps[0] == (1, "in", "")
    assert (1, "out", "blocked") in steps
    assert [step for step in steps if step[2] == "ended"] == [(2, "out", "ended"), (1, "out", "ended")]
    woken = steps.index((1, "woken", ""))
    assert steps.index((1, "out", "blocked")) < woken < steps.index((1, "in", ""), 1)
    steps = [step for step in steps if step[1] != "woken"]
    assert {name for _, name, _ in steps[::2]} == {"in"}
    for gone, come in zip(steps[1::2], steps[2::2], strict=False):
        assert (gone[1], come[1]) == ("out", "in")


TIMERS = (
    prelude("paging", "shared")
    + UPCALLS
    + """
main:
    UNMASK_UPCALLS
    OP event_channel_op, EVTCHNOP_bind_virq, virq
    MUST bind_virq
    movl $VCPUOP_stop_periodic_timer, %ebx
    xorl %ecx, %ecx
    HYPERCALL vcpu_op
    MUST stop_periodic_timer
    movl $0, shared_info + SHARED_INFO_evtchn_mask
    movl $5000000, %ebx             # nanoseconds
    xorl %ecx, %ecx
    HYPERCALL set_timer_op
arm:
    MUST set_timer_op
    OP sched_op, SCHEDOP_block, 0
    movl $poll, %ecx
    movl $SCHEDOP_poll, %ebx
    HYPERCALL sched_op
    MUST poll
    ret
    .data
    .balign 4
virq: .long VIRQ_TIMER, 0, 0
poll: .long ports, 1, 9000000, 0    # struct sched_poll: until 9 ms
ports: .long 3
"""
)


def test_timers_are_told_with_the_interrupt_they_raise_and_the_upcall_it_ends_in() -> None:
    records = trace(TIMERS)
    single = [record for record in only(records, TimerRecord) if record.timer == "single-shot"]
    armed, expired = [record for record in single if record.name in ("armed", "expired")]
    assert (armed.name, armed.deadline, armed.domid, armed.vcpu) == ("armed", 5_000_000, 1, 0)
    assert armed.place is not None
    assert armed.place.file == "kernel1.S"
    assert (expired.name, expired.deadline, expired.place) == ("expired", 5_000_000, None)
    assert expired.time >= 5_000_000
    (virq,) = [record for record in only(records, VirqRecord) if record.time == expired.time]
    assert (virq.virq.name, virq.port, virq.domid) == ("TIMER", 3, 1)
    (upcall,) = [record for record in only(records, UpcallRecord) if virq.flow in record.flows]
    assert 3 in upcall.ports
    polls = [record for record in only(records, TimerRecord) if record.timer == "poll"]
    assert [(record.name, record.deadline) for record in polls] == [
        ("armed", 9_000_000),
        ("expired", 9_000_000),
    ]


STORE = (
    prelude("paging")
    + """
.macro MESSAGE type, number, text:vararg    # struct xsd_sockmsg
    .long \\type, \\number, 0, 7f - 6f
6:  .ascii \\text
7:
.endm
main:
    movl start_info, %edx
    movl START_INFO_store_mfn(%edx), %edx
    movl $page, %eax
    movl $PTE_DATA, %ecx
    call map_frame
    MUST map_frame
    movl $requests, %esi
    movl $page, %edi
    movl $requests_end - requests, %ecx
    rep movsb
    movl $requests_end - requests, page + XENSTORE_DOMAIN_INTERFACE_req_prod
    movl start_info, %edx
    movl START_INFO_store_evtchn(%edx), %eax
    movl %eax, port
    movl $EVTCHNOP_send, %ebx
    movl $port, %ecx
    HYPERCALL event_channel_op
    MUST send
    PRINT "asked\\n"
    ret
    .data
    .balign 4
port: .long 0
requests:
    MESSAGE XS_READ, 7, "name\\0"
    MESSAGE XS_WATCH, 8, "data\\0token\\0"
    MESSAGE XS_WRITE, 9, "data/x\\0value"
    MESSAGE XS_RM, 10, "data/nowhere/y\\0"
requests_end:
    .bss
    .balign PAGE_SIZE
page: .skip PAGE_SIZE
"""
)


def test_xenstore_is_told_by_message_with_what_came_of_it() -> None:
    records = trace(STORE)
    told = only(records, StoreRecord)
    home = "/local/domain/1"
    assert [(record.name, record.path, record.value, record.errno, record.result) for record in told] == [
        ("READ", f"{home}/name", b"", None, b"kernel1"),
        ("WATCH", f"{home}/data", b"token", None, b"OK"),
        ("WATCH_EVENT", f"{home}/data", b"token", None, b""),
        ("WRITE", f"{home}/data/x", b"value", None, b"OK"),
        ("WATCH_EVENT", f"{home}/data/x", b"token", None, b""),
        ("RM", f"{home}/data/nowhere/y", b"", Errno.ENOENT, b""),
    ]
    assert "nowhere" in told[-1].sentence


def test_rings_and_consoles_are_told_with_what_went_through_them() -> None:
    records = trace(STORE)
    store = [record for record in only(records, RingRecord) if record.device == "store"]
    requests = [(record.op, record.id) for record in store if record.name == "request"]
    assert requests == [("READ", 7), ("WATCH", 8), ("WRITE", 9), ("RM", 10)]
    answers = [(record.op, record.id, record.status) for record in store if record.name == "response"]
    assert ("READ", 7, "") in answers
    assert ("ERROR", 10, "ERROR") in answers
    (out,) = only(records, ConsoleRecord)
    assert (out.name, out.text, out.domid) == ("out", b"asked\n", 1)
    (ring,) = [record for record in only(records, RingRecord) if record.device == "console"]
    assert (ring.name, ring.op, ring.size) == ("request", "out", len(out.text))


PAGES = (
    prelude("paging")
    + """
main:
    movl $table, %eax
    call make_read_only
    MUST make_read_only
    movl $table, %eax
    call va_to_mfn
    movl %eax, pin + MMUEXT_OP_arg1
    movl %eax, unpin + MMUEXT_OP_arg1
    movl $pin, %ebx
    call operate
    MUST pin
    movl $unpin, %ebx
    call operate
    MUST unpin
    movl $unpin, %ebx
    call operate                    # a second time: refused
    ret
operate:
    movl $1, %ecx
    xorl %edx, %edx
    movl $DOMID_SELF, %esi
    HYPERCALL mmuext_op
    ret
    .data
    .balign 4
pin: .long MMUEXT_PIN_L1_TABLE, 0, 0
unpin: .long MMUEXT_UNPIN_TABLE, 0, 0
    .bss
    .balign PAGE_SIZE
table: .skip PAGE_SIZE
"""
)


TRAPS = (
    prelude()
    + """
main:
    movl $traps, %ebx
    HYPERCALL set_trap_table
    int $0x21
    ret
handler:
    iret
    .data
    .balign 4
traps:
    .byte 0x21, 1
    .short FLAT_KERNEL_CS
    .long handler
    .skip TRAP_INFO_sizeof
"""
)

OF_BACKENDS = (Kind.STORE, Kind.RING, Kind.CONSOLE)


def test_page_types_are_told_by_the_vcpu_that_changed_them() -> None:
    records = trace(PAGES)
    pins = [record for record in only(records, PageRecord) if record.place is not None]
    assert [(record.name, record.before, record.after) for record in pins] == [
        ("type", "writable_page", "l1_page_table"),
        ("validated", "l1_page_table", "l1_page_table"),
        ("pinned", "l1_page_table", "l1_page_table"),
        ("unpinned", "l1_page_table", "l1_page_table"),
        ("devalidated", "l1_page_table", "l1_page_table"),
    ]
    assert len({record.mfn for record in pins}) == 1
    assert {(record.domid, record.owner, record.vcpu) for record in pins} == {(1, 1, 0)}
    assert {record.place.symbol for record in pins if record.place} == {"operate"}
    (refusal,) = only(records, RefusalRecord)
    assert (refusal.name, refusal.errno) == ("mmuext_op", Errno.EINVAL)
    assert refusal.place is not None
    assert refusal.place.symbol == "operate"


def test_backends_use_the_grants_of_their_rings() -> None:
    grants = only(trace(prelude() + "main: ret"), GrantRecord)
    assert [(record.name, record.ref, record.by, record.domid) for record in grants] == [
        ("map", 0, 0, 1),
        ("map", 1, 0, 1),
        ("release", 1, 0, 1),
        ("release", 0, 0, 1),
    ]


TRANSFER = """
    .bss
    .balign PAGE_SIZE
given: .skip PAGE_SIZE
request: .skip GNTTAB_TRANSFER_sizeof
    .text
main:
    call grants_init
    movl $given, %eax
    call va_to_mfn
    movl %eax, request + GNTTAB_TRANSFER_mfn
    movl $given, %eax
    xorl %edx, %edx
    xorl %ecx, %ecx
    call write_pte
    MUST unmap_page
    movl $(given - VIRT_BASE) >> PAGE_SHIFT, grant_table + 8 * GRANT_ENTRY_V1_sizeof + GRANT_ENTRY_V1_frame
    movl $1 << 16 | GTF_accept_transfer, grant_table + 8 * GRANT_ENTRY_V1_sizeof
    movw $1, request + GNTTAB_TRANSFER_domid    # to itself
    movl $8, request + GNTTAB_TRANSFER_ref
    movl $GNTTABOP_transfer, %ebx
    movl $request, %ecx
    movl $1, %edx
    HYPERCALL grant_table_op
    MUST transfer
    movswl request + GNTTAB_TRANSFER_status, %eax
    MUST transfer
    ret
"""


def test_a_frame_that_is_given_away_is_told_with_its_giver() -> None:
    records = trace(prelude("paging", "grants") + TRANSFER)
    given = [record for record in only(records, GrantRecord) if record.name == "transfer"]
    assert [(record.ref, record.by, record.domid, record.writable) for record in given] == [(8, 1, 1, True)]


def test_two_runs_give_the_same_trace_byte_for_byte() -> None:
    first, second = ([entry_of(record) for record in trace(WAITER, SENDER)] for _ in range(2))
    assert len(first) > 50
    for form in FORMS.values():
        files = []
        for entries in (first, second):
            writer = form.writer()
            pieces = [writer.begin(Header()), *map(writer.entry, entries), writer.end()]
            files.append(b"".join(pieces))
        assert files[0] == files[1], form.name
        assert len(files[0]) > 1000


READER = (
    prelude("paging", "shared")
    + UPCALLS
    + """
main:
    UNMASK_UPCALLS
    movl $0, shared_info + SHARED_INFO_evtchn_mask
1:  cmpl $0, upcalls
    jne 2f
    OP sched_op, SCHEDOP_block, 0
    jmp 1b
2:  ret
"""
)


def test_input_is_told_as_it_is_given_and_as_the_guest_gets_it() -> None:
    records: list[Record] = []
    with Machine(Machine.size_for(MEMORY), slice_instructions=SLICE) as machine:
        machine.trace.subscribe(records.append, (Kind.CONSOLE, Kind.RING, Kind.EVENT))
        domain = machine.create(load_image(kernel_image(READER)), DomainConfig(memory=MEMORY))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED
        domain.console.feed(b"hello")
        machine.run(timeout=HOST_TIMEOUT)
        assert domain.reason is ShutdownReason.poweroff
    (given,) = only(records, ConsoleRecord)
    assert (given.name, given.text, given.domid) == ("in", b"hello", 1)
    (ring,) = only(records, RingRecord)
    assert (ring.name, ring.device, ring.op, ring.size) == ("response", "console", "in", 5)
    send = only(records, SendRecord)[0]
    assert (send.domid, send.vcpu, send.place, send.to_domid) == (0, None, None, 1)
    (upcall,) = [record for record in only(records, UpcallRecord) if send.flow in record.flows]
    assert send.to_port in upcall.ports


def test_a_crash_is_told_with_the_place_of_its_instruction() -> None:
    kernel = prelude() + "main: ret\n.globl wrong\nwrong: movl 0, %eax\n"
    records = trace(kernel.replace("main: ret", "main: jmp wrong"), kinds=(Kind.DOMAIN,))
    built, crashed = [record for record in records if isinstance(record, DomainRecord)]
    assert (built.name, built.domain_name, built.place) == ("built", "kernel1", None)
    assert (crashed.name, crashed.vcpu) == ("crashed", 0)
    assert crashed.place is not None
    assert (crashed.place.symbol, crashed.place.file) == ("wrong", "kernel1.S")
    assert "#PF" in crashed.sentence


def test_nothing_is_observed_when_nobody_wants_it() -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        platform = machine.platform
        observed = (platform.memory.types, platform.grants, platform.exchange, platform.timers)
        unsubscribe = machine.trace.subscribe(lambda record: None)
        assert all(owner.observer is not None for owner in observed)
        unsubscribe()
        assert all(owner.observer is None for owner in observed)
        assert platform.bus.observers == DeviceObservers()


def test_what_an_in_process_boot_sees_has_places_throughout() -> None:
    records = boot(
        kernel_image(PAGES, "pages.S"), memory=MEMORY, slice_instructions=SLICE, trace=Kind
    ).records
    without = {type(record).__name__ for record in records if record.vcpu is not None and not record.place}
    assert without <= {"TimerRecord", "VirqRecord"}


class OutsideError(Exception):
    """What a subscriber of these tests raises."""


# Grants are used as domains come and go only, which is the next test's.
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.GRANT])
def test_a_subscriber_that_raises_ends_the_run_and_leaves_the_guest_whole(kind: Kind) -> None:
    """Records are made in the middle of things. What a subscriber raises must not stop these half done."""
    kernels = {Kind.TIMER: TIMERS, Kind.EVENT: TIMERS, Kind.TRAP: TRAPS}
    image = load_image(kernel_image(kernels.get(kind, STORE if kind in OF_BACKENDS else PAGES)))
    told: list[Record] = []

    def fail(record: Record) -> None:
        told.append(record)
        raise OutsideError

    with Machine(Machine.size_for(MEMORY), slice_instructions=SLICE) as machine:
        machine.destroy(machine.create(image, DomainConfig(memory=MEMORY)))
        free = machine.platform.memory.nr_free
        domain = machine.create(image, DomainConfig(memory=MEMORY))
        unsubscribe = machine.trace.subscribe(fail, (kind,))
        main = location(image, "main")
        if kind is Kind.INSTRUCTION:
            InstructionTrace(domain, (main,))
        elif kind is Kind.BREAKPOINT:
            Breakpoints(domain, (main.start,), ())
        with pytest.raises(OutsideError):
            machine.run(timeout=HOST_TIMEOUT)
        assert told
        assert {record.kind for record in told} == {kind}
        assert machine.audit() == []
        unsubscribe()
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert domain.reason is ShutdownReason.poweroff
        assert domain.console_output() == (b"asked\n" if kind in OF_BACKENDS else b"")
        assert machine.audit() == []
        machine.destroy(domain)
        assert machine.platform.memory.nr_free == free


def test_a_subscriber_that_raises_as_a_domain_goes_leaves_nothing_of_it() -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        image = load_image(kernel_image(PAGES))
        machine.destroy(machine.create(image, DomainConfig(memory=MEMORY)))
        free = machine.platform.memory.nr_free
        domain = machine.create(image, DomainConfig(memory=MEMORY))

        def fail(record: Record) -> None:
            raise OutsideError

        unsubscribe = machine.trace.subscribe(fail)
        with pytest.raises(OutsideError):
            machine.destroy(domain)
        unsubscribe()
        assert machine.platform.memory.nr_free == free
        assert machine.audit() == []
