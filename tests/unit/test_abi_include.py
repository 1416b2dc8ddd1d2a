"""The assembler's include files are what the ABI declarations generate, and GNU as reads them."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from paravane import asm
from paravane.abi import catalog
from paravane.asm import include_gen
from tests.support.needs import tool

if TYPE_CHECKING:
    from pathlib import Path


def test_committed_files_equal_the_rendering() -> None:
    texts = {path.name: path.read_text() for path in asm.INCLUDE_DIR.glob("*.inc")}
    committed = {name: text for name, text in texts.items() if text.startswith("# Generated ")}
    assert committed == include_gen.render_includes(), "run `python -m paravane.asm.include_gen asm/include`"


def test_every_module_is_in_exactly_one_file() -> None:
    listed = [name for names in include_gen.SUBJECTS.values() for name in names]
    assert sorted(listed) == sorted(module.__name__.rpartition(".")[2] for module in catalog.MODULES)


def test_names_are_plain_symbols_and_values_plain_numbers() -> None:
    texts = include_gen.render_includes()
    lines = [line for text in texts.values() for line in text.splitlines() if line.startswith(".equ")]
    assert len(lines) > 1300
    pattern = r"\.equ [A-Za-z_][A-Za-z0-9_]*, (-?[0-9]+|0x[0-9a-f]+)"
    assert [line for line in lines if not re.fullmatch(pattern, line)] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("__HYPERVISOR_mmu_update", 1),
        ("EINVAL", 22),
        ("SCHEDOP_yield", 0),
        ("VIRQ_TIMER", 0),
        ("FLAT_RING1_CS", 0xE019),
        ("XEN_ELFNOTE_ENTRY", 1),
        ("MMUEXT_PIN_L3_TABLE", 2),
        ("VMASST_TYPE_4gb_segments", 0),
        ("GNTST_bad_gntref", -3),
        ("MMU_UPDATE_ptr", 0),
        ("MMU_UPDATE_val", 8),
        ("MMU_UPDATE_sizeof", 16),
        ("START_INFO_console_domU_mfn", 0x34),
        ("VCPU_INFO_evtchn_upcall_mask", 1),
        ("SHARED_INFO_evtchn_pending", 0x800),
        ("XENCONS_INTERFACE_in", 0),
        ("XENCONS_INTERFACE_in_cons", 0xC00),
        ("XEN_MEMORY_EXCHANGE_in_nr_extents", 4),
        ("GRANT_ENTRY_V2_full_page_frame", 8),
        ("IRET_FRAME_esp", 16),
    ],
)
def test_symbols_have_xens_names(name: str, value: int) -> None:
    assert include_gen.symbols()[name] == value


@pytest.mark.slow
def test_gnu_as_reads_the_same_values_even_when_included_twice(tmp_path: Path) -> None:
    source, target = tmp_path / "all.S", tmp_path / "all.o"
    source.write_text('.include "xen.inc"\n.include "xen.inc"\n.include "xen_memory.inc"\n')
    command = [tool("as"), "--32", f"-I{asm.INCLUDE_DIR}", str(source), "-o", str(target)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with target.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        found = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
    expected = {name: value % 2**32 for name, value in include_gen.symbols().items()}
    assert {name: found.get(name) for name in expected} == expected


def test_writing_produces_the_files(tmp_path: Path) -> None:
    include_gen.main(tmp_path / "include")
    written = {path.name: path.read_text() for path in (tmp_path / "include").iterdir()}
    assert written == include_gen.render_includes()
