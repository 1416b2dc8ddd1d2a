"""`paravane tour`: its list, its exercises in both forms, and what it says of bad words.

That each stop shows what it says, and each exercise can be failed and solved, takes guests:
tests/guests/test_tour.py.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane import guest_kernels
from paravane.asm import INCLUDE_DIR
from paravane.guest_kernels.folder import load_folder
from paravane.tools.cli import main
from paravane.tools.tour.exercise import exercise_files
from paravane.tools.tour.marks import TODO, tasks, unmarked
from paravane.tools.tour.show import NARROWEST, WIDTH, heading, outcome, width
from paravane.tools.tour.stop import Figure
from paravane.tools.tour.stops import STOPS

if TYPE_CHECKING:
    from paravane.tools.tour.stop import Stop

ROOT = Path(__file__).parents[2]
KERNELS = [stop.kernel for stop in STOPS]
MARKED = """\
main:
    # exercise one: say it
    # instead: nop
    call say
    # exercise end
    # exercise two: go
    jmp away
    # exercise end
    ret
"""


def test_the_list_has_each_stop_with_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("tour",)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    told = [line.split() for line in lines[1:-1]]
    assert [(int(words[0]), words[-1]) for words in told] == list(enumerate(KERNELS, 1))
    assert len(set(KERNELS)) == len(KERNELS), "a kernel's marks are one exercise"


@pytest.mark.parametrize("word", ["0", "99", "-", "1.5", "batch", "", "\u0663", "9" * 5000, "a\nb"])
def test_what_is_no_number_of_a_stop_is_told_in_a_sentence(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("tour", word)) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"paravane: there is no stop .*: they are numbered from 1 to \d+\n", said)
    assert len(said) <= 100


def test_an_exercise_is_of_one_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("tour", "--exercise", str(tmp_path / "mine"))) == 2
    assert "--exercise is of one stop" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_exercise_is_made_over_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "mine"
    kept.mkdir()
    assert main(("tour", "1", "--exercise", str(kept))) == 2
    assert capsys.readouterr().err == f"paravane: {kept} exists already\n"
    assert main(("tour", "1", "--exercise", str(tmp_path / "none" / "mine"))) == 1
    assert "No such file or directory" in capsys.readouterr().err
    assert list(kept.iterdir()) == []


@pytest.mark.parametrize("number", range(1, len(STOPS) + 1), ids=KERNELS)
def test_an_exercise_is_a_kernels_folder_with_its_task(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = STOPS[number - 1]
    kernel = guest_kernels.load(stop.kernel)
    folder = tmp_path / "mine"
    assert main(("tour", str(number), "--exercise", str(folder))) == 0
    assert "paravane test " in capsys.readouterr().out
    made = load_folder(folder)
    assert (made.name, made.expected, made.memory) == ("mine", kernel.expected, kernel.memory)
    assert (made.exit_status, made.ramdisk_kernel) == (kernel.exit_status, kernel.ramdisk_kernel)
    assert made.hints == stop.exercise.hints != {}
    sources = "".join(path.read_text() for path in folder.glob("*.*") if path.suffix in (".S", ".inc"))
    readme = (folder / "README.md").read_text()
    todo = re.findall(rf"{TODO}(.*)", sources)
    assert todo
    assert all(task in readme.replace("\n  ", " ") for task in todo)
    assert "paravane test mine" in readme
    assert "# exercise" not in sources
    assert max(map(len, readme.splitlines())) <= 100


@pytest.mark.parametrize("stop", STOPS, ids=KERNELS)
def test_both_forms_differ_by_the_deciding_lines_alone(stop: Stop) -> None:
    empty, solved = (exercise_files(stop, "mine", solved=solved) for solved in (False, True))
    assert empty.keys() == solved.keys()
    changed = [name for name in empty if empty[name] != solved[name]]
    assert changed
    assert all(name.endswith((".S", ".inc")) for name in changed)
    assert all(TODO.encode() not in text for text in solved.values())
    lines = [Counter(b"".join(form[name] for name in changed).splitlines()) for form in (solved, empty)]
    assert lines[0] - lines[1], "nothing is left to do"


def test_the_two_forms_of_a_marked_source() -> None:
    assert unmarked(MARKED) == "main:\n    call say\n    jmp away\n    ret\n"
    assert unmarked(MARKED, "one") == "main:\n    # TODO: say it\n    nop\n    jmp away\n    ret\n"
    assert unmarked(MARKED, "two") == "main:\n    call say\n    # TODO: go\n    ret\n"
    assert tasks(MARKED, "one") == ["say it"]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("# exercise a: b\n", "the last block of the exercise a is not closed"),
        ("# exercise a: b\n# exercise c: d\n", "line 2: a block .* does not begin inside another one"),
        ("nop\n# exercise end\n", "line 2: no block of an exercise is open"),
        ("# instead: nop\n", "line 1: no block of an exercise is open"),
    ],
)
def test_marks_that_do_not_fit_together_are_refused(source: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        unmarked(source)


def test_every_mark_belongs_to_a_stop() -> None:
    folder = Path(guest_kernels.__file__).parent
    sources = [path for place in (folder, INCLUDE_DIR) for path in place.rglob("*.*")]
    marked = {
        name
        for path in sources
        if path.suffix in (".S", ".inc")
        for name in re.findall(r"# exercise (\w+): ", path.read_text())
    }
    assert marked == set(KERNELS)


def test_the_page_lists_every_stop_with_its_code() -> None:
    page = (ROOT / "tools" / "tour" / "README.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*?) \| `(\w+)` \| `(\w+)\.py`: `(\w+)` \|", page, re.MULTILINE)
    assert [(int(number), title, kernel) for number, title, kernel, *_ in rows] == [
        (number, stop.title, stop.kernel) for number, stop in enumerate(STOPS, 1)
    ]
    for (_, _, _, module, function), stop in zip(rows, STOPS, strict=True):
        assert stop.figures.__module__ == f"paravane.tools.tour.{module}"
        assert stop.figures.__name__ == function


def test_a_figure_is_a_number_in_a_column_or_a_sentence_below_its_title() -> None:
    lines = list(
        outcome([Figure("a", 1234567, "things " * 20), Figure("b", "no\x1b[2J" + " way" * 40, "why")])
    )
    assert lines[0].startswith("   1,234,567  things things")
    assert lines[1].startswith(" " * 14 + "things")
    assert max(map(len, lines)) <= 100
    assert "    why:" in lines
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("columns", [60, 80])
def test_what_is_shown_is_as_wide_as_it_may_be(columns: int) -> None:
    figures = [Figure("a", 1234567, "things " * 20), Figure("b", "no" + " way" * 40, "why " * 30)]
    for number, stop in enumerate(STOPS, 1):
        lines = [*heading(number, stop, columns), *outcome(figures, columns)]
        assert columns - 16 < max(map(len, lines)) <= max(columns, len(lines[0]))


@pytest.mark.parametrize(
    ("columns", "wide"), [(20, NARROWEST), (80, 80), (500, WIDTH), (0, WIDTH), (None, WIDTH)]
)
def test_a_terminal_says_how_wide_it_is(
    columns: int | None, wide: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def size(_: int) -> os.terminal_size:
        if columns is None:
            raise OSError
        return os.terminal_size((columns, 24))

    monkeypatch.setattr(os, "get_terminal_size", size)
    assert width() == wide
