"""Disassembly listings, and what damaged files make of them."""

from __future__ import annotations

import random
import re
import struct
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from paravane.asm.elf_writer import write_elf
from paravane.asm.program import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHT_PROGBITS,
    STB_GLOBAL,
    STT_FUNC,
    LineRow,
    Program,
    Section,
    Symbol,
)
from paravane.tools.disasm import DisasmError, disassemble
from tests.support.needs import tool

if TYPE_CHECKING:
    from pathlib import Path

BASE = 0xC0100000
CODE = b"\xb8\x1d\0\0\0" + b"\xe8\x02\0\0\0" + b"\xeb\xf9" + b"\xcd\x82\xc3"
SHDR_SIZE = 40
LISTED_BYTES = re.compile(r"[0-9a-f]{8}:  ((?:[0-9a-f]{2} )+)")


def kernel(code: bytes = CODE, symbols: tuple[tuple[str, int], ...] = ()) -> Program:
    places = symbols or (("_start", 0), ("hypercall", 12))
    return Program(
        entry=BASE,
        sections=(Section(".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 16, BASE, code, len(code)),),
        symbols=tuple(Symbol(name, BASE + at, 0, 0, STB_GLOBAL, STT_FUNC) for name, at in places),
        files=("k.S",),
        lines=(LineRow(BASE, 5, 0, 3), LineRow(BASE + 5, 5, 0, 4), LineRow(BASE + 12, 2, 0, 9)),
    )


def listing(program: Program) -> list[str]:
    return list(disassemble(write_elf(program)))


def test_listing_has_labels_lines_bytes_and_branch_targets() -> None:
    assert listing(kernel()) == [
        "; section .text",
        "\nc0100000 <_start>:",
        "; k.S:3",
        "c0100000:  b8 1d 00 00 00           movl $0x1d, %eax",
        "; k.S:4",
        "c0100005:  e8 02 00 00 00           calll 0xc010000c <hypercall>",
        "c010000a:  eb f9                    jmp 0xc0100005 <_start+0x5>",
        "\nc010000c <hypercall>:",
        "; k.S:9",
        "c010000c:  cd 82                    int $0x82",
        "c010000e:  c3                       retl",
    ]


def test_label_inside_an_instruction_starts_a_new_one() -> None:
    lines = listing(replace(kernel(b"\xb8\x90\xc3\x90\x90", (("outer", 0), ("inner", 1))), lines=()))
    assert lines[3:] == [
        "\nc0100001 <inner>:",
        "c0100001:  90                       nop",
        "c0100002:  c3                       retl",
        "c0100003:  90                       nop",
        "c0100004:  90                       nop",
    ]
    assert ".byte" in lines[2]


def test_all_labels_of_one_address_are_shown() -> None:
    lines = listing(kernel(CODE, (("one", 0), ("two", 0))))
    assert lines[1:3] == ["\nc0100000 <one>:", "\nc0100000 <two>:"]


def test_runs_of_zeros_are_one_line_but_not_cut_from_an_instruction() -> None:
    lines = listing(replace(kernel(b"\xb8\0\0\0\0" + bytes(4096) + b"\xc3", (("page", 0),)), lines=()))
    assert lines[2:] == [
        "c0100000:  b8 00 00 00 00           movl $0, %eax",
        "c0100005:  ... 4096 zero bytes",
        "c0101005:  c3                       retl",
    ]


def test_bytes_that_are_no_instruction_are_listed() -> None:
    lines = listing(kernel(b"\x0f\xff\xff\xff\xff\xc3", (("junk", 0),)))
    found = [LISTED_BYTES.match(line) for line in lines]
    listed = b"".join(bytes.fromhex(match[1]) for match in found if match)
    assert listed == b"\x0f\xff\xff\xff\xff\xc3"


def test_every_byte_of_random_code_is_listed_once() -> None:
    code = random.Random(7).randbytes(40_000)
    marks = tuple((f"s{at}", at) for at in range(0, 40_000, 997))
    lines = listing(replace(kernel(code, marks), lines=()))
    found = [LISTED_BYTES.match(line) for line in lines]
    assert b"".join(bytes.fromhex(match[1]) for match in found if match) == code


def test_stripped_file_is_listed_by_its_executable_segments() -> None:
    image = bytearray(write_elf(kernel()))
    struct.pack_into("<I", image, 32, 0)  # e_shoff
    struct.pack_into("<HH", image, 48, 0, 0)  # e_shnum, e_shstrndx
    lines = list(disassemble(bytes(image)))
    assert lines[0] == "; section LOAD 0"
    assert lines[-1] == "c010000e:  c3                       retl"


def test_file_whose_sections_are_not_executable_is_listed_by_segments() -> None:
    image = bytearray(write_elf(kernel()))
    table = struct.unpack_from("<I", image, 32)[0]
    struct.pack_into("<I", image, table + SHDR_SIZE + 8, 0)  # sh_flags of .text
    assert list(disassemble(bytes(image)))[0] == "; section LOAD 0"


def test_names_cannot_drive_a_terminal() -> None:
    lines = listing(replace(kernel(CODE, (("\x1b[2J\n", 0),)), files=("\x1b]0;k.S",)))
    assert lines[1:3] == ["\nc0100000 <\\x1b[2J\\x0a>:", "; \\x1b]0;k.S:3"]


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_line_tables_of_the_gnu_assembler_are_read(version: int, tmp_path: Path) -> None:
    source = tmp_path / "a.S"
    source.write_text(".globl _start\n_start:\n nop\n" + "\n" * 300 + " ret\n .skip 70000, 0x90\n nop\n")
    files = [str(tmp_path / "a.o"), str(tmp_path / "a.elf")]
    subprocess.run([tool("as"), "--32", f"--gdwarf-{version}", "-o", files[0], str(source)], check=True)
    subprocess.run([tool("ld"), "-m", "elf_i386", "-Ttext=0xC0100000", "-o", files[1], files[0]], check=True)
    lines = list(disassemble((tmp_path / "a.elf").read_bytes()))
    assert f"; {source}:3" in lines
    assert lines[lines.index(f"; {source}:304") + 1] == "c0100001:  c3                       retl"
    assert lines[lines.index(f"; {source}:306") + 1] == "c0111172:  90                       nop"


def test_damaged_line_table_costs_only_the_source_lines() -> None:
    image = bytearray(write_elf(kernel()))
    at = image.index(CODE) + len(CODE) + 4  # .debug_line comes next: its length, then its version
    assert image[at : at + 2] == b"\4\0"
    image[at : at + 2] = b"\x63\0"
    lines = list(disassemble(bytes(image)))
    problem = "its line table is damaged: it has version 99; versions 2 to 5 are known"
    assert lines[0] == f"; source lines are incomplete: {problem}"
    assert lines[-1] == "c010000e:  c3                       retl"


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (b"", "the file is empty"),
        (b"MZ" + bytes(100), "not an ELF file"),
        (b"\x7fELF\x02\x01\x01" + bytes(60), "64-bit image"),
        (write_elf(kernel())[:200], "truncated"),
        (write_elf(replace(kernel(), sections=(), symbols=(), lines=())), "no executable section"),
    ],
)
def test_files_that_cannot_be_listed_are_refused(image: bytes, complaint: str) -> None:
    with pytest.raises(DisasmError, match=complaint):
        list(disassemble(image))


def test_object_file_is_refused() -> None:
    image = bytearray(write_elf(kernel()))
    image[16] = 1  # ET_REL
    with pytest.raises(DisasmError, match="still has to be linked"):
        list(disassemble(bytes(image)))


def test_many_views_of_the_same_bytes_are_refused() -> None:
    image = bytearray(write_elf(kernel(bytes(3000) + CODE, (("a", 0),))))
    table, count = struct.unpack_from("<I", image, 32)[0], struct.unpack_from("<H", image, 48)[0]
    text = image[table + SHDR_SIZE : table + 2 * SHDR_SIZE]
    image[table:] = image[table:] + text * 1000
    struct.pack_into("<H", image, 48, count + 1000)
    with pytest.raises(DisasmError, match="overlap in the file"):
        list(disassemble(bytes(image)))


def test_code_broken_by_many_zero_runs_is_listed_whole() -> None:
    code = (b"\x90" * 3 + bytes(40)) * 20_000
    assert len(listing(replace(kernel(code, (("a", 0),)), lines=()))) > 40_000


def mutate(image: bytes, chance: random.Random) -> bytes:
    """A few hostile values, mostly where the structure is: the headers at both ends of the file."""
    data = bytearray(image)
    for _ in range(chance.randint(1, 4)):
        region = chance.choice(((0, 84), (len(data) - 500, len(data)), (0, len(data))))
        at = chance.randrange(region[0], region[1] - 4)
        value = chance.choice(
            (0, 1, 0x7F, 0xFF, 0x80000000, 0xFFFFFFFF, chance.randrange(len(data)), 0x7FFFFFFF)
        )
        if chance.random() < 0.5:
            data[at] = value & 0xFF
        else:
            struct.pack_into("<I", data, at, value)
    return bytes(data[: chance.randrange(len(data))] if chance.random() < 0.1 else data)


def test_mutated_files_end_in_a_listing_or_one_clear_error() -> None:
    chance = random.Random(20)
    image = write_elf(kernel())
    listed = refused = 0
    messages: set[str] = set()
    for _ in range(4000):
        try:
            listed += bool(list(disassemble(mutate(image, chance))))
        except DisasmError as error:
            refused += 1
            messages.add(str(error))
    assert listed > 500
    assert refused > 500
    assert not any("\n" in message for message in messages)
