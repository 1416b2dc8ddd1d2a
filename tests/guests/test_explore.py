"""`paravane explore`: a wake-up that is lost on some schedules is found, made shorter, and found again."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, quick
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.tools.cli import main
from paravane.tools.explore.trial import Draw, Plan, run
from paravane.variation import Variation

if TYPE_CHECKING:
    from pathlib import Path

SLEEPER = """
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "systime.inc"
    .include "events.inc"
    XEN_NOTES sleeper
main:
    call events_init
    movl $VIRQ_TIMER, %eax
    xorl %edx, %edx
    call bind_virq
    call unmask_port
    rdtsc
    addl $1000000, %eax
    adcl $0, %edx
    movl %eax, %ecx
    movl $__HYPERVISOR_set_timer_op, %eax
    movl %ecx, %ebx
    movl %edx, %ecx
    call hypercall_page + __HYPERVISOR_set_timer_op * 32
    call block
    rdtsc
    PRINT_HEX %eax
    ret
"""
SPINNER = """
    .include "runtime.inc"
    XEN_NOTES spinner
main:
    call map_if_seeded
    ret
map_if_seeded:
    movl start_info, %eax
    cmpl $0, START_INFO_shared_info(%eax)
1:  jne 1b                          # always: it never ends
    ret
"""


def _image(text: str) -> bytes:
    return write_elf(assemble_text(text, name="text"))


def test_a_lost_wake_up_is_found_within_a_thousand_runs_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("explore", "lostwakeup", "--runs", "1000")) == 1
    told = capsys.readouterr().out
    found = re.search(r"fails with seed (\d+), run (\d+) of 1000", told)
    assert found, told
    assert 12 <= int(found[1]) == int(found[2])
    assert "every vcpu is blocked" in told
    assert "vcpu 0 sleeps until an event" in told
    turns = re.search(r"^(\d+) turns of chance lead to it, of (\d+)", told, re.MULTILINE)
    assert turns, told
    assert int(turns[1]) < int(turns[2])
    (again,) = re.findall(r"^again: paravane (.*)$", told, re.MULTILINE)
    assert main(shlex.split(again)) == 9
    fewer = again.replace(f"--decisions {turns[1]}", f"--decisions {int(turns[1]) - 1}")
    assert main(shlex.split(fewer)) == 0
    assert main(("explore", "lostwakeup", "-D", "MENDED", "--runs", found[2])) == 0


def test_several_at_a_time_find_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    seeds = ("--seed", "40", "--runs", "6")
    assert main(("explore", "lostwakeup", *seeds)) == 1
    alone = capsys.readouterr().out
    assert main(("explore", "lostwakeup", *seeds, "--jobs", "2")) == 1
    assert capsys.readouterr().out == alone


def test_a_run_is_what_its_draw_says() -> None:
    plan = Plan(_image(SLEEPER), DomainConfig(memory=4 << 20))
    plain = run(plan, Draw(0))
    assert plain.status == 0, plain.findings
    late = [run(plan, Draw(seed, Variation(jitter=50_000))) for seed in (1, 2, 3, 1)]
    assert late[0] == late[3]
    assert len({trial.ended_at for trial in late}) == 3
    assert all(0 <= trial.ended_at - plain.ended_at <= 51_000 for trial in late)


def test_who_does_not_end_in_virtual_time_hangs() -> None:
    plan = Plan(_image(SPINNER), DomainConfig(memory=4 << 20), status=0, until=10_000_000)
    trial = run(plan, Draw(1))
    assert trial.status == 124
    assert "it did not end" in trial.findings[0]
    assert trial.sections


def test_a_plain_run_that_fails_is_told_without_a_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kernel.toml").touch()
    (tmp_path / "wrong.S").write_text(
        '.include "runtime.inc"\nXEN_NOTES wrong\nmain:\nPRINT "no"\nret\n', encoding="utf-8"
    )
    (tmp_path / "expected.txt").write_text("yes\n", encoding="utf-8")
    assert main(("explore", str(tmp_path), "--runs", "3")) == 1
    told = capsys.readouterr().out
    assert "fails in its plain run" in told
    assert "its console is not as expected.txt has it" in told


def test_a_kernel_without_a_folder_is_held_against_its_plain_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("explore", "crash", "--runs", "2")) == 0
    assert capsys.readouterr().out == "crash: 2 runs, seeds 1 to 2: none failed\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("explore", "nothing"), "neither a file nor a guest kernel"),
        (("explore", "hello", "--seed", "0"), "not a positive number"),
        (("explore", "hello", "--jitter", "1000001"), "more than a second"),
        (("boot", "hello", "--decisions", "3"), "are for --deterministic with a --seed"),
    ],
)
def test_what_cannot_be_explored_is_said(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


def test_no_turn_of_chance_is_the_plain_order() -> None:
    """Frames differ, so a seed is compared with itself: with no decision left it is as if it had none."""
    plan = Plan(_image(SLEEPER), DomainConfig(memory=4 << 20))
    draw = Draw(5, Variation(decisions=0))
    assert run(plan, draw) == replace(run(plan, Draw(5)), draw=draw)
    assert quick.boot("lostwakeup", seed=42, trace=()).ending.name == "STALLED"


def test_a_failure_is_recorded_and_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its faults and its turns of chance, and with what its disk gave."""
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(4 << 20))
    for status, words in (
        (9, ("lostwakeup", "--seed", "42", "--runs", "1")),
        (3, ("block", "--faults", "disk", "--seed", "1", "--runs", "1", "--disk", f"{disk},xvda")),
    ):
        folder = str(tmp_path / words[0])
        assert main(("explore", *words, "--record", folder)) == 1
        assert capsys.readouterr().out.endswith(f"\nrecorded: paravane replay {folder}\n")
        assert main(("replay", folder)) == status
        assert "this is not the recorded run" not in capsys.readouterr().err
    assert disk.read_bytes() == bytes(4 << 20)
    assert main(("explore", "lostwakeup", "--record", folder)) == 2
    assert "it is there already" in capsys.readouterr().err


def test_a_run_has_its_time_of_the_host() -> None:
    """Where it is cut short is no seed's matter, and is told as that."""
    plan = Plan(_image(SPINNER), DomainConfig(memory=4 << 20), status=0, until=1 << 60, timeout=0.05)
    trial = run(plan, Draw(1))
    assert (trial.status, trial.by_host) == (124, True)
    assert "it has not ended after 0.05 seconds of the host's time" in trial.findings


def test_runs_log_nothing(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("explore", "crash", "--runs", "1")) == 0
    assert caplog.records == []
    assert capsys.readouterr().err == ""


def test_a_failure_is_one_though_nobody_reads_of_it() -> None:
    words = [sys.executable, "-m", "paravane", "explore", "hello", "--timeout", "0.001"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(words, check=False, stdout=closed, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == b""
