"""Source files whose text goes into a page: those that the user has named, and no others.

A trace, as an image, can name any file of the host, and a page is shown to others. So a file is read only if
it lies in a folder that was given for that, is one that an image was built from, or comes with Paravane.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from paravane.image.source_text import SourceText

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class Sources:
    """The text of files below `folders`, and of `files`. Symbolic links do not lead out of them."""

    def __init__(self, folders: Sequence[Path], files: Sequence[Path] = ()) -> None:
        self._folders = [os.path.realpath(folder) for folder in folders]
        self._files = {os.path.realpath(file) for file in files}
        self._text = SourceText()

    def lines(self, file: str) -> list[str]:
        """All lines of the file that a trace calls `file`: that path, or what is at it below a folder, or has
        its last part there or among the files. None when there is none of these, or it cannot be read."""
        found = next(filter(self._may_be_read, self._places(file)), None)
        return [] if found is None else self._text.lines(found)

    def _places(self, file: str) -> Iterator[str]:
        if not _is_path(file):
            return
        name = os.path.basename(file)
        places = [file, *(os.path.join(folder, part) for folder in self._folders for part in (file, name))]
        places += sorted(given for given in self._files if os.path.basename(given) == name)
        yield from map(os.path.realpath, places)

    def _may_be_read(self, place: str) -> bool:
        inside = place in self._files or any(
            os.path.commonpath((place, folder)) == folder for folder in self._folders
        )
        return inside and os.path.isfile(place)


def _is_path(file: str) -> bool:
    """Whether a text can name a file: JSON may hold a null character, and half of a surrogate pair."""
    try:
        return b"\0" not in os.fsencode(file)
    except UnicodeEncodeError:
        return False
