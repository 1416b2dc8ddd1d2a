"""Following a guest: its instructions one by one, breakpoints that let it go on, which of its code ran."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Kind, Machine, StopReason, guest_kernels, load_image
from paravane.asm import build
from paravane.cpu.debugger import Watched
from paravane.follow import Breakpoints, Coverage, InstructionTrace, LocationError, location
from paravane.trace import BreakpointRecord, InstructionRecord
from tests.support.boot import HOST_TIMEOUT, kernel_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane import Domain, Record

MEMORY = 8 << 20
ALL = (range(1 << 32),)

HEAD = """
    .include "runtime.inc"
    XEN_NOTES
    .text
"""

KERNEL = (
    HEAD
    + """
main:
    movl $traps, %ebx
    HYPERCALL set_trap_table
    call followed
    ret
followed:
    movl $source, %esi
    movl $copy, %edi
    movl $3, %ecx
    rep movsb
    cmpl %ecx, %esi                     # neither zero, nor carry, nor overflow
    movl 0xB0000000, %eax               # faults
    jbe wrong                           # the flags are those of the comparison
    movl $SCHEDOP_yield, %ebx
    HYPERCALL sched_op
    ret
wrong:
    ud2
page_fault:
    addl $4, %esp
    addl $5, (%esp)                     # past `movl 0xB0000000, %eax`
    iret
    .data
    .balign 4
traps:
    .byte 14, 0
    .short FLAT_KERNEL_CS
    .long page_fault
    .skip TRAP_INFO_sizeof
source: .ascii "abc"
copy:  .skip 3
"""
)


@contextmanager
def built(kernel: str, slice_instructions: int = 0) -> Iterator[tuple[Machine, Domain]]:
    with Machine(Machine.size_for(MEMORY), slice_instructions=slice_instructions) as machine:
        yield machine, machine.create(load_image(kernel_image(kernel)), DomainConfig(memory=MEMORY))


def kept(machine: Machine, *kinds: Kind) -> list[Record]:
    records: list[Record] = []
    machine.trace.subscribe(records.append, kinds)
    return records


def run(machine: Machine) -> None:
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE


def instructions(kernel: str, *names: str, slice_instructions: int = 0) -> list[InstructionRecord]:
    with built(kernel, slice_instructions) as (machine, domain):
        records = kept(machine, Kind.INSTRUCTION)
        ranges = tuple(location(domain.image, name) for name in names) or ALL
        InstructionTrace(domain, ranges)
        run(machine)
        return [record for record in records if isinstance(record, InstructionRecord)]


def test_each_instruction_is_told_once_with_what_it_changed() -> None:
    found = instructions(KERNEL, "followed", "page_fault")
    assert [(record.name, record.trap) for record in found] == [
        ("movl", ""),
        ("movl", ""),
        ("movl", ""),
        ("rep", ""),
        ("cmpl", ""),
        ("movl", "#PF"),
        ("addl", ""),
        ("addl", ""),
        ("iretl", ""),
        ("jbe", ""),
        ("movl", ""),
        ("calll", ""),
        ("retl", ""),
    ]
    copied = found[3]
    assert copied.changed["ecx"] == 0
    assert copied.changed["esi"] == found[0].changed["esi"] + 3
    assert found[5].changed == {}
    assert found[0].place is not None
    assert found[0].place.symbol == "followed"


def test_a_hypercall_comes_before_its_own_record() -> None:
    with built(KERNEL) as (machine, domain):
        records = kept(machine, Kind.INSTRUCTION, Kind.HYPERCALL, Kind.TRAP)
        InstructionTrace(domain, ALL)
        run(machine)
    order = [(record.kind, getattr(record, "trap", "")) for record in records]
    for number, (kind, _) in enumerate(order):
        if kind is Kind.HYPERCALL:
            assert order[number - 1] == (Kind.INSTRUCTION, "hypercall")
        elif kind is Kind.TRAP:
            assert order[number - 1] == (Kind.INSTRUCTION, "#PF")


@pytest.mark.parametrize("slice_instructions", [7, 100, 1_000_000])
def test_slices_neither_repeat_nor_lose_an_instruction(slice_instructions: int) -> None:
    whole = [record.text for record in instructions(KERNEL, "followed", "page_fault")]
    cut = instructions(KERNEL, "followed", "page_fault", slice_instructions=slice_instructions)
    assert [record.text for record in cut] == whole


@pytest.mark.parametrize("name", ["hello", "traps"])
def test_a_guest_that_is_followed_everywhere_runs_as_ever(name: str) -> None:
    kernel = guest_kernels.load(name)
    image = load_image(build(kernel.sources))
    consoles = []
    for followed in (False, True):
        memory = kernel.memory or MEMORY
        with Machine(Machine.size_for(memory)) as machine:
            domain = machine.create(image, DomainConfig(memory=memory, cmdline=kernel.cmdline))
            if followed:
                records = kept(machine, Kind.INSTRUCTION)
                InstructionTrace(domain, ALL)
            run(machine)
            consoles.append(domain.console_output())
    assert consoles[0] == consoles[1]
    assert len(records) > 100


def test_what_is_followed_no_more_runs_on_alone() -> None:
    with built(KERNEL) as (machine, domain):
        records = kept(machine, Kind.INSTRUCTION)
        trace = InstructionTrace(domain, (location(domain.image, "followed"),))
        trace.close()
        run(machine)
        trace.close()
        assert records == []


def test_a_breakpoint_tells_and_goes_on() -> None:
    with built(KERNEL) as (machine, domain):
        records = kept(machine, Kind.BREAKPOINT)
        copy = domain.image.symbols.address_of("copy")
        assert copy is not None
        entry = location(domain.image, "page_fault").start
        Breakpoints(domain, [entry], [Watched(copy, 3, reads=False, writes=True)])
        run(machine)
    found = [record for record in records if isinstance(record, BreakpointRecord)]
    assert [record.name for record in found] == ["write", "write", "write", "breakpoint"]
    assert [(record.data["before"], record.data["after"]) for record in found[:3]] == [
        ("00 00 00", "61 00 00"),
        ("61 00 00", "61 62 00"),
        ("61 62 00", "61 62 63"),
    ]
    assert found[3].address == entry
    assert any("<main+" in call for call in found[3].calls)


@pytest.mark.parametrize(
    "name", ["nothing", "mai", "main+x", "", "-", "main-main", "kernel.S:99999", "0x1-0x0"]
)
def test_what_the_image_does_not_have_is_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(LocationError, match=r"the image has no symbol|ends before it begins"):
        location(load_image(kernel_image(KERNEL)), name)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("main", None),
        ("main+1", 1),
        ("main+0x1", 1),
        ("0xc0100000", 1),
        ("main-followed", None),
        ("kernel.S:8", 1),
    ],
)
def test_places_have_the_names_people_give_them(name: str, size: int | None) -> None:
    image = load_image(kernel_image(KERNEL))
    found = location(image, name)
    main, followed = image.symbols.address_of("main"), image.symbols.address_of("followed")
    assert main is not None
    assert followed is not None
    assert len(found) == (followed - main if size is None else size)


class TestCoverage:
    def test_what_comes_after_a_fault_in_its_block_was_not_executed(self) -> None:
        kernel = KERNEL.replace("addl $5, (%esp)", "movl $landed, (%esp)").replace(
            "    ret\nwrong:", "landed:\n    ret\nwrong:"
        )
        lines = _covered(kernel).by_line()["kernel.S"]
        text = kernel.split("\n")
        by_text = {text[number - 1].partition("#")[0].strip(): count for number, count in lines.items()}
        assert by_text["rep movsb"] == 1
        assert by_text["movl 0xB0000000, %eax"] == 1
        assert by_text["jbe wrong"] == 0
        assert by_text["movl $SCHEDOP_yield, %ebx"] == 0
        assert by_text["ud2"] == 0
        assert by_text["iret"] == 1

    def test_loops_are_counted(self) -> None:
        kernel = HEAD + "main:\n    movl $1000, %ecx\n1:  decl %ecx\n    jnz 1b\n    ret\n"
        lines = _covered(kernel).by_line()["kernel.S"]
        assert sorted(lines.values()) == [1, 1, 1000, 1000]

    def test_lives_add_up(self) -> None:
        coverage = None
        for _ in range(2):
            with built(KERNEL) as (machine, domain):
                coverage = coverage or Coverage(domain.image)
                coverage.follow(domain)
                run(machine)
                coverage.close()
        assert coverage is not None
        assert coverage.functions()["main"] == 2
        assert coverage.functions()["wrong"] == 0

    def test_domains_side_by_side_add_up(self) -> None:
        image = load_image(kernel_image(KERNEL))
        coverage = Coverage(image)
        with Machine(2 * Machine.size_for(MEMORY), slice_instructions=5) as machine:
            for _ in range(2):
                coverage.follow(machine.create(image, DomainConfig(memory=MEMORY)))
            run(machine)
            coverage.close()
        once = _covered(KERNEL).functions()
        assert once["page_fault"] == 1
        assert coverage.functions()["page_fault"] == 2
        assert coverage.functions()["wrong"] == 0


def _covered(kernel: str) -> Coverage:
    with built(kernel) as (machine, domain):
        coverage = Coverage(domain.image)
        coverage.follow(domain)
        run(machine)
        coverage.close()
        return coverage


def test_ring_3_can_be_followed_alone() -> None:
    kernel = guest_kernels.load("rings")
    memory = kernel.memory or MEMORY
    with Machine(Machine.size_for(memory)) as machine:
        records = kept(machine, Kind.INSTRUCTION)
        domain = machine.create(load_image(build(kernel.sources)), DomainConfig(memory=memory))
        InstructionTrace(domain, (), user=True)
        run(machine)
    found = [record for record in records if isinstance(record, InstructionRecord)]
    assert {record.cpl for record in found} == {3}
    assert {record.trap for record in found} >= {"", "int 0x80"}
