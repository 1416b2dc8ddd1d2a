"""Where `.include` and `.incbin` find their files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane.asm.spelling import did_you_mean

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner
    from paravane.asm.unit import Unit


OWN_INCLUDE: Final = Path(__file__).parents[1] / "include"
"""Include files that come with the assembler."""

_OWN_FOLDERS: Final = (OWN_INCLUDE, Path(__file__).parents[2] / "guest_kernels")


def shown_name(path: Path) -> str:
    """The name of a source in messages, symbol and line tables. The folder is left out of what comes with
    Paravane: where that is installed must not tell in an image, which a guest may see, nor in a trace."""
    own = next(filter(path.is_relative_to, _OWN_FOLDERS), None)
    return (path if own is None else path.relative_to(own)).as_posix()


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
