"""What Keystone itself does, one fact a test: a release that changes one must be noticed here.

Each is a reason for the shape of `asm/`; what the assembler makes of the same text stands beside it.
"""

import signal
import subprocess
import sys
from typing import Any

import keystone
import pytest

from paravane.asm import AssemblyError, assemble_text
from paravane.asm.keystone_backend import encode
from paravane.asm.program import Program

CRASH = """
import sys, keystone
engine = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_32)
engine.syntax = keystone.KS_OPT_SYNTAX_ATT
engine.asm(sys.argv[1], 0)
"""
SYMBOL = 0x1000


def att() -> keystone.Ks:
    engine = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_32)
    engine.syntax = keystone.KS_OPT_SYNTAX_ATT
    return engine


def said(engine: keystone.Ks, text: str, address: int = 0) -> str | None:
    """The bytes as hex, None for success without any."""
    data, _ = engine.asm(text, address, as_bytes=True)
    return data.hex() if data else None


def assembled(text: str) -> Program:
    """What our assembler makes of one instruction, which is in line 3."""
    return assemble_text(f".globl _start\n_start:\n    {text}\n", name="fact.S")


def ours(text: str) -> str:
    """Its bytes as hex."""
    (section,) = assembled(text).sections
    return section.data.hex()


@pytest.mark.parametrize(
    ("intel", "wrong", "gnu", "right"),
    [
        ("iret", "66cf", "iret", "cf"),
        ("pushf", "669c", "pushf", "9c"),
        ("popf", "669d", "popf", "9d"),
        ("push ds", "661e", "push %ds", "1e"),
        ("pop es", "6607", "pop %es", "07"),
        ("push cs", "660e", "push %cs", "0e"),
        ("pop ss", "6617", "pop %ss", "17"),
        ("lgdt [0x1000]", "660f011500100000", "lgdt 0x1000", "0f011500100000"),
        ("lidt [0x1000]", "660f011d00100000", "lidt 0x1000", "0f011d00100000"),
        ("push 0xffff", "6aff", "push $0xffff", "68ffff0000"),
    ],
)
def test_intel_syntax_means_16_bit_forms(intel: str, wrong: str, gnu: str, right: str) -> None:
    assert said(keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_32), intel) == wrong
    assert said(att(), gnu) == right
    assert ours(gnu) == right


def test_a_pushed_label_is_16_bits_in_intel_syntax() -> None:
    engine = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_32)
    assert said(engine, "push label\nlabel:") == "66680400"


@pytest.mark.parametrize(
    "text",
    [
        "movl %al, %eax",
        "movb %eax, %bl",
        "movl %eax, %ebx, %ecx",
        "int $0x182",
        "outb %al, $0x123",
        "shll $0x120, %eax",
    ],
)
def test_wrong_operands_are_a_success_without_bytes(text: str) -> None:
    assert said(att(), text) is None
    assert encode(text) is None
    with pytest.raises(AssemblyError, match=r"^fact\.S:3:"):
        ours(text)


@pytest.mark.parametrize(
    ("text", "truncated"),
    [("movb $0x123, %al", "b023"), ("addb $0x1ff, %al", "04ff"), ("movw $0x12345, %ax", "66b84523")],
)
def test_immediates_are_cut_to_size_silently(text: str, truncated: str) -> None:
    assert said(att(), text) == truncated
    # GNU as cuts these too, but says so.
    assert "shortened to" in str(assembled(text).warnings[0])
    assert ours(text) == truncated


@pytest.mark.parametrize(
    ("text", "truncated"),
    [
        ("ret $0x10000", "c20000"),
        ("lret $0x12345", "ca4523"),
        ("enter $0x12345, $0x0", "c8452300"),
        ("aam $0x1ff", "d4ff"),
    ],
)
def test_immediates_that_gnu_as_refuses_are_cut_to_size_silently(text: str, truncated: str) -> None:
    assert said(att(), text) == truncated
    with pytest.raises(AssemblyError, match=r"^fact\.S:3:"):
        ours(text)


@pytest.mark.parametrize(("mnemonic", "opcode"), [("loop", "e2"), ("jecxz", "e3")])
def test_short_branches_out_of_range_jump_backwards(mnemonic: str, opcode: str) -> None:
    assert said(att(), f"{mnemonic} 0x81") == opcode + "7f"
    assert said(att(), f"{mnemonic} 0x82") == opcode + "80"
    assert ours(f"{mnemonic} . + 0x81") == opcode + "7f"
    with pytest.raises(AssemblyError, match=r"^fact\.S:3:"):
        ours(f"{mnemonic} . + 0x82")


def test_plain_numbers_are_hexadecimal() -> None:
    assert said(att(), "movl $10, %eax") == "b810000000"
    assert said(att(), "movl $0x10, %eax") == "b810000000"
    assert said(att(), ".byte 10") == "10"
    assert ours("movl $10, %eax") == "b80a000000"
    assert ours(".byte 10") == "0a"


@pytest.mark.parametrize("text", [".text", "nop\n.text\nnop"])
def test_a_text_directive_crashes_the_process(text: str) -> None:
    result = subprocess.run([sys.executable, "-c", CRASH, text], capture_output=True, check=False, timeout=30)
    assert result.returncode == -signal.SIGSEGV


def test_a_section_directive_loses_everything_before_and_behind_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert said(att(), "nop\n.section .foo\nnop") is None
    assert "unexpected token in '.section' directive" in capfd.readouterr().err


@pytest.mark.parametrize("text", ["1:\njmp 1b", ".loc 1 1", "nop # comment", "ljmp $0x8, $0x1000"])
def test_what_gnu_as_takes_and_keystone_does_not(text: str) -> None:
    with pytest.raises(keystone.KsError):
        said(att(), text)


def test_errors_carry_no_line() -> None:
    with pytest.raises(keystone.KsError) as caught:
        said(att(), "nop\nnop\nbogus %eax\nnop")
    assert "3" not in str(caught.value)
    with pytest.raises(AssemblyError, match=r"^fact\.S:5:"):
        ours("nop\n    nop\n    bogus %eax\n    nop")


class TestSymbolResolver:
    """Why none is ever set."""

    @staticmethod
    def engine() -> keystone.Ks:
        def resolve(_name: bytes, value: Any) -> bool:
            value[0] = SYMBOL
            return True

        engine = att()
        engine.sym_resolver = resolve
        return engine

    def test_addends_are_dropped(self) -> None:
        assert said(self.engine(), "movl $symbol, %eax") == "b800100000"
        assert said(self.engine(), "movl $symbol + 0x4, %eax") == "b800100000"
        assert said(self.engine(), "movl symbol + 0x8, %eax") == "a100100000"

    @pytest.mark.parametrize("text", ["jmp symbol", "call symbol", "je symbol"])
    def test_branches_are_four_bytes_off(self, text: str) -> None:
        data = bytes.fromhex(said(self.engine(), text, 0x800) or "")
        displacement = int.from_bytes(data[-4:], "little", signed=True)
        assert 0x800 + len(data) + displacement == SYMBOL + 4
