"""The text of the files that an image names: found where they may be, and never anything but a source."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from paravane.image.source_text import LARGEST, MOST_FILES, SourceText

if TYPE_CHECKING:
    from pathlib import Path


def test_a_line_is_found_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "a.S").write_bytes(b"one\r\ntwo\xff\n")
    text = SourceText()
    assert text.line(str(tmp_path / "a.S"), 1) == "one\r"
    assert text.line(str(tmp_path / "a.S"), 2) == "two\ufffd"
    assert text.line(str(tmp_path / "a.S"), 0) == text.line(str(tmp_path / "a.S"), 9) == ""


@pytest.mark.parametrize("name", ["/dev/zero", "/proc/kmsg", "a\0b", "", "/", "/no/such/file"])
def test_what_is_no_source_has_no_lines(name: str) -> None:
    assert SourceText().lines(name) == []


def test_neither_a_pipe_nor_a_file_that_is_too_large_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.S")
    with (tmp_path / "large.S").open("wb") as stream:
        stream.truncate(LARGEST + 1)
    text = SourceText((tmp_path,))
    assert text.lines("pipe.S") == text.lines("large.S") == []


def test_a_relative_name_is_that_of_the_first_place_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, first, second = (tmp_path / name for name in ("here", "first", "second"))
    for folder, names in ((here, ("a.S",)), (first, ("a.S", "b.inc")), (second, ("b.inc", "sub/c.inc"))):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{folder.name}\n")
    monkeypatch.chdir(here)
    text = SourceText((first, str(second)))
    assert text.path("a.S") == str(here / "a.S")
    assert text.path("b.inc") == str(first / "b.inc")
    assert text.path("sub/c.inc") == str(second / "sub" / "c.inc")
    assert text.path(str(second / "b.inc")) == str(second / "b.inc")
    assert text.line("b.inc", 1) == "first"


def test_a_name_that_no_place_has_is_one_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.S").mkdir()
    text = SourceText((tmp_path / "none",))
    assert text.path("none.S") == str(tmp_path / "none.S")
    assert text.path("folder.S") == str(tmp_path / "folder.S")
    assert text.path("sub/../none.S") == str(tmp_path / "none.S")


def test_files_are_read_once_and_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.S"
    path.write_text("old\n")
    text = SourceText((tmp_path,))
    assert text.line("a.S", 1) == "old"
    path.write_text("new\n")
    assert text.line("a.S", 1) == "old"
    for number in range(MOST_FILES):
        assert text.lines(f"{number}.S") == []
    assert text.line("a.S", 1) == "new"
