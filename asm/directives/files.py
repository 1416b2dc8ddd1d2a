"""Where `.include` and `.incbin` find their files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from paravane.asm.spelling import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit


def find_file(unit: Unit, scanner: Scanner) -> Path:
    """Reads a quoted name and finds the file: beside the file that names it, then along the include path."""
    scanner.skip_space()
    start = scanner.pos
    name = scanner.filename()
    folder = unit.reader.folder
    folders = ([] if folder is None else [folder]) + list(unit.session.include)
    for candidate in folders:
        path = candidate / name
        if _is_file(path):
            return path
        unit.session.absent[path] = None
    names = [entry for candidate in folders for entry in _names(candidate)]
    raise scanner.error(f"cannot find `{name}`{did_you_mean(name, names)}", start)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a NUL byte: no such file
        return False


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
