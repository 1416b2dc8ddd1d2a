"""Modelled TLBs on the command line and in files: `boot`, `run`, `explore`; and who refuses them."""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, ImageError, Machine, ShutdownReason, guest_kernels
from paravane.guest_kernels.settings import KEYS
from paravane.migration.save import save
from paravane.snapshot import SnapshotError
from paravane.tlb import MOST_ENTRIES, TlbKind, TlbSpec
from paravane.tools import tlb_options
from paravane.tools.boot.reversing import settle_reversing
from paravane.tools.cli import main
from paravane.tools.following import Following
from paravane.tools.tlb_options import KINDS
from tests.support.boot import HOST_TIMEOUT, paravane
from tests.support.machines import Machines
from tests.support.small_machines import BLOCK, MEMORY, SPIN, image

if TYPE_CHECKING:
    from pathlib import Path


def test_a_machine_with_one_is_not_saved() -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        machine.create(image(BLOCK), DomainConfig(memory=MEMORY, tlb=TlbSpec(TlbKind.tagged)))
        with pytest.raises(SnapshotError, match="domain 1 has a modelled TLB, which cannot be saved yet"):
            machine.save()


SUSPENDED = """
    .include "runtime.inc"
    XEN_NOTES suspended
    .data
how: .long SHUTDOWN_suspend
    .text
main:
    movl $SCHEDOP_shutdown, %ebx
    movl $how, %ecx
    HYPERCALL sched_op
    jmp main
"""


def test_a_suspended_domain_with_one_is_not_sent_anywhere() -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        config = DomainConfig("sleeper", MEMORY, tlb=TlbSpec(TlbKind.tagged))
        domain = machine.create(image(SUSPENDED), config)
        machine.run(timeout=HOST_TIMEOUT)
        assert domain.reason is ShutdownReason.suspend
        with pytest.raises(ValueError, match="^sleeper cannot be saved: it has a modelled TLB, which"):
            next(save(domain))


def test_nobody_goes_back_in_gdb_in_a_run_of_one_with_one() -> None:
    options = argparse.Namespace(gdb="127.0.0.1:0", deterministic=True)
    config = DomainConfig("it", MEMORY, tlb=TlbSpec(TlbKind.tagged))
    why = settle_reversing(options, config, Following(), None)
    assert why == (None, "nobody can go back in a run with a modelled TLB, which cannot be saved yet")
    assert settle_reversing(options, replace(config, tlb=None), Following(), None)[1] == ""


def test_a_kernel_that_refills_its_tlb_has_to_be_where_nothing_is_missed() -> None:
    low = replace(image(BLOCK), virt_base=0x80000000)
    with Machine(Machine.size_for(MEMORY)) as machine:
        for kind in (TlbKind.hardware, TlbKind.tagged, None):
            spec = None if kind is None else TlbSpec(kind)
            with suppress(ImageError):  # it is not really there: only this one is refused for that
                machine.create(low, DomainConfig(memory=MEMORY, tlb=spec))
        with pytest.raises(ImageError, match="from 0xc0000000 on, and this one is at 0x80000000"):
            machine.create(low, DomainConfig(memory=MEMORY, tlb=TlbSpec(TlbKind.software)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("hello", "--tlb-ways", "2"), 2, "--tlb-ways is for --tlb"),
        (("hello", "--tlb", "tagged", "--tlb-ways", "3"), 2, "--tlb: 64 entries make no whole sets of 3"),
        (
            ("twolevel", "--tlb", "hardware"),
            5,
            "twolevel: a modelled TLB is for kernels with PAE, and this one has tables of two levels",
        ),
        (
            ("hello", "--tlb", "tagged", "--record", "folder"),
            2,
            "--record: it keeps no modelled TLB: do without --tlb",
        ),
        (
            ("hello", "--tlb", "tagged", "--tlb-entries", "512", "--vcpus", "32", "--memory", "4020M"),
            2,
            "a domain of 4020 MiB does not fit into a machine of 4 GiB",
        ),
        (
            ("hello", "--personality", "full", "--tlb", "tagged"),
            2,
            "--tlb is not for --personality full",
        ),
    ],
)
def test_what_the_command_refuses(arguments: tuple[str, ...], status: int, said: str) -> None:
    done = paravane("boot", *arguments)
    assert (done.returncode, done.stderr.decode()) == (status, f"paravane: {said}\n")


@pytest.mark.slow
def test_the_command_says_what_was_counted() -> None:
    done = paravane("boot", "tlb", "--tlb", "tagged", "--tlb-entries", "32", "--audit")
    assert done.stdout.decode() == guest_kernels.load("tlb").expected
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "tlb: tagged TLB, 32 entries, 4 ways"
    assert {line.split(maxsplit=1)[1] for line in lines[1:-1]} >= {
        "misses",
        "evictions",
        "exits to the hypervisor",
    }
    assert lines[-2].endswith(" us of system time in which it was running")
    assert lines[-1] == "audit: no difference"


def test_the_largest_ones_of_the_most_processors_fit(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(("boot", "hello", "--tlb", "tagged", "--tlb-entries", "512", "--vcpus", "32")) == 0
    assert "hello: tagged TLB, 512 entries, 4 ways on each of 32 processors\n" in capfd.readouterr().err


CRASHING = """
    .include "runtime.inc"
    XEN_NOTES crashing
    .text
main:
    movl 0x400000, %eax
    ret
"""


@pytest.mark.parametrize(
    ("kind", "walked"),
    [
        ("hardware", ["in what its hardware TLB holds", "in the tables that it is refilled from"]),
        ("software", ["in what its software TLB holds"]),
        ("tagged", ["in what its tagged TLB holds", "in the tables that it is refilled from"]),
    ],
)
def test_a_dump_says_what_it_walks(
    kind: str, walked: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "crashing.S").write_text(CRASHING)
    assert main(("boot", str(tmp_path / "crashing.S"), "--tlb", kind)) == 3
    said = capfd.readouterr().err.splitlines()
    heads = [line for line in said if line.startswith("page walk of ")]
    assert heads == [f"page walk of 0x00400000 {where}:" for where in walked]
    for head in heads:
        entries = list(takewhile(lambda line: line.startswith("  l"), said[said.index(head) + 1 :]))
        assert "not present" in entries[-1]


@pytest.mark.slow
def test_run_says_what_the_tlb_of_each_domain_has_counted(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    files = [
        machines.domain("first", "tlb", tlb="software", tlb_entries=16),
        machines.domain("second", "hello"),
        machines.domain("third", machines.kernel("crashing", CRASHING), tlb="tagged", tlb_ways=2),
    ]
    status, printed, errors = machines.do("run", *files)
    assert status == 3
    lines = errors.splitlines()
    told = lines.index("first: software TLB, 16 entries, 4 ways")
    assert lines[told - 1] == "paravane: first (domain 1) has ended: poweroff"
    refills = next(line for line in lines[told:] if line.endswith(" refills by the kernel"))
    assert int(refills.split()[0]) > 7000
    assert "third: tagged TLB, 64 entries, 2 ways" in lines
    assert not any(line.startswith("second: ") for line in lines)


@pytest.mark.slow
def test_run_says_it_of_a_domain_that_does_not_end_too(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    spinning = machines.domain("it", machines.kernel("spin", SPIN), tlb="hardware")
    status, _, errors = machines.do("run", spinning, "--timeout", "1")
    assert status == 124
    assert "it: hardware TLB, 64 entries, 4 ways" in errors.splitlines()


def test_the_kinds_of_tlb_are_called_alike_everywhere() -> None:
    assert tuple(kind.name for kind in TlbKind) == KINDS
    assert all(KEYS["tlb"].accepts(name) for name in KINDS)
    assert tlb_options.MOST_ENTRIES == MOST_ENTRIES


def test_explore_runs_a_kernel_with_the_tlb_that_its_folder_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kernel.toml").write_text('memory_mib = 8\ntlb = "software"\n')
    (tmp_path / "kernel.S").write_text(
        '.include "runtime.inc"\nXEN_NOTES kernel\n.bss\n.balign 4\nwhich: .skip 16\n.text\n'
        "main: movl $TLBOP_describe, %ebx\nmovl $which, %ecx\nHYPERCALL arch_7\n"
        "testl %eax, %eax\njz 1f\nud2\n1: ret\n"
    )
    assert main(("explore", str(tmp_path), "--runs", "1")) == 0, capsys.readouterr().out
