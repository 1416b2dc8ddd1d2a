"""Images that were assembled before, in the user's cache folder: `boot` of the same sources starts at once.

An entry is found by what was asked for (names of sources, include path, definitions) and by the assembler's
own code. It holds while every file that was read has the contents it had, and no file has appeared where one
was looked for in vain before. A cache that is damaged, or cannot be read or written, is no cache: the sources
are assembled.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.tools.files import write_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from io import BufferedReader

    from paravane.asm.program import Program

KEPT: Final = 256
"""Entries in the folder; when there are more, the oldest go. Enough for every kernel that comes with Paravane
beside those somebody works on: one that is booted in turn with all others must not push them out."""
ABANDONED: Final = 3600
"""Seconds after which nobody writes an entry any more."""

_SUFFIX = ".image"


class Request(NamedTuple):
    """What is to be assembled: everything but the contents of files."""

    sources: Sequence[Path]
    include: Sequence[Path]
    defines: Mapping[str, int]

    def key(self) -> str:
        """Where its entry is. A name is part of it as it was given, too: that is what the line table has."""
        names = [[str(path), os.path.abspath(path)] for path in (*self.sources, *self.include)]
        parts = [_assembler(), len(self.sources), names, sorted(self.defines.items())]
        return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()


class Entry(NamedTuple):
    """An image, the files it was made from, and what the assembler had to say."""

    image: bytes
    inputs: tuple[Path, ...]
    warnings: tuple[str, ...]


class ImageCache:
    """The entries in one folder, which need not exist; of these so many, the newest."""

    def __init__(self, folder: Path, kept: int | None = None) -> None:
        self._folder = folder
        self._kept = KEPT if kept is None else kept

    def find(self, request: Request) -> Entry | None:
        """The entry of a request if it still holds."""
        try:
            head, _, image = _own(self._path(request)).partition(b"\n")
            fields = json.loads(head)
            held = fields["image"] == _digest(image) and all(
                _digest_of_file(path) == digest for path, digest in fields["read"]
            )
            if not held or any(Path(path).exists() for path in fields["absent"]):
                return None
            return Entry(image, tuple(Path(name) for name in fields["inputs"]), tuple(fields["warnings"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            # Not there, damaged, of another version, or a file that was read is gone.
            return None

    def keep(self, request: Request, program: Program, image: bytes) -> None:
        """Make an entry of what was assembled, as the files were when they were read."""
        with suppress(OSError, ValueError):
            fields = {
                "image": _digest(image),
                "read": [[os.path.abspath(path), digest] for path, digest in program.contents],
                "absent": [os.path.abspath(path) for path in program.absent],
                "inputs": [str(path) for path in program.inputs],
                "warnings": program.warnings,
            }
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(self._path(request), json.dumps(fields).encode("ascii") + b"\n" + image)
            self._forget()

    def _path(self, request: Request) -> Path:
        return self._folder / (request.key() + _SUFFIX)

    def _forget(self) -> None:
        """Remove the oldest entries, and what was left of one by a process that was killed."""
        entries = self._folder.glob(f"*{_SUFFIX}")
        by_age = sorted(entries, key=lambda path: path.stat().st_mtime_ns, reverse=True)
        left = [path for path in self._folder.glob(".*") if path.stat().st_mtime < time.time() - ABANDONED]
        for path in by_age[self._kept :] + left:
            path.unlink(missing_ok=True)


def of_user() -> ImageCache | None:
    """The cache in the user's cache folder (XDG_CACHE_HOME); None for a user without a home."""
    told = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = Path(told) if os.path.isabs(told) else Path.home() / ".cache"
    except RuntimeError:
        return None
    return ImageCache(folder / "paravane" / "images")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _own(path: Path) -> bytes:
    """The contents of a file. Raises OSError if it is another user's: whoever wrote it chose the image."""
    with _regular(path) as stream:
        if os.fstat(stream.fileno()).st_uid != os.geteuid():
            raise OSError(f"{path} is somebody else's")
        return stream.read()


def _digest_of_file(path: str) -> str:
    with _regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _regular(path: str | Path) -> Iterator[BufferedReader]:
    """Open a regular file; OSError for what is none. The assembler reads none either: a device has no end,
    and a pipe would have to be waited for, and be used up.
    """
    with open(path, "rb", opener=_open_at_once) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(f"{path} is no regular file")
        yield stream


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _assembler() -> list[str | int]:
    """What tells the assembler's code from any other: where it is, and the size and time of each file. It is
    not loaded, nor even read: that is what takes the time."""
    spec = find_spec("paravane.asm")
    assert spec is not None
    found: list[str | int] = []
    for folder in spec.submodule_search_locations or ():
        for parent, _, names in sorted(os.walk(folder)):
            for name in sorted(one for one in names if one.endswith(".py")):
                path = os.path.join(parent, name)
                status = os.stat(path)
                found += [path, status.st_size, status.st_mtime_ns]
    return found
