"""Lines of the source files that an image names, for reports.

An image can name any file of the host: they are read for nobody who has not asked.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST: Final = 8 << 20
"""Bytes of the largest source file that is read."""

MOST_FILES: Final = 64
"""Files whose lines are remembered."""


class SourceText:
    """The text of source files as they are now, each read when it is first asked for.

    What cannot be read, is no regular file, or is larger than `LARGEST` has no lines. A relative name that is
    not below the current folder is looked for in `folders`: the assembler names the files it comes with so.
    """

    def __init__(self, folders: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._folders = tuple(os.fspath(folder) for folder in folders)
        self._files: dict[str, list[str]] = {}

    def path(self, file: str) -> str:
        """The absolute path that a file's name in an image means."""
        places = (file, *(os.path.join(folder, file) for folder in self._folders))
        return os.path.abspath(next((place for place in places if _is_file(place)), file))

    def whole_name(self, file: str) -> str:
        """The absolute path of a file that is there; for any other, the name it has in the image."""
        path = self.path(file)
        return path if _is_file(path) else file

    def line(self, file: str, number: int) -> str:
        """Line `number`, from 1, of a file; empty when it cannot be had."""
        lines = self.lines(file)
        return lines[number - 1] if 0 < number <= len(lines) else ""

    def lines(self, file: str) -> list[str]:
        """All lines of a file, without their ends; none when it cannot be had."""
        found = self._files.get(file)
        if found is None:
            if len(self._files) >= MOST_FILES:
                self._files.clear()
            found = self._files[file] = _read(self.path(file))
        return found


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:  # a name with a null byte
        return False


def _read(file: str) -> list[str]:
    try:
        # Without waiting for what may be a pipe: whether it is a file can only be asked once it is open.
        number = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError):
        return []
    try:
        about = os.fstat(number)
        # What is made only as it is read, as in /proc, has a size of 0.
        if not stat.S_ISREG(about.st_mode) or not 0 < about.st_size <= LARGEST:
            return []
        return os.read(number, about.st_size).decode("utf-8", "replace").split("\n")
    except OSError:
        return []
    finally:
        os.close(number)
