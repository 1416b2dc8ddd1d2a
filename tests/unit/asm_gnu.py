"""GNU as and ld as the reference: sources in, bytes out."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tests.support.needs import tool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from paravane.asm.program import Program


def _run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def instruction_bytes(lines: Sequence[str], folder: Path, *options: str) -> list[bytes | str]:
    """For each instruction its bytes, or GNU as's error. Labels between them give the lengths."""
    refused: dict[int, str] = {}
    while True:
        kept = [f"L{n}: " + ("" if n in refused else line) for n, line in enumerate(lines)]
        (folder / "corpus.s").write_text("\n".join([*kept, f"L{len(lines)}:", ""]))
        result = _run(tool("as"), "--32", *options, "-o", "corpus.o", "corpus.s", cwd=folder)
        errors = {int(m[1]) - 1: m[2] for m in re.finditer(r":(\d+): Error: (.*)", result.stderr)}
        if result.returncode == 0:
            break
        assert errors, result.stderr
        refused |= errors
    with (folder / "corpus.o").open("rb") as stream:
        elf = ELFFile(stream)
        text, table = elf.get_section_by_name(".text"), elf.get_section_by_name(".symtab")
        assert text is not None
        assert isinstance(table, SymbolTableSection)
        data = text.data()
        places = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
    return [
        refused[n] if n in refused else data[places[f"L{n}"] : places[f"L{n + 1}"]] for n in range(len(lines))
    ]


def accepts(source: Path) -> bool:
    """Whether GNU as takes a source, with warnings or without."""
    return _run(tool("as"), "--32", "-o", "accepted.o", source.name, cwd=source.parent).returncode == 0


def link(sources: Sequence[Path], program: Program, folder: Path, *options: str) -> dict[str, bytes]:
    """The sections GNU as and ld make of the sources, at the addresses `program` has them."""
    objects = []
    for n, source in enumerate(sources):
        objects.append(f"unit{n}.o")
        arguments = ("--32", *options, "-o", objects[-1], str(source))
        result = _run(tool("as"), *arguments, cwd=folder)
        assert result.returncode == 0, result.stderr
    lines = ["SECTIONS {"]
    for section in program.sections:
        common = " *(COMMON)" if section.name == ".bss" else ""
        lines.append(f'"{section.name}" 0x{section.address:x} : {{ *("{section.name}"){common} }}')
    (folder / "script.ld").write_text("\n".join([*lines, "/DISCARD/ : { *(*) } }", ""]))
    arguments = ("-m", "elf_i386", "-T", "script.ld", "-e", "0", "-o", "kernel", *objects)
    result = _run(tool("ld"), *arguments, cwd=folder)
    assert result.returncode == 0, result.stderr
    with (folder / "kernel").open("rb") as stream:
        return {
            section.name: section.data() if section["sh_type"] != "SHT_NOBITS" else bytes(section["sh_size"])
            for section in ELFFile(stream).iter_sections()
        }
