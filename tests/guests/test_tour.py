"""Each stop of `paravane tour`: figures that make sense, an exercise that fails with a hint, a solution."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from paravane.testing import Verdict, cases, expectation
from paravane.tools.files import make_folder
from paravane.tools.tour.exercise import exercise_files
from paravane.tools.tour.marks import TODO
from paravane.tools.tour.stops import STOPS
from tests.support.boot import paravane

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.testing import Case
    from paravane.tools.tour.stop import Stop

KERNELS = [stop.kernel for stop in STOPS]

SENSE: dict[str, tuple[str, ...]] = {
    "hello": ("code > 1000", "sites >= kinds > 0", "calls >= kinds", "traps == 0"),
    "discontiguous": ("span >= frames > 500", "0 <= adjacent < frames / 10", "tables >= 4", "audit == 0"),
    "rings": ("kernel == 4", "application == 5", "hypercalls == 1", "pages == 1", "ring0 == 0"),
    "segments": ("offered > refused > gates > 0", "pages >= 2", "'seg_desc_page' in why"),
    "paging": ("tables > 4", "pins == switches == 2", "faults == 6", "'EINVAL' in pin", "'EBUSY' in write"),
    "batch": (
        "single >= largest == 1000",
        "single_time > 100 * largest_time > 0",
        "multicalls == 8",
        "'request 100 ' in bad",
    ),
    "traps": (
        "tables == 2",
        "bounced > vectors > 15",
        "0 < codes < bounced",
        "0 < user < bounced",
        "time > 0",
    ),
    "demand": ("faults == addresses == maps == 64", "direct == again == 0", "time > 0"),
    "fastcall": ("calls == bounced == returns == 2000", "entered == 0", "bounce > direct > 0"),
    "events": ("sends > merged > 0", "told >= sends - merged", "upcalls >= told - most", "most == 3"),
    "clock": (
        "3600 < seconds < 3700",
        "0 < ran < 1000",
        "armed > expired > 0",
        "slept >= 3",
        "read >= slept",
    ),
    "block": (
        "responses == requests + failed",
        "failed == 1",
        "0 < events < requests",
        "bytes > 1 << 20",
        "pages >= 34",
    ),
    "grants": (
        "asked == 1",
        "mapped == 2",
        "copied == 1",
        "frames == 2",
        "released >= mapped",
        "refused > 0",
        "audit == 0",
    ),
    "attack": (
        "attacks > refused > 50",
        "kinds >= 6",
        "faults > 20",
        "harmless > 10",
        "succeeded == audit == 0",
        "'writable_page' in table",
        "'control domain' in other",
    ),
    "balloon": (
        "limit == 2304",
        "most == 511",
        "given >= 512",
        "taken >= 512",
        "short == 1",
        "refused == 512",
        "'expected' in why",
    ),
    "share": (
        "first + second > 90",
        "abs(first - second) < 20",
        "sleeper < 10",
        "woken == 10",
        "slices > woken",
        "late < 1000000",
    ),
    "twice": (
        "pc > 5 * xen > 0",
        "direct == 0",
        "calls == traps + loads + returns",
        "traps == returns > 2000",
        "emulated > pc / 2",
        "refills > switches == 1000",
    ),
    "tlb": (
        "misses > 10 * flushes > 5000",
        "tagged_misses < misses / 50",
        "tagged_flushes < flushes / 50",
        "exits >= tagged_exits > 0",
        "software_exits > 2 * refills > 10000",
    ),
    "domain0": ("control >= 8", "mapped > 0", "own > built > 0", "refused == 2"),
}
"""What must be true of the figures of a stop, by their names."""


@pytest.mark.parametrize("stop", STOPS, ids=KERNELS)
def test_the_solution_passes_and_its_figures_make_sense(stop: Stop, tmp_path: Path) -> None:
    """One run says both. What runs is the exercise with its lines in place; where a stop has several domains,
    which no test of a folder has, that is tried alone as well."""
    case = _case(stop, tmp_path / "done", solved=True)
    run = stop.run(case.kernel)
    if stop.parts:
        assert cases.run(case).story == ""
    else:
        assert cases.judged(case.kernel, expectation.read(case.kernel), run.result) == []
    found = list(stop.figures(run))
    figures = {figure.name: figure.value for figure in found}
    assert len(figures) == len(found), "two figures of one name"
    assert {word: figures for word in SENSE[stop.kernel] if not eval(word, {"abs": abs}, dict(figures))} == {}


@pytest.mark.parametrize("stop", STOPS, ids=KERNELS)
def test_an_exercise_fails_with_its_hint(stop: Stop, tmp_path: Path) -> None:
    empty = cases.run(_case(stop, tmp_path / "mine", solved=False))
    assert empty.verdict > Verdict.SKIP
    title, hint = empty.sections[-1]
    assert title == "hint"
    assert hint.partition("\n")[0] in stop.exercise.hints.values()


WRONG = {
    "batch": ("    movl %ebp, %ecx\n", "are left in the list"),
    "traps": ("    movl $trap_table, %eax\n    call set_trap_table\n", "the rows of `open_gates`"),
    "demand": (
        "    movl next_page, %edx\n    movl %ebx, %eax\n    movl $PTE_DATA, %ecx\n    call map_frame\n",
        "the entry was refused",
    ),
    "clock": (
        "    movl deadline, %ecx\n    movl deadline + 4, %ebx\n    HYPERCALL set_timer_op\n",
        "went off at another time",
    ),
    "domain0": ("    DOMCTL unpausedomain\n", "`DOMCTL_MUST` makes it"),
}
"""Attempts that go wrong in another way than not at all: a kernel, what stands in its place, its hint."""


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_solution_has_the_hint_for_it(name: str, tmp_path: Path) -> None:
    stop = STOPS[KERNELS.index(name)]
    attempt, hint = WRONG[name]
    files = exercise_files(stop, "mine", solved=False)
    file = f"{name}.S"
    todo = re.compile(rf" +{TODO}.*\n(    movl \$1, %ecx\n)?")
    text, count = todo.subn(lambda _: attempt, files[file].decode())
    assert count == 1
    folder = tmp_path / "mine"
    make_folder(folder, files | {file: text.encode()})
    (case,) = cases.load(folder)
    title, said = cases.run(case).sections[-1]
    assert title == "hint"
    assert hint in said


def test_several_domains_are_watched_on_a_machine_together() -> None:
    shown = paravane("tour", "13").stdout.decode()
    assert "watch it: paravane run grants --trace -" in shown
    assert "1  grant hypercall of `giver`" in shown


def test_the_command_shows_a_stop_in_plain_lines() -> None:
    done = paravane("tour", "2")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("2. The design: ")
    assert max(map(len, lines)) <= 100
    assert "`discontiguous` has just run:" in lines
    assert any(line.split()[1:3] == ["machine", "frames"] for line in lines)
    assert any("watch it: paravane boot discontiguous --trace -" in line for line in lines)
    assert any("paravane tour 2 --exercise DIR" in line for line in lines)
    assert b"\x1b" not in done.stdout


def _case(stop: Stop, folder: Path, *, solved: bool) -> Case:
    make_folder(folder, exercise_files(stop, folder.name, solved=solved))
    (case,) = cases.load(folder)
    return case
