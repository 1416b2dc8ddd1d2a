"""Kernels on processors with a modelled TLB: the same console, and what the TLB has counted."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, ShutdownReason, guest_kernels, load_image
from paravane.asm import build
from paravane.guest_kernels.settings import KEYS
from paravane.snapshot import SnapshotError
from paravane.tlb import MOST_ENTRIES, TlbKind, TlbProcessor, TlbSpec
from paravane.tlb.report import counts_of
from paravane.tools import tlb_options
from paravane.tools.cli import main
from paravane.tools.tlb_options import KINDS
from tests.support.boot import HOST_TIMEOUT, kernel_image, paravane

if TYPE_CHECKING:
    from pathlib import Path

    from paravane import Domain

MEMORY = 16 << 20
PAGES_OF_A_ROUND = 10
ROUNDS = 200
TURNS = 3 * ROUNDS + ROUNDS // 2
"""Of three processes and of the child that one has half-way."""


@cache
def kernel(name: str) -> bytes:
    return build(guest_kernels.load(name).sources)


class Run:
    """A domain that ran to its end on a machine of its own, which gave back all that it had."""

    def __init__(self, image: bytes, tlb: TlbSpec | None, *, vcpus: int = 1) -> None:
        with Machine(Machine.size_for(MEMORY)) as machine:
            memory = machine.platform.memory
            machine.destroy(machine.create(load_image(image), DomainConfig(memory=MEMORY, vcpus=vcpus)))
            free = memory.nr_free
            domain = machine.create(load_image(image), DomainConfig(memory=MEMORY, vcpus=vcpus, tlb=tlb))
            machine.run(timeout=HOST_TIMEOUT)
            self.console = domain.console_output().decode()
            self.reason, self.crash = domain.reason, domain.crash_report
            processors = [vcpu.cpu for vcpu in domain.vcpus]
            self.counts = counts_of(processors)
            self.differences = [
                line for one in processors if isinstance(one, TlbProcessor) for line in one.differences()
            ]
            self.audit = machine.audit()
            machine.destroy(domain)
            self.audit += machine.audit()
            self.lost = free - memory.nr_free


def well(run: Run, console: str) -> Run:
    assert (run.reason, run.crash) == (ShutdownReason.poweroff, "")
    assert run.console == console
    assert (run.differences, run.audit, run.lost) == ([], [], 0)
    return run


@cache
def work(kind: TlbKind, entries: int = 64, ways: int = 4) -> Run:
    return well(Run(kernel("tlb"), TlbSpec(kind, entries, ways)), guest_kernels.load("tlb").expected)


def test_who_refills_and_who_flushes_is_all_the_difference() -> None:
    hardware, software, tagged = (work(kind).counts for kind in TlbKind)
    # A turn has all its pages to find again where a switch flushes; the tags leave them there.
    assert hardware["misses"] >= TURNS * PAGES_OF_A_ROUND
    assert tagged["misses"] < hardware["misses"] // 50
    assert tagged["switches"] >= TURNS > tagged["flushes"]
    assert hardware["flushes"] >= TURNS
    # A miss that the kernel serves is two exits: to it, and back in the refill.
    assert software["refills"] == software["misses"] >= TURNS * PAGES_OF_A_ROUND
    assert software["exits"] >= hardware["exits"] + 2 * software["misses"] - TURNS
    assert hardware["refills"] == tagged["refills"] == 0
    assert tagged["exits"] <= hardware["exits"]


@pytest.mark.parametrize("kind", list(TlbKind))
@pytest.mark.parametrize(("entries", "ways"), [(1, 1), (4, 1), (8, 8)])
def test_it_does_not_matter_how_small_it_is(kind: TlbKind, entries: int, ways: int) -> None:
    """An instruction needs its own page and that which it stores to at the same time."""
    assert work(kind, entries, ways).counts["evictions"] > 0


@pytest.mark.parametrize("kind", [TlbKind.hardware, TlbKind.tagged])
@pytest.mark.parametrize("entries", [1, 64])
def test_kernels_that_know_nothing_of_it_run_on_what_the_processor_refills(
    kind: TlbKind, entries: int
) -> None:
    run = Run(kernel("twice"), TlbSpec(kind, entries, min(entries, 4)))
    well(run, guest_kernels.load("twice").expected)
    assert run.counts["misses"] > 1000


def test_each_of_several_processors_has_one() -> None:
    run = Run(kernel("smp"), TlbSpec(TlbKind.hardware), vcpus=4)
    assert run.reason is ShutdownReason.poweroff, run.crash
    assert (run.differences, run.audit, run.lost) == ([], [], 0)


ASK = """
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    XEN_NOTES ask
    .text
.macro TLB_CALL command, ecx=$0, edx=$0, esi=$0
    movl \\ecx, %ecx
    movl \\edx, %edx
    movl \\esi, %esi
    movl $TLBOP_\\command, %ebx
    call hypercall_page + TLB_OP * 32
.endm
.macro TELL
    call print_errno
    PRINT " "
.endm
# EDX:ESI = entry for our own page EAX with flags EDX
own_entry:
    pushl %edx
    call va_to_mfn
    popl %edx
    call make_entry
    movl %edx, %esi
    movl %eax, %edx
    ret
.macro REFILL_OWN va, page, flags
    movl \\page, %eax
    movl \\flags, %edx
    call own_entry
    TLB_CALL refill, \\va, %edx, %esi
.endm
    .bss
    .balign PAGE_SIZE
spare: .skip PAGE_SIZE
other: .skip PAGE_SIZE
    .text
main:
"""


def asked(body: str, kind: TlbKind | None, **spec: int) -> Run:
    return Run(kernel_image(ASK + body), None if kind is None else TlbSpec(kind, **spec))


EVERYTHING = """
    TLB_CALL describe, $spare
    TELL
    REFILL_OWN $0x400000, $spare, $PTE_DATA
    TELL
    TLB_CALL set_asn, $3
    TELL
    TLB_CALL flush_asn, $3
    TELL
    movl $99, %ebx
    call hypercall_page + TLB_OP * 32
    TELL
    ret
"""


def test_each_tlb_answers_for_what_it_can() -> None:
    assert {kind: asked(EVERYTHING, kind).console.split() for kind in (None, *TlbKind)} == {
        None: ["ENOSYS"] * 5,
        TlbKind.hardware: ["OK", "EOPNOTSUPP", "EOPNOTSUPP", "EOPNOTSUPP", "ENOSYS"],
        TlbKind.software: ["OK", "OK", "EOPNOTSUPP", "EOPNOTSUPP", "ENOSYS"],
        TlbKind.tagged: ["OK", "EOPNOTSUPP", "OK", "OK", "ENOSYS"],
    }


def test_address_spaces_beyond_the_last_are_refused() -> None:
    body = """
    TLB_CALL set_asn, $TLB_ASNS
    TELL
    TLB_CALL flush_asn, $-1
    TELL
    TLB_CALL set_asn, $TLB_ASNS-1
    TELL
    ret
"""
    assert asked(body, TlbKind.tagged).console.split() == ["EINVAL", "EINVAL", "OK"]


def test_what_a_refill_may_not_map() -> None:
    """The hypervisor's frames, none at all, page tables to write to, bits that a TLB does not have, and what
    is in the kernel's area. A table may be read, as through a page table."""
    body = """
    REFILL_OWN $0xC0000000, $spare, $PTE_DATA
    TELL
    TLB_CALL refill, $0x400000, $0x1067, $0
    TELL
    TLB_CALL refill, $0x400000, $0x00100067, $0
    TELL
    TLB_CALL refill, $0x400000, $0xFFFFF067, $0xFF
    TELL
    REFILL_OWN $0x400000, $spare, $PTE_DATA | _PAGE_GLOBAL
    TELL
    REFILL_OWN $0x400000, $spare, $PTE_DATA | _PAGE_PWT
    TELL
    call kernel_l2
    movl %eax, %edi
    REFILL_OWN $0x400000, %edi, $PTE_DATA
    TELL
    REFILL_OWN $0x400000, %edi, $PTE_READ_ONLY
    TELL
    cmpl %eax, %gs:0
    ret
"""
    body = body.replace("    cmpl %eax, %gs:0\n", "")
    run = asked(body, TlbKind.software)
    assert run.console.split() == ["EINVAL"] * 7 + ["OK"]
    assert (run.differences, run.audit, run.lost) == ([], [], 0)


def test_a_page_that_the_tlb_can_write_to_becomes_no_table() -> None:
    """Nor does one that an entry could write to that has been evicted for another one meanwhile, or flushed,
    stay in use as that."""
    body = """
    REFILL_OWN $0x400000, $spare, $PTE_DATA
    TELL
    movl $spare, %eax
    call make_read_only
    movl $spare, %eax
    call va_to_mfn
    MMUEXT PIN_L1_TABLE, %eax
    TELL
    REFILL_OWN $0x401000, $other, $PTE_DATA
    TELL
    REFILL_OWN $0x402000, $other, $PTE_DATA
    TELL
    MMUEXT TLB_FLUSH_LOCAL
    TELL
    movl $spare, %eax
    call va_to_mfn
    MMUEXT PIN_L1_TABLE, %eax
    TELL
    REFILL_OWN $0x400000, $spare, $PTE_DATA
    TELL
    ret
"""
    run = asked(body, TlbKind.software, entries=2, ways=1)
    assert run.console.split() == ["OK", "EINVAL", "OK", "OK", "OK", "OK", "EINVAL"]
    assert (run.differences, run.audit, run.lost) == ([], [], 0)


def test_refills_without_end_cost_nobody_anything() -> None:
    body = """
    movl $3000, %edi
1:  movl %edi, %ebp
    shll $12, %ebp
    REFILL_OWN %ebp, $spare, $PTE_DATA
    MUST refill
    movl %edi, (%ebp)
    decl %edi
    jnz 1b
    PRINT_DEC spare
    ret
"""
    run = asked(body, TlbKind.software)
    assert (run.reason, run.console) == (ShutdownReason.poweroff, "1")
    assert run.counts["refills"] == 3000
    assert run.counts["evictions"] == 3000 - 64
    assert (run.differences, run.audit, run.lost) == ([], [], 0)


def test_a_miss_that_nobody_serves_ends_the_domain_in_a_sentence() -> None:
    run = asked("    movl 0x400000, %eax\n    ret\n", TlbKind.software)
    assert run.reason is ShutdownReason.crash
    assert run.crash.splitlines()[0].startswith("domain 2 (guest) crashed: #PF with error code 0x0")


def test_a_miss_in_the_handler_of_misses_ends_the_domain() -> None:
    body = """
    movl $table, %eax
    call set_trap_table
    call map_shared_info
    movl 0x400000, %eax
    ret
miss:
    movl 0x401000, %eax
    .data
table:
    TRAP_GATE 14, 0, miss
    TRAP_TABLE_END
"""
    run = asked(body, TlbKind.software)
    assert run.reason is ShutdownReason.crash
    assert run.counts["misses"] > 100
    assert (run.differences, run.audit, run.lost) == ([], [], 0)


def test_arguments_that_are_not_in_the_tlb_cannot_be_read() -> None:
    body = """
    TLB_CALL describe, $0x400000
    TELL
    REFILL_OWN $0x400000, $spare, $PTE_DATA
    TELL
    TLB_CALL describe, $0x400000
    TELL
    PRINT_DEC spare
    ret
"""
    assert asked(body, TlbKind.software).console.split() == ["EFAULT", "OK", "OK", "2"]


def domain_with(machine: Machine, kind: TlbKind) -> Domain:
    return machine.create(load_image(kernel("tlb")), DomainConfig(memory=MEMORY, tlb=TlbSpec(kind)))


def test_a_domain_with_one_is_not_saved() -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        domain_with(machine, TlbKind.tagged)
        with pytest.raises(SnapshotError, match="domain 1 has a modelled TLB, which cannot be saved yet"):
            machine.save()


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
    assert lines[-1] == "audit: no difference"


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
