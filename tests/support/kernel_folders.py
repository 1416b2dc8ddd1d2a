"""Kernels' folders for tests of what tests them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def says(body: str) -> str:
    """The source of a kernel that does `body` and powers off."""
    return f'.include "runtime.inc"\nXEN_NOTES\n.text\nmain:\n{body}\nret\n'


SAYS = says(r'PRINT "hello\n"')
HANGS = says("1: call yield\njmp 1b")


def write_folder(folder: Path, source: str, settings: str = "", expected: str | None = None) -> Path:
    """A folder with one source, `kernel.toml`, and `expected.txt` if it is given."""
    folder.mkdir()
    (folder / f"{folder.name}.S").write_text(source)
    (folder / "kernel.toml").write_text(settings)
    if expected is not None:
        (folder / "expected.txt").write_text(expected)
    return folder
