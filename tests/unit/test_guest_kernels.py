"""The catalogue of guest kernels, their sources under the GNU tools, and the patterns of expected.txt."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from paravane import guest_kernels
from paravane.guest_kernels.expected import takes
from tests.support.needs import tool

NAMES = guest_kernels.names()
INCLUDE = Path(guest_kernels.__file__).parent.parent / "asm" / "include"


def test_first_kernels_are_there_in_order() -> None:
    assert {"crash", "discontiguous", "hello", "rings"} <= set(NAMES)
    assert list(NAMES) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_kernel_says_how_it_is_booted_and_what_it_prints(name: str) -> None:
    kernel = guest_kernels.load(name)
    assert kernel.name == name
    assert kernel.description
    assert kernel.memory >= 4 << 20
    assert kernel.exit_status in {0, 3, 4, 6}
    assert kernel.expected.endswith("\n")
    assert name in {source.stem for source in kernel.sources}


@pytest.mark.parametrize("name", NAMES)
def test_kernel_folder_and_overview_describe_it(name: str) -> None:
    folder = Path(guest_kernels.__file__).parent
    assert f"paravane boot {name}" in (folder / name / "README.md").read_text()
    assert f"[{name}]({name})" in (folder / "README.md").read_text()
    assert (folder / name / f"{name}.S").read_text().startswith("# ")


@pytest.mark.parametrize("name", NAMES)
def test_gnu_tools_accept_the_sources(name: str, tmp_path: Path) -> None:
    objects: list[str] = []
    for source in guest_kernels.load(name).sources:
        target = tmp_path / f"{source.stem}.o"
        options = ["--32", "--fatal-warnings", f"-I{INCLUDE}", f"-I{source.parent}"]
        subprocess.run([tool("as"), *options, "-o", str(target), str(source)], check=True)
        objects.append(str(target))
    image = tmp_path / "kernel.elf"
    subprocess.run(
        [tool("ld"), "-m", "elf_i386", "-Ttext=0xC0100000", "-o", str(image), *objects], check=True
    )
    with image.open("rb") as file:
        elf = ELFFile(file)
        assert elf.header.e_entry >= 0xC0100000
        assert elf.get_section_by_name(".note.Xen") is not None


@pytest.mark.parametrize("name", ["nothing", "", "..", "hello/../hello", "__pycache__"])
def test_unknown_kernel_is_refused_with_the_names_that_exist(name: str) -> None:
    with pytest.raises(guest_kernels.UnknownKernel, match="there are .*hello"):
        guest_kernels.load(name)


def test_lines_with_a_tilde_are_patterns_of_a_whole_line_and_others_are_none() -> None:
    assert takes("~b[0-9]+", "b17")
    assert not takes("~b[0-9]", "b17")
    assert takes("a.c", "a.c")
    assert not takes("a.c", "abc")


@pytest.mark.parametrize("name", NAMES)
def test_patterns_of_expected_files_are_regular_expressions(name: str) -> None:
    lines = guest_kernels.load(name).expected.split("\n")
    assert all(re.compile(line[1:]) for line in lines if line.startswith("~"))
