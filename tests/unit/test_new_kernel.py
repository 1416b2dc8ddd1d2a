"""`paravane new`: what it makes boots, prints what it promises, and is never made over something."""

from __future__ import annotations

from pathlib import Path

import pytest

from paravane.guest_kernels.folder import load_folder
from paravane.testing.expectation import Expected
from paravane.testing.matching import difference
from paravane.tools import files
from paravane.tools.cli import main
from paravane.tools.files import OutputError
from tests.support.documents import blocks, follow
from tests.support.needs import path_with, tool


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "suffix", "programs"), [((), ".S", ()), (("--c",), ".c", ("gcc", "as", "ld"))]
)
def test_the_folder_boots_and_prints_what_it_expects(
    options: tuple[str, ...],
    suffix: str,
    programs: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", path_with(*programs))
    monkeypatch.chdir(tmp_path)
    assert main(("new", "ticks", *options)) == 0
    assert f"ticks/ticks{suffix}" in capfd.readouterr().out
    kernel = load_folder(tmp_path / "ticks")
    assert [source.name for source in kernel.sources] == [f"ticks{suffix}"]
    assert main(("boot", "ticks")) == kernel.exit_status
    assert difference(Expected(kernel.expected), capfd.readouterr().out) == []
    assert main(("test", "ticks")) == 0
    assert "1 SUCCESS" in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "programs"), [((), ()), (("--c",), ("gcc", "as", "ld"))], ids=["assembly", "C"]
)
def test_what_the_new_folders_readme_says_can_be_typed(
    options: tuple[str, ...], programs: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(("new", "ticks", *options)) == 0
    text = (tmp_path / "ticks" / "README.md").read_text()
    assert [command.split()[1] for block in blocks(text) for command in block.text.splitlines()] == [
        "boot",
        "boot",
        "test",
    ]
    follow(text, tmp_path, [Path(tool(program)).parent for program in programs])


@pytest.mark.slow
def test_a_kernel_that_no_longer_prints_what_it_promises_fails_its_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(("new", "ticks")) == 0
    source = tmp_path / "ticks" / "ticks.S"
    source.write_text(source.read_text().replace("runs in ring", "walks in ring"))
    assert main(("test", "ticks")) == 1
    shown = capfd.readouterr().out
    assert "- ticks runs in ring 1" in shown
    assert "+ ticks walks in ring 1" in shown


@pytest.mark.parametrize(
    ("folder", "shown"),
    [("two words", "'two words/ticks'"), ("a\nb", r"'a\x0ab/ticks'"), ("\udcff", r"'\xff/ticks'")],
)
def test_it_is_made_in_a_folder_of_any_name(
    folder: str,
    shown: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(folder).mkdir()
    assert main(("new", f"{folder}/ticks")) == 0
    assert f"next: paravane boot {shown}, then change " in capsys.readouterr().out
    assert "\nparavane boot ticks\n" in (Path(folder) / "ticks" / "README.md").read_text()


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "mine"
    kept.mkdir()
    (kept / "mine.S").write_text("mine\n")
    assert main(("new", str(kept))) == 2
    assert capsys.readouterr().err == f"paravane: {kept} exists already\n"
    assert [path.name for path in kept.iterdir()] == ["mine.S"]


def test_a_folder_that_cannot_be_filled_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(path: Path, data: bytes) -> None:
        raise OutputError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "write_file", fail)
    assert main(("new", str(tmp_path / "full"))) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_one_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("new", str(tmp_path / "none" / "ticks"))) == 1
    assert "No such file or directory" in capsys.readouterr().err
