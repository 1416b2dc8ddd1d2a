"""What `boot` follows of a guest: instructions and breakpoints as text or in a trace, coverage in files."""

from __future__ import annotations

import html
import json
import re
import subprocess
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from lcov_cobertura import LcovCobertura

from tests.support import drcov
from tests.support.boot import paravane
from tests.support.needs import path_with, tool

if TYPE_CHECKING:
    from pathlib import Path

KERNEL = """\
    .include "runtime.inc"
    XEN_NOTES
    .text
main:
    movl $3, %ecx
1:  incl counter
    decl %ecx
    jnz 1b
    testl %ecx, %ecx
    jz 2f
    movl $1, %eax
2:  ret
    .data
    .balign 4
counter: .long 0
"""

FILLS = """\
    .include "runtime.inc"
    XEN_NOTES
    .text
main:
    movl $area, %edi
    movl $1024, %ecx
    movl $0x01020304, %eax
    rep stosl
    ret
    .bss
    .balign 4096
area:
    .skip 4096
"""

C_KERNEL = r"""
#include <paravane.h>

int main(void)
{
    for (volatile int at = 0; at < 10; at++) {
        if (at & 1)
            print("odd\n");
        if (at > 10)
            print("never\n");
    }
    return 0;
}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "counts.S"
    path.write_text(KERNEL)
    return path


def boot(source: Path, *options: str) -> str:
    result = paravane("boot", str(source), *options)
    assert result.returncode == 0, result.stderr
    return result.stderr.decode()


def test_instructions_and_breakpoints_are_told_on_stderr(source: Path) -> None:
    shown = boot(source, "--trace-insn", "main", "--break", "counts.S:12", "--watch", "counter,4,w")
    assert re.search(r"d1v0 instruction movl \$3, %ecx +ecx=0x3 +@0xc01\w+ <main\+0x0> counts\.S:5", shown)
    assert shown.count(" instruction decl %ecx ") == 3
    assert shown.count("breakpoint write at 0xc01") == 3
    assert "[02 00 00 00] -> [03 00 00 00]" in shown
    assert len(re.findall(r"breakpoint breakpoint at 0xc01.*counts\.S:12", shown)) == 1


@pytest.mark.parametrize(("size", "count"), [("010", 10), ("0x10", 16), ("0xa", 10)])
def test_sizes_are_decimal_or_hexadecimal(source: Path, size: str, count: int) -> None:
    (line,) = boot(source, "--watch", f"counter,{size}").splitlines()[:1]
    before = re.search(r"\[([0-9a-f ]+)\] -> ", line)
    assert before is not None
    assert len(before[1].split()) == count


def test_a_large_watched_area_is_shown_where_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "fills.S"
    path.write_text(FILLS)
    lines = boot(path, "--watch", "area,4096").splitlines()
    assert len(lines) == 1024
    assert max(map(len, lines)) < 500
    assert " at 0xc0" in lines[0]
    nothing, store = " ".join(["00"] * 16), " ".join(["04 03 02 01"] + ["00"] * 12)
    assert f" [{nothing}] -> [{store}] " in lines[0]
    assert f"+0xffc [{nothing[:11]}] -> [{store[:11]}] " in lines[-1]


def test_a_trace_has_them_beside_what_is_asked_for(source: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    shown = boot(source, "--trace-insn", "main", "--trace", str(trace), "--trace-events", "domain")
    assert " instruction " not in shown
    kinds = {json.loads(line)["kind"] for line in trace.read_text().splitlines()[1:]}
    assert kinds == {"instruction", "domain"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--break", "man"), "the image has no symbol 'man': did you mean main?"),
        (("--watch", "counter,0"), "is not PLACE"),
        (("--watch", "counter,4097"), "is not PLACE[,SIZE][,r|w|rw] with up to 4096 bytes"),
        (("--watch", f"counter,{'9' * 5000}"), "is not PLACE"),
        (("--break", f"counts.S:{'9' * 5000}"), "the image has no symbol"),
        (("--break", f"main+{'9' * 5000}"), "the image has no symbol"),
        (("--trace-insn", "main-main"), "ends before it begins"),
        (tuple(f"--break={at}" for at in range(257)), "--break can name 256 places at most, not 257"),
        (("--coverage", "x.xml"), "is none of FILE.drcov, FILE.info, FILE.txt"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_a_line(
    source: Path, options: tuple[str, ...], sentence: str
) -> None:
    result = paravane("boot", str(source), *options)
    assert result.returncode == 2
    assert sentence in result.stderr.decode()
    assert len(result.stderr.splitlines()) == 1


def test_coverage_is_never_written_over_the_source(source: Path) -> None:
    link = source.with_suffix(".txt")
    link.symlink_to(source)
    result = paravane("boot", str(source), "--coverage", str(link))
    assert result.returncode == 2
    assert source.read_text() == KERNEL


def test_another_reader_of_lcov_finds_the_counts(source: Path, tmp_path: Path) -> None:
    info = tmp_path / "run.info"
    boot(source, "--coverage", str(info))
    tree = ElementTree.fromstring(LcovCobertura(info.read_text()).convert())
    lines = {
        int(line.attrib["number"]): int(line.attrib["hits"])
        for found in tree.iter("class")
        if found.attrib["filename"].endswith("counts.S")
        for line in found.iter("line")
    }
    assert lines == {5: 1, 6: 3, 7: 3, 8: 3, 9: 1, 10: 1, 11: 0, 12: 1}


def test_genhtml_shows_the_counts_beside_the_source(source: Path, tmp_path: Path) -> None:
    info, pages = tmp_path / "run.info", tmp_path / "pages"
    boot(source, "--coverage", str(info))
    command = [tool("genhtml"), "--no-function-coverage", "-o", str(pages), str(info)]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    # A source that it cannot read ends it. What else it says is its own: version 2 misses its helper scripts
    # where it was unpacked and not installed.
    assert made.returncode == 0, made.stderr
    page = html.unescape(re.sub(r"<[^>]*>", "", next(pages.rglob("counts.S.gcov.html")).read_text()))
    assert re.search(r"^ +7 +3 : +decl %ecx$", page, re.MULTILINE), page
    assert re.search(r"^ +11 +0 : +movl \$1, %eax$", page, re.MULTILINE)
    assert list(pages.rglob("exit.inc.gcov.html")), "of the runtime as well"


def test_lcov_adds_up_what_several_boots_executed(source: Path, tmp_path: Path) -> None:
    added, runs = tmp_path / "added.info", [tmp_path / "one.info", tmp_path / "two.info"]
    for run in runs:
        boot(source, "--coverage", str(run))
    command = [tool("lcov"), "-q", *(word for run in runs for word in ("-a", str(run))), "-o", str(added)]
    subprocess.run(command, check=True, capture_output=True)
    record = added.read_text().partition(f"SF:{source}\n")[2].partition("end_of_record")[0]
    assert "DA:7,6\n" in record
    assert "DA:11,0\n" in record


def test_lines_of_c_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", path_with("gcc", "as", "ld"))
    assert paravane("new", "--c", str(tmp_path / "counted")).returncode == 0
    source = tmp_path / "counted" / "counted.c"
    source.write_text(C_KERNEL)
    info = tmp_path / "run.info"
    boot(source.parent, "--coverage", str(info))
    record = info.read_text().partition(f"SF:{source}\n")[2].partition("end_of_record")[0]
    counts = {int(line): int(count) for line, count in re.findall(r"DA:(\d+),(\d+)\n", record)}
    lines = C_KERNEL.splitlines()
    by_text = {lines[number - 1].strip(): count for number, count in counts.items()}
    assert by_text['print("odd\\n");'] == 5
    assert by_text['print("never\\n");'] == 0


def test_the_source_is_annotated(source: Path, tmp_path: Path) -> None:
    listing = tmp_path / "run.txt"
    boot(source, "--coverage", str(listing))
    text = listing.read_text()
    assert f"{source}: 7 of 8 lines executed\n" in text
    assert "\n         3      7 |     decl %ecx\n" in text
    assert "\n     #####     11 |     movl $1, %eax\n" in text


def test_drcov_has_the_blocks(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.drcov"
    boot(source, "--coverage", str(path))
    found = drcov.read(path.read_bytes())
    (module,) = found.modules
    assert (module.number, module.path) == (0, str(source))
    assert module.base <= module.entry < module.end
    assert len(found.blocks) > 3
    assert len(set(found.blocks)) == len(found.blocks)
    length = module.end - module.base
    assert all(offset + size <= length and number == 0 for offset, size, number in found.blocks)
    assert (5, 9, 0) in found.blocks, "the loop: incl, decl, jnz"
