"""A machine and its domains: sizes, refusals, endings, and what is left when a domain is gone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane import (
    DomainConfig,
    Ending,
    Image,
    ImageError,
    Machine,
    ShutdownReason,
    VirtualClock,
    asm,
    guest_kernels,
    load_image,
)
from paravane import domain as domain_module
from paravane.asm.elf_writer import write_elf
from paravane.cpu import EngineError
from paravane.trace import Kind, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    assert machine.run(timeout=30) is Ending.DONE
    assert domain.reason is ShutdownReason.poweroff
    assert domain.console_output().startswith(b"hello from ring 1\n")


def test_domains_run_side_by_side(machine: Machine, hello: Image) -> None:
    domains = [machine.create(hello, DomainConfig(name=name, memory=MEMORY)) for name in ("one", "two")]
    assert machine.run(timeout=30) is Ending.DONE
    assert [domain.domid for domain in domains] == [1, 2]
    assert domains[0].console_output() == domains[1].console_output()
    assert machine.audit() == []


def test_the_memory_of_a_destroyed_domain_is_free_again(machine: Machine, hello: Image) -> None:
    free = machine.platform.memory.nr_free
    for _ in range(3):
        domain = machine.create(hello, DomainConfig(memory=MEMORY))
        machine.run(timeout=30)
        machine.destroy(domain)
    shared = len(machine.platform.memory.m2p_tables(domain.memory.space))
    assert machine.platform.memory.nr_free == free - shared
    assert machine.audit() == []


def test_a_domain_that_does_not_fit_leaves_nothing_behind(machine: Machine, hello: Image) -> None:
    machine.create(hello, DomainConfig(memory=MEMORY))
    free = machine.platform.memory.nr_free
    with pytest.raises(ImageError, match="memory"):
        machine.create(hello, DomainConfig(memory=64 << 10))
    with pytest.raises(MemoryError, match="free"):
        machine.create(hello, DomainConfig(memory=1 << 30))
    assert machine.platform.memory.nr_free == free
    assert machine.audit() == []


def test_a_timeout_ends_a_guest_that_only_computes(machine: Machine) -> None:
    domain = machine.create(_image(SPIN), DomainConfig(memory=MEMORY))
    assert machine.run(timeout=0.1) is Ending.TIMEOUT
    assert domain.alive


def test_blocked_with_nothing_to_wait_for_is_told(machine: Machine) -> None:
    machine.create(_image(BLOCK), DomainConfig(memory=MEMORY))
    assert machine.run(timeout=30) is Ending.STALLED


def test_virtual_time_jumps_over_an_hour_of_sleep(machine: Machine) -> None:
    domain = machine.create(_image(SLEEP), DomainConfig(memory=MEMORY))
    assert machine.run(timeout=30) is Ending.DONE
    assert domain.console_output() == b"an hour later\n"
    assert isinstance(machine.platform.clock, VirtualClock)
    assert machine.platform.clock.now() > 3600 * 10**9


def test_a_number_of_traps_can_be_the_limit(machine: Machine, hello: Image) -> None:
    records: list[Record] = []
    machine.trace.subscribe(records.append, (Kind.HYPERCALL,))
    machine.create(hello, DomainConfig(memory=MEMORY))
    assert machine.run(max_traps=3) is Ending.TRAPS
    assert len(records) == 3
    assert machine.run(timeout=30) is Ending.DONE


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
            assert machine.run(timeout=60) is Ending.DONE
        traces.append([record.line() for record in records])
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
    assert machine.run(timeout=30) is Ending.DONE
    assert "(d1) half" in caplog.messages


def test_a_domain_keeps_the_end_of_what_it_printed(
    machine: Machine, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain_module, "TRANSCRIPT", 16)
    domain = machine.create(hello, DomainConfig(memory=MEMORY))
    assert machine.run(timeout=30) is Ending.DONE
    assert len(domain.console_output()) == 16
    assert domain.console_output().endswith(b"\n")


def test_a_processor_that_fails_ends_its_domain_and_no_other(
    machine: Machine, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, healthy = (machine.create(hello, DomainConfig(memory=MEMORY)) for _ in range(2))

    def fail(*, instructions: int = 0) -> None:
        raise EngineError("the engine refused to run")

    monkeypatch.setattr(broken.vcpus[0].cpu, "run", fail)
    assert machine.run(timeout=30) is Ending.DONE
    assert broken.reason is ShutdownReason.crash
    assert "its processor cannot go on: the engine refused to run" in broken.crash_report
    assert healthy.reason is ShutdownReason.poweroff
