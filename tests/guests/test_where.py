"""Where a guest is and what it waits for: one report, whatever made somebody ask."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from paravane import DomainConfig, Machine, ShutdownReason, StopReason, asm, load_image
from paravane.abi.shared_info import SHARED_INFO
from tests.support.boot import HOST_TIMEOUT, kernel_image, paravane

if TYPE_CHECKING:
    from paravane import Domain

MEMORY = 4 << 20

HEAD = """
    .include "runtime.inc"
    XEN_NOTES
main:
"""

SPINS = (
    HEAD
    + """
    call outer
    ret
outer:
    pushl %ebp
    movl %esp, %ebp
    subl $8, %esp
    call inner
    leave
    ret
inner:
    jmp .                               # for ever
"""
)

POLLS = (
    HEAD
    + """
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    ret
    .data
    .balign 4
ports: .long 2, 1
poll:  .long ports, {count}
       .quad 3600 * 1000000000
"""
)

SLEEPS = (
    HEAD
    + """
    movl $EVTCHNOP_bind_virq, %ebx
    movl $virq, %ecx
    HYPERCALL event_channel_op
    movl $EVTCHNOP_bind_ipi, %ebx
    movl $ipi, %ecx
    HYPERCALL event_channel_op
    movl $SCHEDOP_watchdog, %ebx
    movl $watchdog, %ecx
    HYPERCALL sched_op
    movl $VCPUOP_set_singleshot_timer, %ebx
    xorl %ecx, %ecx
    movl $timer, %edx
    HYPERCALL vcpu_op
    movl $EVTCHNOP_send, %ebx
    movl $ipi + 4, %ecx
    HYPERCALL event_channel_op
hang:
    jmp hang
    .data
    .balign 4
virq:  .long VIRQ_TIMER, 0, 0
ipi:   .long 0, 0
watchdog: .long 0, 60
timer: .quad 5000000000
       .long 0
"""
)


def run_for_a_while(machine: Machine) -> None:
    """Run for a number of slices, however long the host takes for them."""
    left = 50

    def look() -> None:
        nonlocal left
        left -= 1
        if left:
            machine.post(look)
        else:
            machine.interrupt()

    machine.post(look)
    machine.run(timeout=HOST_TIMEOUT)


def asked(kernel: str) -> tuple[Domain, str]:
    """The domain of a kernel that was interrupted after a while, and where it was then."""
    with Machine(Machine.size_for(MEMORY), slice_instructions=10_000) as machine:
        domain = machine.create(load_image(kernel_image(kernel)), DomainConfig(memory=MEMORY))
        run_for_a_while(machine)
        return domain, domain.where()


def test_a_guest_that_spins_shows_its_calls() -> None:
    _, text = asked(SPINS)
    lines = text.splitlines()
    assert re.fullmatch(r"domain 1 \(guest\) at \d+\.\d{9} s:", lines[0])
    assert re.fullmatch(r"vcpu 0 runs: ring 1, EIP 0xc010\w+ <inner\+0x0> kernel\.S:\d+", lines[1])
    assert lines[2].startswith("  ring 1  eip c010")
    at = lines.index("calls, by frame pointers:")
    assert [re.sub(r"^  0x\w+ <(\w+).*", r"\1", line) for line in lines[at + 1 : at + 4]] == [
        "outer",
        "main",
        "events:",
    ]


def test_calls_without_frame_pointers_are_looked_for_on_the_stack() -> None:
    _, text = asked(SPINS.replace("movl %esp, %ebp", "xorl %ebp, %ebp"))
    found = re.search(r"calls, by return addresses on the stack:\n((?:  .*\n)+)", text)
    assert found is not None
    assert re.findall(r"<(\w+)\+", found[1]) == ["outer", "main", "_start"]


@pytest.mark.parametrize("frame", ["$0xFFFFFFFC", "$main", "%esp", "$0x12345"])
def test_a_frame_pointer_that_is_none_hurts_nobody(frame: str) -> None:
    _, text = asked(SPINS.replace("movl %esp, %ebp", f"movl {frame}, %ebp").replace("leave", "nop"))
    assert "<outer+" in text


def test_a_stack_that_is_not_mapped_is_said_so() -> None:
    _, text = asked(HEAD + "    movl $0xB0000000, %esp\nhang: jmp hang")
    assert "  b0000000: not readable" in text
    assert "calls" not in text


def test_a_report_has_the_same_parts_in_the_same_order_when_the_guest_crashes() -> None:
    parts = r"(?m)^(?:vcpu|code|stack|events|timers)\b"
    _, spinning = asked(HEAD + "hang: jmp hang")
    crashed, after = asked(HEAD + "    int $0x21")
    assert crashed.reason is ShutdownReason.crash
    for text in (spinning, crashed.crash_report, after):
        assert re.findall(parts, text) == ["vcpu", "code", "stack", "events", "timers"]


@pytest.mark.parametrize(("count", "what"), [(1, "port 2"), (2, "several ports")])
def test_a_guest_that_polls_says_which_port_and_until_when(count: int, what: str) -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        domain = machine.create(
            load_image(kernel_image(POLLS.format(count=count))), DomainConfig(memory=MEMORY)
        )
        keep = machine.promise()
        reports: list[str] = []

        def look() -> None:
            if domain.vcpus[0].run_state.polls:
                reports.append(domain.where())
                keep(machine.interrupt)
            else:
                machine.post(look)

        machine.post(look)
        # Before its time-out is jumped to: what is posted is made first.
        machine.run(timeout=HOST_TIMEOUT)
    assert reports[0].splitlines()[1].startswith(f"vcpu 0 polls {what} until 3600.000000000 s: ring 1, EIP ")
    assert ", called from 0xc010" in reports[0]
    assert "<main+0x" in reports[0].splitlines()[1]
    assert "  poll at 3600.000000000 s, in " in reports[0]


def test_ports_timers_and_watchdogs_are_shown() -> None:
    _, text = asked(SLEEPS)
    assert "  upcall pending, masked\n  port 4, ipi: pending\n" in text
    assert "\n  port 1, connected to port " in text
    assert "\n  port 3, virtual interrupt TIMER\n" in text
    assert re.search(r"timers:\n(?:  tick .*\n)*  single-shot at 5\.000000000 s, in 4\.9\d+ s\n", text)
    assert re.search(r"domain's timers:\n  watchdog 1 at 60\.\d+ s, in 59\.\d+ s\n$", text)


def test_a_poll_that_an_upcall_ended_leaves_nothing_behind() -> None:
    """A port that was polled once must not end a later sleep."""
    with Machine(Machine.size_for(MEMORY)) as machine:
        domain = machine.create(load_image(kernel_image(SPINS)), DomainConfig(memory=MEMORY))
        run_state = domain.vcpus[0].run_state
        run_state.poll([2], 0)
        run_state.wake()
        run_state.block()
        machine.platform.ram.words[domain.shared_info + SHARED_INFO.offsets["evtchn_mask"] >> 2] = 1 << 2
        domain.console.feed(b"x")
        assert domain.events.is_pending(2)
        assert run_state.waiting.blocked


@pytest.mark.parametrize("trusted", [False, True])
def test_source_is_quoted_for_those_who_ask(tmp_path: Path, trusted: bool) -> None:
    source = tmp_path / "spin.S"
    source.write_text(SPINS)
    with Machine(Machine.size_for(MEMORY), slice_instructions=10_000) as machine:
        image = load_image(kernel_image(SPINS, name=str(source)))
        domain = machine.create(image, DomainConfig(memory=MEMORY, source_text=trusted))
        run_for_a_while(machine)
        quoted = re.search(r"^  \d+: jmp \.  +# for ever$", domain.where(), re.MULTILINE)
    assert (quoted is not None) is trusted


def test_source_is_found_in_a_folder_of_any_name(tmp_path: Path) -> None:
    source = tmp_path / "Übung 2" / "\u30ab\u30fc\u30cd\u30eb.S"
    source.parent.mkdir()
    source.write_text(HEAD + "    ud2     # here\n")
    ended = paravane("boot", str(source)).stderr.decode()
    assert re.search(r" \u30ab\u30fc\u30cd\u30eb\.S:(\d+)\n  \1: ud2     # here\n", ended), ended


@pytest.mark.parametrize("told", [False, True])
def test_included_source_is_quoted_from_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc" / "fails.inc").write_text("fails:\n    ud2     # as it is included\n")
    (tmp_path / "a.S").write_text(HEAD + '    jmp fails\n.include "fails.inc"\n')
    monkeypatch.chdir(tmp_path)
    image = load_image(asm.build([Path("a.S")], include=[Path("inc")]))
    monkeypatch.chdir("/")
    with Machine(Machine.size_for(MEMORY)) as machine:
        folders = (tmp_path,) if told else ()
        config = DomainConfig(memory=MEMORY, source_text=True, source_folders=folders)
        domain = machine.create(image, config)
        machine.run(timeout=HOST_TIMEOUT)
        assert ("\n  2: ud2     # as it is included\n" in domain.crash_report) is told


def test_the_command_quotes_the_runtime(tmp_path: Path) -> None:
    source = tmp_path / "a.S"
    source.write_text(HEAD + "    movl $SHUTDOWN_crash, %eax\n    jmp shutdown\n")
    ended = paravane("boot", str(source)).stderr.decode()
    assert re.search(r"exit\.inc:(\d+)\n  \1: HYPERCALL sched_op\n", ended), ended


def test_the_monitor_asks_a_guest_that_runs_and_it_goes_on(tmp_path: Path) -> None:
    source = tmp_path / "spin.S"
    source.write_text(SPINS.replace("call outer", 'PRINT "spinning\\n"\n    call outer', 1))
    child = pexpect.spawn(
        sys.executable, ["-m", "paravane", "boot", str(source)], timeout=HOST_TIMEOUT, encoding="utf-8"
    )
    child.expect(r"Ctrl-\] opens a monitor")
    child.expect("spinning")
    places = [r"vcpu 0 runs: ring 1, EIP \S+ <inner\+0x0> spin.S:\d+", r"vcpu 0 runs: ring 1, EIP \S+ <"]
    child.send("\x1dwhere\r")
    while child.expect(places):  # what it has printed may be read before it goes on
        child.expect_exact("(paravane) ")
        child.send("where\r")
    child.expect_exact("(paravane) ")
    child.send("\r")
    for _ in range(2):
        child.send("\x1dwhere\r")
        child.expect(places[0])
        child.expect(r"\d+: jmp \.  +# for ever")
        child.expect("timers:")
        child.expect_exact("(paravane) ")
        child.send("\r")
    child.send("\x1d?\r")
    child.expect(r"where \[DOMAIN\] +where its vcpus are")
    child.send("quit\r")
    child.expect("its console was left")
    child.expect(pexpect.EOF)
    assert child.wait() == 130


def test_a_stalled_guest_says_that_it_sleeps() -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        kernel = HEAD + "    movl $SCHEDOP_block, %ebx\n    HYPERCALL sched_op\n    ret"
        domain = machine.create(load_image(kernel_image(kernel)), DomainConfig(memory=MEMORY))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED
        assert "vcpu 0 sleeps until an event: ring 1, EIP " in domain.where()
    assert domain.where().startswith("domain 1 (guest) at ")
