"""Folders of kernels as test cases: verdicts, and expectations that are written anew."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from paravane.testing import Verdict, cases, find, run
from paravane.testing.cases import load
from tests.support.kernel_folders import HANGS, SAYS, says, write_folder

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.testing import Outcome

pytestmark = pytest.mark.slow


def outcome(folder: Path, *, update: bool = False) -> Outcome:
    (case,) = load(folder)
    return run(case, update=update)


def test_a_kernel_that_prints_what_it_should_is_a_success(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "greet", SAYS, expected="hello\n")
    (case,) = load(folder)
    found = run(case)
    assert case.name == "greet[pv32pae]"
    assert (found.verdict, found.story, found.sections) == (Verdict.SUCCESS, "", ())


def test_another_console_is_a_failure_with_its_difference_and_the_trace(tmp_path: Path) -> None:
    found = outcome(write_folder(tmp_path / "greet", SAYS, expected="hallo\n"))
    assert found.verdict is Verdict.FAILURE
    assert found.story == "its console is not as expected.txt has it:\n- hallo\n+ hello"
    assert [title for title, _ in found.sections] == ["last of the trace: greet"]


def test_another_end_is_a_failure_with_its_dump(tmp_path: Path) -> None:
    found = outcome(write_folder(tmp_path / "crash", says("movl %eax, 0"), expected=""))
    assert found.story == "its exit status is 3, not 0: it ended with crash"
    assert found.sections[0][0] == "crash dump: crash"
    assert outcome(write_folder(tmp_path / "meant", says("movl %eax, 0"), "exit_status = 3", "")).story == ""


def test_a_kernel_that_hangs_is_a_failure_that_says_where(tmp_path: Path) -> None:
    found = outcome(write_folder(tmp_path / "hang", HANGS, "max_traps = 50", expected=""))
    assert found.story.startswith("its exit status is 124, not 0: it did not end, the number of traps")
    assert found.sections[0][0] == "where it was: hang"


PINS_ITSELF = says("""
    movl $1f, %ebx
    movl $1, %ecx
    xorl %edx, %edx
    movl $DOMID_SELF, %esi
    HYPERCALL mmuext_op
    ret
    .data
1:  .long MMUEXT_PIN_L1_TABLE, 0, 0
    .text
""")


@pytest.mark.parametrize(
    ("hints", "hint"),
    [
        (
            "'nothing of it' = 'no'\n'mfn 0x0' = 'look at mfn 0'\n'mmuext' = 'late'",
            "look at mfn 0\n(because of: ",
        ),
        ("'- hallo' = 'it says another word'", "it says another word\n(because of: - hallo)"),
        ("'nothing of it' = 'no'", "mmuext_op -> -E"),
        ("", ""),
    ],
)
def test_a_failure_ends_with_the_first_hint_that_its_run_speaks_for(
    hints: str, hint: str, tmp_path: Path
) -> None:
    found = outcome(write_folder(tmp_path / "pin", PINS_ITSELF, f"[hints]\n{hints}\n", "hallo\n"))
    assert found.verdict is Verdict.FAILURE
    title, text = found.sections[-1]
    assert (title == "hint", text.startswith(hint)) == (bool(hint), True)


def test_what_is_no_image_gets_its_hint_too_and_a_success_none(tmp_path: Path) -> None:
    hints = "[hints]\n'.' = 'read it again'\n"
    broken = outcome(write_folder(tmp_path / "broken", "nonsense %eax\n", hints, "hello\n"))
    assert broken.verdict is Verdict.ERROR
    assert broken.sections[0][1].startswith("read it again\n(because of: ")
    assert outcome(write_folder(tmp_path / "greet", SAYS, hints, "hello\n")).sections == ()


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_kernel_tells_its_own_verdict(verdict: Verdict, tmp_path: Path) -> None:
    source = says(rf'PRINT "because\nTest result: {verdict.name}\n"')
    found = outcome(write_folder(tmp_path / "own", source))
    assert found.verdict is verdict
    assert found.story == ("" if verdict is Verdict.SUCCESS else f"it says {verdict.name}: because")


def test_a_verdict_does_not_outweigh_a_crash(tmp_path: Path) -> None:
    source = says(r'PRINT "Test result: SUCCESS\n"' + "\nmovl %eax, 0")
    assert outcome(write_folder(tmp_path / "own", source)).verdict is Verdict.FAILURE


def test_a_broken_test_is_an_error(tmp_path: Path) -> None:
    silent = outcome(write_folder(tmp_path / "silent", SAYS))
    assert silent.story == "it prints no verdict, and there is no expected.txt to hold it against"
    wrong = outcome(write_folder(tmp_path / "wrong", "movl %eax\n", expected=""))
    assert "wrong.S:1" in wrong.story
    pattern = outcome(write_folder(tmp_path / "pattern", SAYS, expected="~(\n"))
    assert pattern.story.startswith("expected.txt: line 1 is no regular expression")
    large = outcome(write_folder(tmp_path / "large", SAYS, "memory_mib = 4095", expected=""))
    binary = write_folder(tmp_path / "binary", SAYS)
    (binary / "expected.txt").write_bytes(b"\xff")
    for found in (silent, wrong, pattern, large, outcome(binary)):
        assert found.verdict is Verdict.ERROR
        assert found.story


@pytest.mark.parametrize("pattern", ["a{99999999999999999999}", "(" * 20_000 + ")" * 20_000])
def test_a_pattern_that_python_refuses_otherwise_is_an_error_too(pattern: str, tmp_path: Path) -> None:
    found = outcome(write_folder(tmp_path / "greet", SAYS, expected=f"~{pattern}\n"))
    assert found.verdict is Verdict.ERROR
    assert found.story.startswith("expected.txt: line 1 is no regular expression")


def test_what_is_no_file_of_text_is_an_error_and_not_waited_for(tmp_path: Path) -> None:
    pipe, endless, binary = (write_folder(tmp_path / name, SAYS) for name in ("pipe", "endless", "binary"))
    os.mkfifo(pipe / "expected.txt")
    (endless / "expected.txt").symlink_to("/dev/zero")
    (binary / "expected.txt").write_bytes(b"\xff")
    for folder, sentence in (
        (pipe, "this is no file"),
        (endless, "this is no file"),
        (binary, "this is no text: "),
    ):
        found = outcome(folder)
        assert found.verdict is Verdict.ERROR
        assert found.story.startswith(f"{folder / 'expected.txt'}: {sentence}")


def test_a_lack_of_memory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(cases, "boot", lacks)
    found = outcome(write_folder(tmp_path / "greet", SAYS, expected="hello\n"))
    assert (found.verdict, found.story) == (Verdict.ERROR, "there is not enough memory")


def test_other_environments_are_skipped(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "both", SAYS, 'environments = ["hvm64", "pv32pae"]', "hello\n")
    there, here = load(folder)
    assert (there.name, run(there).verdict) == ("both[hvm64]", Verdict.SKIP)
    assert run(there).story == "Paravane is pv32pae, not hvm64"
    assert run(here).verdict is Verdict.SUCCESS


def test_an_expectation_is_written_anew_only_where_all_else_is_right(tmp_path: Path) -> None:
    greet = write_folder(tmp_path / "greet", SAYS, expected="hallo\n")
    found = outcome(greet, update=True)
    assert (found.verdict, found.updated) == (Verdict.SUCCESS, greet / "expected.txt")
    assert (greet / "expected.txt").read_text() == "hello\n"
    assert outcome(greet, update=True).updated is None
    hangs = write_folder(tmp_path / "hang", HANGS, "max_traps = 50", expected="kept\n")
    crashes = write_folder(tmp_path / "crash", says("movl %eax, 0"), expected="kept\n")
    tells = write_folder(tmp_path / "tells", says(r'PRINT "Test result: ERROR\n"'), expected="kept\n")
    for folder in (hangs, crashes, tells):
        found = outcome(folder, update=True)
        assert found.verdict >= Verdict.ERROR
        assert found.updated is None
        assert (folder / "expected.txt").read_text() == "kept\n"


def test_an_expectation_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "greet", SAYS)
    (case,) = load(folder)
    (folder / "expected.txt").mkdir()
    found = run(case, update=True)
    assert (found.verdict, found.updated) == (Verdict.ERROR, None)


def test_folders_are_found_below_but_not_in_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/two", "a/one", ".venv/three"):
        (tmp_path / name).parent.mkdir()
        write_folder(tmp_path / name, SAYS)
    assert list(find(tmp_path)) == [tmp_path / "a/one", tmp_path / "b/two"]
    assert list(find(tmp_path / "a" / "one")) == [tmp_path / "a/one"]
