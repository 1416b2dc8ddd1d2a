"""Code that is plain by one look: nothing of it would be found by decoding it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from paravane.cpu import plain_code
from paravane.cpu.instructions import decode, instructions, is_pause, is_undefined
from paravane.cpu.plain_code import DECODED_FIRST, PlainCode, is_plain
from paravane.cpu.string_compare import STRING_COMPARES
from paravane.cpu.suspects import rotates_memory_through_carry, suspects
from tests.support.work import lines_executed

if TYPE_CHECKING:
    from paravane.cpu.instructions import Instruction

IRET = 0xCF
HALT = 0xF4
REST = bytes((HALT,)) * 16
"""What is not plain, so that it is no part of what is."""


def is_suspect(at: Instruction) -> bool:
    special = at.opcode == IRET or at.opcode in STRING_COMPARES
    return special or is_undefined(at) or is_pause(at) or rotates_memory_through_carry(at)


def is_whole_and_innocent(code: bytes) -> bool:
    """What the decoder says of it."""
    found = list(instructions(code, big=True))
    return sum(at.length for at in found) == len(code) and not any(map(is_suspect, found))


@pytest.mark.parametrize("sib", [0x24, 0xF5])
def test_plain_instructions_are_as_long_as_the_decoder_says_and_no_suspects(sib: int) -> None:
    found = 0
    for head in (b"", b"\x0f", b"\x64"):
        for opcode in range(256):
            for modrm in range(256):
                code = head + bytes((opcode, modrm, sib)) + REST
                whole = decode(code).length
                for length in (whole - 1, whole, whole + 1):
                    if is_plain(code[:length]):
                        assert is_whole_and_innocent(code[:length]), code[:length].hex()
                        found += 1
    assert found > 20_000


def test_plain_code_of_chance_has_no_suspects() -> None:
    source, found = random.Random(1), 0
    for _ in range(60_000):
        code = bytes(source.choices(range(256), k=source.randrange(1, 12)))
        if is_plain(code):
            assert is_whole_and_innocent(code), code.hex()
            found += 1
    assert found > 1000


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"\xf0\x0f\xa3\xc0", id="lock"),
        pytest.param(b"\x8b\x45\xf0\xf0\x01\x00", id="offset-and-lock"),
        pytest.param(b"\xf3\x90", id="pause"),
        pytest.param(b"\xcf", id="iret"),
        pytest.param(b"\xd1\x10", id="rcl"),
        pytest.param(b"\xc1\x1c\x24\x03", id="rcr"),
        pytest.param(b"\x8f\xc8", id="pop-1"),
        pytest.param(b"\x0f\xba\xc0\x01", id="bit-test-0"),
        pytest.param(b"\xc5\xf8\x77", id="vex"),
        pytest.param(b"\x66\x0f\x3a\x63\xc1\x00", id="string-comparison"),
        pytest.param(b"\x8b\x45", id="cut-off"),
        pytest.param(b"\x8b\x44\xf0", id="cut-off-after-sib"),
        pytest.param(b"\x66\xb8\x01\x00", id="prefix"),
    ],
)
def test_what_is_to_be_looked_at_is_not_plain(code: bytes) -> None:
    assert not is_plain(code)
    assert not is_plain(b"\x55\x89\xe5" + code)


def test_a_block_with_an_offset_like_lock_is_not_decoded() -> None:
    # push %ebp; mov %esp, %ebp; then loads from -16(%ebp), and a call
    block = b"\x55\x89\xe5" + b"\x8b\x45\xf0" * 20 + b"\xe8\x00\x00\x00\x00"
    assert suspects(block, 0x1000, big=True) is None
    assert lines_executed(lambda: suspects(block, 0x1000, big=True)) < 10
    assert suspects(block + b"\xf3\x90", 0x1000, big=True) == (set(), set(), {0x1000 + len(block)})


def test_a_block_of_a_16_bit_segment_is_decoded() -> None:
    block = b"\xb8\x00\x00\xf0\x90"  # a load of 32 bits; or of 16, and NOP with LOCK
    assert is_plain(block)
    found = suspects(block, 0x1000, big=False)
    assert found is not None
    assert found.looked_at == {0x1003}


def test_a_pattern_is_made_for_much_code_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def is_asked(code: bytes) -> bool:
        asked.append(code)
        return True

    monkeypatch.setattr(plain_code, "is_plain", is_asked)
    code = PlainCode()
    piece = b"\x90" * 1024
    told = [code.tells(piece) for _ in range(DECODED_FIRST // len(piece) + 2)]
    assert told == [False] * (len(told) - 2) + [True] * 2
    assert asked == [piece] * 2
