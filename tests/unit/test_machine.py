"""A machine and its domains: sizes, refusals, endings, and what is left when a domain is gone."""

from __future__ import annotations

import gc
import math
import os
import threading
import time
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane import (
    DomainConfig,
    Image,
    ImageError,
    Machine,
    MachineBusyError,
    ShutdownReason,
    StopReason,
    VirtualClock,
    asm,
    guest_kernels,
    load_image,
)
from paravane import domain as domain_module
from paravane.asm.elf_writer import write_elf
from paravane.cpu import EngineError
from paravane.memory import DomainMemory
from paravane.run_loop import INSTRUCTION_TIME
from paravane.trace import Kind, Record
from paravane.trace.text import line
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.domain import Domain

MEMORY = 8 << 20
SPIN = '.include "runtime.inc"\nXEN_NOTES spin\n.text\nmain: jmp main\n'
BLOCK = """
    .include "runtime.inc"
    XEN_NOTES block
    .text
main:
    movl $SCHEDOP_block, %ebx
    HYPERCALL sched_op
    jmp main
"""
SLEEP = """
    .include "runtime.inc"
    XEN_NOTES sleep
    .text
main:
    movl start_info, %ebx
    movl $VIRQ_TIMER, bind
    movl $EVTCHNOP_bind_virq, %ebx
    movl $bind, %ecx
    HYPERCALL event_channel_op
    movl $0xa3b5a800, %ebx          # 3,600 s in nanoseconds, low and high word
    movl $0x346, %ecx
    HYPERCALL set_timer_op
    movl $1, poll + SCHED_POLL_nr_ports
    movl $port, poll + SCHED_POLL_ports
    movl bind + EVTCHN_BIND_VIRQ_port, %eax
    movl %eax, port
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    PRINT "an hour later\\n"
    ret
    .data
bind: .skip EVTCHN_BIND_VIRQ_sizeof
poll: .skip SCHED_POLL_sizeof
port: .long 0
"""


def _image(text: str) -> Image:
    return load_image(write_elf(asm.assemble_text(text)))


@pytest.fixture
def hello() -> Image:
    return load_image(asm.build(guest_kernels.load("hello").sources))


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(MEMORY, MEMORY)) as made:
        yield made


def test_a_domain_runs_to_its_end(machine: Machine, hello: Image) -> None:
    domain = machine.create(hello, DomainConfig(memory=MEMORY))
    assert domain.alive
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    assert domain.reason is ShutdownReason.poweroff
    assert domain.console_output().startswith(b"hello from ring 1\n")


def test_domains_run_side_by_side(machine: Machine, hello: Image) -> None:
    domains = [machine.create(hello, DomainConfig(name=name, memory=MEMORY)) for name in ("one", "two")]
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    assert [domain.domid for domain in domains] == [1, 2]
    assert domains[0].console_output() == domains[1].console_output()
    assert machine.audit() == []


def test_the_memory_of_a_destroyed_domain_is_free_again(machine: Machine, hello: Image) -> None:
    free = machine.platform.memory.nr_free
    for _ in range(3):
        domain = machine.create(hello, DomainConfig(memory=MEMORY))
        machine.run(timeout=HOST_TIMEOUT)
        machine.destroy(domain)
    shared = len(machine.platform.memory.m2p_tables(domain.memory.space))
    assert machine.platform.memory.nr_free == free - shared
    assert machine.audit() == []


def test_a_domain_that_does_not_fit_leaves_nothing_behind(machine: Machine, hello: Image) -> None:
    machine.create(hello, DomainConfig(memory=MEMORY))
    free = machine.platform.memory.nr_free
    with pytest.raises(ImageError, match="memory"):
        machine.create(hello, DomainConfig(memory=64 << 10))
    with pytest.raises(MemoryError, match="a domain of .* does not fit into this machine: .* KiB are free"):
        machine.create(hello, DomainConfig(memory=1 << 30))
    assert machine.platform.memory.nr_free == free
    assert machine.audit() == []


def test_a_timeout_ends_a_guest_that_only_computes(machine: Machine) -> None:
    domain = machine.create(_image(SPIN), DomainConfig(memory=MEMORY))
    assert machine.run(timeout=0.1).reason is StopReason.TIMEOUT
    assert domain.alive


def test_blocked_with_nothing_to_wait_for_is_told(machine: Machine) -> None:
    machine.create(_image(BLOCK), DomainConfig(memory=MEMORY))
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED


def test_virtual_time_jumps_over_an_hour_of_sleep() -> None:
    # By instructions: on a loaded host a whole slice could pass before the guest sleeps, and its 100 Hz tick
    # would then wake it.
    with Machine(Machine.size_for(MEMORY), slice_instructions=1_000_000) as machine:
        domain = machine.create(_image(SLEEP), DomainConfig(memory=MEMORY))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert domain.console_output() == b"an hour later\n"
        assert isinstance(machine.platform.clock, VirtualClock)
        assert machine.platform.clock.now() > 3600 * 10**9


NEW_CODE = """
    .include "runtime.inc"
    XEN_NOTES newcode
    .text
main:
    movl $code, %edi
again:
    movb $0xcf, (%edi)              # an iret where there was none
    pushfl
    pushl %cs
    pushl $next
    jmp *%edi
next:
    incl %edi
    cmpl $code + 64, %edi
    jne again
    ret
    .bss
code: .skip 64
"""


def test_time_passes_for_a_guest_whose_code_is_translated_again_and_again() -> None:
    with Machine(Machine.size_for(MEMORY), slice_instructions=1000) as machine:
        domain = machine.create(_image(NEW_CODE), DomainConfig(memory=MEMORY))
        began = machine.platform.clock.now()
        assert machine.run(timeout=60).reason is StopReason.DONE
        assert domain.reason is ShutdownReason.poweroff
        assert machine.platform.clock.now() - began >= 64 * 1000 * INSTRUCTION_TIME, "a slice for each iret"


def test_a_number_of_traps_can_be_the_limit(machine: Machine, hello: Image) -> None:
    records: list[Record] = []
    machine.trace.subscribe(records.append, (Kind.HYPERCALL,))
    machine.create(hello, DomainConfig(memory=MEMORY))
    assert machine.run(max_traps=3).reason is StopReason.TRAPS
    assert len(records) == 3
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE


def test_the_same_seed_gives_the_same_frames_and_another_seed_others(hello: Image) -> None:
    lists = []
    for seed in (1, 1, 2):
        with Machine(Machine.size_for(MEMORY), seed=seed) as machine:
            machine.create(hello, DomainConfig(memory=MEMORY))
            lists.append(bytes(machine.platform.memory.frames.owner))
    assert lists[0] == lists[1] != lists[2]


def test_two_deterministic_runs_leave_the_same_trace() -> None:
    traces: list[list[str]] = []
    source = Path(guest_kernels.__file__).parent / "rings" / "rings.S"
    kernel = load_image(asm.build([source]))
    for _ in range(2):
        records: list[Record] = []
        with Machine(Machine.size_for(MEMORY), slice_instructions=10_000) as machine:
            machine.trace.subscribe(records.append)
            machine.create(kernel, DomainConfig(memory=MEMORY))
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        traces.append([line(record) for record in records])
    assert traces[0] == traces[1]
    assert len(traces[0]) > 20


def test_a_line_the_guest_did_not_end_is_not_lost(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    source = """
    .include "runtime.inc"
    XEN_NOTES half
    .text
main:
    movl $CONSOLEIO_write, %ebx
    movl $4, %ecx
    movl $text, %edx
    HYPERCALL console_io
    ret
    .data
text: .ascii "half"
"""
    machine.create(_image(source), DomainConfig(memory=MEMORY))
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    assert "(d1) half" in caplog.messages


def test_a_domain_keeps_the_end_of_what_it_printed(
    machine: Machine, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain_module, "TRANSCRIPT", 16)
    domain = machine.create(hello, DomainConfig(memory=MEMORY))
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    assert len(domain.console_output()) == 16
    assert domain.console_output().endswith(b"\n")


def test_a_processor_that_fails_ends_its_domain_and_no_other(
    machine: Machine, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, healthy = (machine.create(hello, DomainConfig(memory=MEMORY)) for _ in range(2))

    def fail(*, instructions: int = 0) -> None:
        raise EngineError("the engine refused to run")

    monkeypatch.setattr(broken.vcpus[0].cpu, "run", fail)
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    assert broken.reason is ShutdownReason.crash
    assert "its processor cannot go on: the engine refused to run" in broken.crash_report
    assert healthy.reason is ShutdownReason.poweroff


PRINTER = """
    .include "runtime.inc"
    XEN_NOTES printer
    .text
main:
    PRINT "again\\n"
    jmp main
"""


def test_an_ending_names_the_vcpu_that_was_running(machine: Machine) -> None:
    domain = machine.create(_image(SPIN), DomainConfig(memory=MEMORY))
    ending = machine.run(timeout=0.1)
    assert ending.vcpu is domain.vcpus[0]
    assert ending.domain is domain
    assert str(ending) == "the time given was used up"


def test_one_deadline_can_hold_for_several_runs(machine: Machine) -> None:
    machine.create(_image(SPIN), DomainConfig(memory=MEMORY))
    past = time.monotonic() - 1
    assert machine.run(deadline=past).reason is StopReason.TIMEOUT
    assert machine.run(timeout=3600, deadline=past).reason is StopReason.TIMEOUT
    assert machine.platform.traps == 0, "no guest ran"


@pytest.mark.parametrize("where", ["sink", "trace", "post"])
def test_a_domain_can_be_destroyed_from_inside_a_run(hello: Image, where: str) -> None:
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        outputs: list[bytes] = []

        def destroy(_: object = None) -> None:
            machine.destroy(domain)
            machine.destroy(domain)

        def sink(data: bytes) -> None:
            outputs.append(data)
            if where == "sink":
                destroy()

        if where == "trace":
            machine.trace.subscribe(destroy, (Kind.HYPERCALL,))
        free = machine.platform.memory.nr_free
        domain = machine.create(_image(PRINTER), DomainConfig(memory=MEMORY, sink=sink))
        if where == "post":
            machine.post(destroy)
        other = machine.create(hello, DomainConfig(memory=MEMORY))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert other.reason is ShutdownReason.poweroff
        assert list(machine.domains.values()) == [other]
        assert len(outputs) <= 2, "it printed once, and what was left in its ring"
        machine.destroy(other)
        shared = len(machine.platform.memory.m2p_tables(other.memory.space))
        assert machine.platform.memory.nr_free == free - shared
        assert machine.audit() == []


@pytest.mark.parametrize("where", ["sink", "trace", "post"])
def test_a_machine_can_be_closed_from_inside_a_run(where: str) -> None:
    machine = Machine(Machine.size_for(MEMORY))

    def close(_: object = None) -> None:
        machine.close()
        machine.close()

    if where == "trace":
        machine.trace.subscribe(close, (Kind.HYPERCALL,))
    sink = close if where == "sink" else None
    machine.create(_image(PRINTER), DomainConfig(memory=MEMORY, sink=sink))
    if where == "post":
        machine.post(close)
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    assert machine.domains == {}
    with pytest.raises(ValueError, match="closed"):
        machine.run()


def test_a_sink_that_destroys_its_domain_while_that_is_closed_changes_nothing(hello: Image) -> None:
    machine = Machine(Machine.size_for(MEMORY))
    domain = machine.create(hello, DomainConfig(memory=MEMORY, sink=lambda _: machine.destroy(domain)))
    machine.run(timeout=HOST_TIMEOUT)
    machine.close()
    assert machine.domains == {}


def test_a_machine_that_runs_is_refused_to_other_threads(machine: Machine, hello: Image) -> None:
    domain = machine.create(_image(SPIN), DomainConfig(memory=MEMORY))
    refused: list[str] = []

    def meddle() -> None:
        for act in (
            machine.run,
            machine.close,
            machine.audit,
            lambda: machine.destroy(domain),
            lambda: machine.create(hello, DomainConfig(memory=MEMORY)),
            lambda: machine.add_input(0, meddle),
            lambda: machine.remove_input(0),
        ):
            with pytest.raises(MachineBusyError) as error:
                act()
            refused.append(str(error.value))
        machine.interrupt()

    thread = threading.Thread(target=meddle)
    machine.post(thread.start)
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    thread.join()
    assert len(refused) == 7
    assert all("thread" in sentence for sentence in refused)
    assert machine.domains == {1: domain}


def test_a_run_inside_a_run_is_refused(machine: Machine) -> None:
    machine.create(_image(SPIN), DomainConfig(memory=MEMORY))
    machine.post(machine.run)
    with pytest.raises(MachineBusyError, match="by this thread"):
        machine.run(timeout=HOST_TIMEOUT)
    assert machine.run(timeout=0.05).reason is StopReason.TIMEOUT, "it can be run again"


def test_posts_are_delivered_in_order_in_the_running_thread(machine: Machine) -> None:
    seen: list[tuple[int, int]] = []
    machine.create(_image(SPIN), DomainConfig(memory=MEMORY))

    def note(number: int) -> None:
        seen.append((number, threading.get_ident()))

    def post() -> None:
        for number in range(100):
            machine.post(partial(note, number))
        machine.post(machine.interrupt)

    thread = threading.Thread(target=post)
    thread.start()
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    thread.join()
    assert seen == [(number, threading.get_ident()) for number in range(100)]


def test_a_blocked_machine_waits_for_what_was_promised(machine: Machine) -> None:
    machine.create(_image(BLOCK), DomainConfig(memory=MEMORY))
    keep = machine.promise()
    threading.Timer(0.05, keep, (machine.interrupt,)).start()
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED


def test_a_machine_dropped_without_close_is_freed_with_a_warning(hello: Image) -> None:
    machine = Machine(Machine.size_for(MEMORY))
    machine.create(hello, DomainConfig(memory=MEMORY))
    machine.run(timeout=HOST_TIMEOUT)
    gone = weakref.ref(machine)
    del machine
    with pytest.warns(ResourceWarning, match="without being closed"):
        gc.collect()
    assert gone() is None


def _address_space() -> int:
    """Bytes of this process's address space (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")


def test_a_closed_machine_gives_its_memory_back_without_the_collector(hello: Image) -> None:
    lives, memory = 8, 64 << 20
    gc.collect()
    gc.disable()
    try:
        for life in range(lives):
            with Machine(Machine.size_for(memory)) as machine:
                domain = machine.create(hello, DomainConfig(memory=memory))
                machine.run(timeout=HOST_TIMEOUT)
            if life == 0:
                before = _address_space()
        assert _address_space() - before < memory
        assert domain.reason is ShutdownReason.poweroff, "what came of it can still be asked"
    finally:
        gc.enable()


class OutsideError(Exception):
    """What the sinks and subscribers of these tests raise."""


def _fail(_: object) -> None:
    raise OutsideError


def _with_output(machine: Machine, *sinks: Callable[[bytes], int | None]) -> list[Domain]:
    """A domain for each sink, with output in its console that the sink has not been offered yet."""
    holding = True

    def held(sink: Callable[[bytes], int | None]) -> Callable[[bytes], int | None]:
        def offer(data: bytes) -> int | None:
            if not holding:
                return sink(data)
            machine.interrupt()
            return 0

        return offer

    kernel = _image(PRINTER)
    domains = [machine.create(kernel, DomainConfig(memory=MEMORY, sink=held(sink))) for sink in sinks]
    while not all(domain.console.waiting for domain in domains):
        assert machine.run(timeout=60).reason is StopReason.INTERRUPTED
    holding = False
    return domains


def test_a_sink_that_raises_for_the_last_words_too_leaves_a_machine_that_runs_and_closes(
    hello: Image,
) -> None:
    machine = Machine(Machine.size_for(MEMORY))

    def sink(_: bytes) -> None:
        machine.destroy(domain)
        raise OutsideError

    domain = machine.create(_image(PRINTER), DomainConfig(memory=MEMORY, sink=sink))
    with pytest.raises(OutsideError):
        machine.run(timeout=60)
    assert machine.domains == {}
    other = machine.create(hello, DomainConfig(memory=MEMORY))
    assert machine.run(timeout=60).reason is StopReason.DONE, "there is memory for another, and it can be run"
    assert other.reason is ShutdownReason.poweroff
    assert machine.audit() == []
    machine.close()
    with pytest.raises(ValueError, match="closed"):
        machine.run()


def test_nothing_is_left_of_a_domain_whose_sink_raises_at_its_end(machine: Machine, hello: Image) -> None:
    machine.destroy(machine.create(hello, DomainConfig(memory=MEMORY)))
    free = machine.platform.memory.nr_free
    (domain,) = _with_output(machine, _fail)
    with pytest.raises(OutsideError):
        machine.destroy(domain)
    assert machine.domains == {}
    assert machine.platform.memory.nr_free == free
    assert machine._toolstack.store.find(f"/local/domain/{domain.domid}") is None
    assert machine.audit() == []


def test_all_that_were_destroyed_in_a_run_go_although_sinks_raise() -> None:
    with Machine(Machine.size_for(MEMORY, MEMORY, MEMORY)) as machine:
        domains = _with_output(machine, _fail, _fail, len)

        def destroy() -> None:
            for domain in domains:
                machine.destroy(domain)

        machine.post(destroy)
        with pytest.raises(OutsideError):
            machine.run(timeout=60)
        assert machine.domains == {}
        assert machine.audit() == []


def test_every_domain_and_the_memory_go_with_a_machine_although_sinks_raise() -> None:
    machine = Machine(Machine.size_for(MEMORY, MEMORY))
    domains = _with_output(machine, _fail, _fail)
    with pytest.raises(OutsideError):
        machine.close()
    assert all(not domain.vcpus for domain in domains)
    with pytest.raises(ValueError, match="released"):
        machine.platform.ram.read(0, 1)


def test_last_words_may_destroy_another_domain_and_close_the_machine() -> None:
    machine = Machine(Machine.size_for(MEMORY, MEMORY))
    other = machine.create(_image(SPIN), DomainConfig(memory=MEMORY))

    def sink(data: bytes) -> int:
        machine.destroy(other)
        machine.close()
        return len(data)

    machine.destroy(*_with_output(machine, sink))
    assert machine.domains == {}
    assert not other.vcpus
    with pytest.raises(ValueError, match="closed"):
        machine.run()


def test_a_sink_may_destroy_every_domain_while_the_machine_is_closed() -> None:
    machine = Machine(Machine.size_for(MEMORY, MEMORY))

    def sink(data: bytes) -> int:
        for domain in domains:
            machine.destroy(domain)
        return len(data)

    domains = _with_output(machine, sink, sink)
    machine.close()
    assert all(not domain.vcpus for domain in domains)


def test_a_domain_that_a_subscriber_refuses_to_hear_of_leaves_nothing_behind(
    machine: Machine, hello: Image
) -> None:
    machine.destroy(machine.create(hello, DomainConfig(memory=MEMORY)))
    free = machine.platform.memory.nr_free
    machine.trace.subscribe(_fail, (Kind.DOMAIN,))
    with pytest.raises(OutsideError):
        machine.create(hello, DomainConfig(memory=MEMORY))
    assert machine.platform.memory.nr_free == free
    assert machine.audit() == []


def test_a_machine_with_a_few_frames_left_says_that_a_domain_does_not_fit(
    machine: Machine, hello: Image
) -> None:
    machine.destroy(machine.create(hello, DomainConfig(memory=MEMORY)))
    memory = machine.platform.memory
    hog = DomainMemory(memory, 99, hello.geometry, max_pages=memory.nr_free)
    for left in range(20, -1, -1):
        hog.populate(memory.nr_free - left, hog.tot_pages)
        with pytest.raises(MemoryError, match="does not fit into this machine"):
            machine.create(hello, DomainConfig(memory=MEMORY))
        assert memory.nr_free == left
    hog.destroy()
    assert machine.audit() == []


def test_a_closed_machine_says_so(hello: Image) -> None:
    machine = Machine(MEMORY)
    machine.close()
    for use in (machine.run, machine.audit, lambda: machine.create(hello, DomainConfig())):
        with pytest.raises(ValueError, match="the machine is closed"):
            use()


@pytest.mark.parametrize("limit", [{"timeout": math.nan}, {"deadline": math.nan}, {"max_traps": -1}])
def test_a_limit_that_is_none_is_refused(machine: Machine, limit: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a limit of a run"):
        machine.run(**limit)  # type: ignore[arg-type]  # that is the point
