"""Files a user names: read within bounds, never destroyed by a command that fails or that reads them."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from paravane.tools.progress import portion, telling
from paravane.tools.status import Status, UsageError
from paravane.whole_file import beside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import IO

LARGEST = 1 << 30
"""Bytes of the largest image or ramdisk read: more than any 32-bit domain could hold beside its kernel."""


class OutputError(OSError):
    """A file that the user asked for cannot be written; `filename` is the name that the user gave."""


def read_file(path: Path, what: str, largest: int | None = None) -> bytes:
    """The contents of a file or a pipe. UsageError beyond `largest` bytes (None: `LARGEST`), OSError as
    reading does."""
    largest = LARGEST if largest is None else largest
    with opened(path) as stream, telling(lambda: f"reading {path}{portion(stream.fileno())}"):
        try:
            data = stream.read(largest + 1)
        except OSError as error:
            # Unlike open, read does not say of which file.
            raise OSError(error.errno, error.strerror, str(path)) from None
    if len(data) > largest:
        raise UsageError(f"{path}: {what} of more than {largest >> 20} MiB is not read", Status.IMAGE)
    return data


def opened(path: Path, buffering: int = -1) -> IO[bytes]:
    """Open a file to read it. A pipe is waited for until somebody has its other end. OSError as `open`."""
    with telling(lambda: f"waiting for {path}"):
        return path.open("rb", buffering)


def write_file(path: Path, data: bytes) -> None:
    """Make `data` the contents of a file, whole or not at all. Raises OutputError."""
    with replacing(path) as stream:
        stream.write(data)


def make_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """A new folder with these files, whole or not at all. UsageError if there is something of that name,
    OutputError if it cannot be written."""
    try:
        folder.mkdir()
    except FileExistsError:
        raise UsageError(f"{folder} exists already") from None
    except OSError as error:
        raise OutputError(error.errno, error.strerror, str(folder)) from None
    try:
        for name, data in files.items():
            write_file(folder / name, data)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def check_folder(path: Path) -> None:
    """UsageError when there is no folder for a file of this name, or it is one itself: to be known before
    long work is done."""
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: there is no folder to write it into")
    if path.is_dir():
        raise UsageError(f"{path} is a folder")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose contents become those of a file at the end of the `with`, or not at all if it raises:
    they are written beside it, which is then renamed.

    What is no regular file (a pipe, /dev/null) is written as it is. Raises OutputError. An OSError that has a
    file name of its own is about another file, and passes.
    """
    inside = False
    try:
        special = path.exists() and not path.is_file()
        with path.open("wb") if special else beside(path) as stream:
            inside = True
            yield stream
            inside = False
    except OSError as error:
        if inside and error.filename is not None:
            raise
        raise OutputError(error.errno, error.strerror, str(path)) from None


def refuse_overwriting(outputs: Iterable[tuple[str, Path | None]], inputs: Iterable[Path]) -> None:
    """UsageError when a file to be written, named by its option, is one that is read, or is written twice."""
    read = {_identity(path): path for path in inputs}
    written: dict[tuple[int, int] | str, str] = {}
    for option, path in outputs:
        if path is None or (path.exists() and not path.is_file()):
            continue
        identity = _identity(path) or os.path.realpath(path)
        if isinstance(identity, tuple) and identity in read:
            raise UsageError(f"{option} {path} would overwrite {read[identity]}, which is read")
        if identity in written:
            raise UsageError(f"{option} {path} would overwrite what {written[identity]} writes")
        written[identity] = option


def _identity(path: Path) -> tuple[int, int] | None:
    """What makes two names those of one file. None for what is no regular file: that cannot be destroyed."""
    with suppress(OSError):
        found = path.stat()
        if stat.S_ISREG(found.st_mode):
            return found.st_dev, found.st_ino
        return None
    return None
