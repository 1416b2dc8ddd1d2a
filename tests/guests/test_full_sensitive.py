"""Sensitive instructions that do not trap in ring 1: what a kernel reads by them, each way of treating
them."""

from __future__ import annotations

import pytest

from paravane.full.state import Sensitive
from tests.support.bare_pc import TO_USER, lines_of

pytestmark = pytest.mark.slow

# What is executed, what EAX holds after it on bare hardware, and deprivileged with nothing done about it.
INSTRUCTIONS = {
    "mov cs": ("mov %cs, %eax", "00000008", "00000009"),
    "mov ss": ("mov %ss, %eax", "00000010", "00000011"),
    "push cs": ("push %cs\npop %eax", "00000008", "00000009"),
    "push ss": ("push %ss\npop %eax", "00000010", "00000011"),
    "pushf": ("cli\npushf\npop %eax\nand $0x3200, %eax", "00000000", "00000200"),
    "popf": ("push $0x3202\npopf\npushf\npop %eax\nand $0x3200, %eax", "00003200", "00000200"),
    "smsw": ("smsw %eax\nand $0xffff, %eax", "00000011", None),
    "sgdt": ("sub $8, %esp\nsgdt (%esp)\nmovzwl (%esp), %eax\nadd $8, %esp", "0000002f", "00000000"),
    "sidt": ("sub $8, %esp\nsidt (%esp)\nmovzwl (%esp), %eax\nadd $8, %esp", "000007ff", None),
    "sldt": ("xor %eax, %eax\nsldt %ax", "00000000", "00000000"),
    "str": ("xor %eax, %eax\nstr %ax", "00000028", "00000000"),
    "lar": ("mov $8, %ecx\nlar %ecx, %eax", "00c09a00", None),
    "lsl": ("mov $8, %ecx\nlsl %ecx, %eax", "ffffffff", None),
    "verr": ("mov $8, %ecx\nverr %cx\nmov $0, %eax\nsetz %al", "00000001", "00000000"),
    "verw": ("mov $0x10, %ecx\nverw %cx\nmov $0, %eax\nsetz %al", "00000001", "00000000"),
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_rewritten_they_tell_what_bare_hardware_does(name: str) -> None:
    code, bare, _ = INSTRUCTIONS[name]
    assert lines_of(f"{code}\ncall hex\njmp exit", Sensitive.REWRITE) == [bare]


@pytest.mark.parametrize("name", [name for name, (_, _, hole) in INSTRUCTIONS.items() if hole is not None])
def test_ignored_they_tell_the_monitors_state(name: str) -> None:
    code, _, hole = INSTRUCTIONS[name]
    assert lines_of(f"{code}\ncall hex\njmp exit", Sensitive.IGNORE) == [hole]


def test_many_of_them_in_a_row_are_all_found() -> None:
    body = "mov %cs, %eax\nmov %ss, %ebx\npush %cs\npop %ecx\nadd %ebx, %eax\nadd %ecx, %eax\ncall hex\n"
    assert lines_of(f"{body}{body}jmp exit", Sensitive.REWRITE) == ["00000020"] * 2


def test_they_are_found_whenever_a_slice_ends() -> None:
    """Slices of few instructions, which a translation uses up, end between any two steps of finding them."""
    body = "mov %cs, %eax\nmov %ss, %ebx\nadd %ebx, %eax\ncall hex\n"
    for instructions in (100, 1001):
        found = lines_of(f"{body * 4}jmp exit", Sensitive.REWRITE, slice_instructions=instructions)
        assert found == ["00000018"] * 4


def test_they_are_found_with_prefixes() -> None:
    body = "xor %eax, %eax\n.byte 0x2e, 0x66, 0x8c, 0xc8\ncall hex\njmp exit"
    assert lines_of(body, Sensitive.REWRITE) == ["00000008"]


def test_code_reads_as_it_was_written() -> None:
    """The bytes of a rewritten MOV from CS, before and after it has run."""
    body = "mov here, %eax\nand $0xffff, %eax\ncall hex\n"
    once = f"call code\n{body}call code\n{body}jmp exit\ncode:\nhere: mov %cs, %eax\nret\n"
    assert lines_of(once, Sensitive.REWRITE) == ["0000c88c"] * 2


def test_code_that_is_overwritten_is_found_again() -> None:
    """NOPs become a MOV from CS, which becomes NOPs again."""
    assert lines_of(
        "mov $7, %eax\ncall code\ncall hex\nmovw $0xc88c, code\ncall code\ncall hex\n"
        "movw $0x9090, code\nmov $7, %eax\ncall code\ncall hex\njmp exit\ncode: nop\nnop\nret\n",
        Sensitive.REWRITE,
    ) == ["00000007", "00000008", "00000007"]


def test_jump_into_an_immediate_finds_what_is_there() -> None:
    """MOV $..., %ebx, whose immediate is MOV from CS and RET."""
    assert lines_of(
        "call code\ncall code + 1\ncall hex\njmp exit\ncode: .byte 0xbb, 0x8c, 0xc8, 0xc3, 0x90\nret\n",
        Sensitive.REWRITE,
    ) == ["00000008"]


def test_instruction_that_crosses_pages_is_found() -> None:
    assert lines_of(
        "call code\ncall hex\njmp exit\n.align 4096\n.skip 4095, 0x90\ncode: mov %cs, %eax\nret\n",
        Sensitive.REWRITE,
    ) == ["00000008"]


def test_breakpoint_of_the_guests_own_is_its_own() -> None:
    assert lines_of(
        "mov $break, %eax\nmov $3, %ecx\nmov $0x8e, %dl\ncall gate\nint3\nmov %cs, %eax\ncall hex\njmp exit\n"
        "break: mov (%esp), %eax\ndec %eax\nmovzbl (%eax), %eax\ncall hex\niret\n",
        Sensitive.REWRITE,
    ) == ["000000cc", "00000008"]


def test_breakpoint_in_two_bytes_is_the_guests_own() -> None:
    assert lines_of(
        "mov $break, %eax\nmov $3, %ecx\nmov $0x8e, %dl\ncall gate\n.byte 0xcd, 3\njmp exit\n"
        "break: mov $5, %eax\ncall hex\niret\n",
        Sensitive.REWRITE,
    ) == ["00000005"]


def test_ring_3_is_told_what_hardware_tells_it() -> None:
    assert lines_of(
        "mov $call, %eax\nmov $0x40, %ecx\nmov $0xee, %dl\ncall gate\n"
        f"mov $1, %ebp\n{TO_USER}"
        "user: mov %cs, %eax\nint $0x40\nstr %eax\nint $0x40\npush $0\npopf\npushf\npop %eax\nint $0x40\n"
        "xor %ebp, %ebp\nint $0x40\n"
        "call: test %ebp, %ebp\njz exit\ncall hex\niret\n",
        Sensitive.REWRITE,
    ) == ["0000001b", "00000028", "00000202"]
