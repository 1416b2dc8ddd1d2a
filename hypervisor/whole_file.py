"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def beside(target: Path) -> Iterator[IO[bytes]]:
    """A stream whose contents become those of the regular file `target` at the end of the `with`, or not at
    all if it raises: they are written to a file beside it, which is then renamed. Raises OSError, also for
    what is there and no regular file: a pipe or a device would be gone, and a folder cannot be replaced."""
    import tempfile  # noqa: PLC0415 - it needs much, and most who load this only read

    # Through a symbolic link: the file it leads to changes, not the link.
    target = Path(os.path.realpath(target))
    if target.exists() and not target.is_file():
        raise FileExistsError(errno.EEXIST, "it is no regular file", str(target))
    number, name = tempfile.mkstemp(prefix=f".{target.name[:64]}.", dir=target.parent)
    try:
        with open(number, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(number)
            os.fchmod(number, _mode(target))
        os.replace(name, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _mode(target: Path) -> int:
    """Permissions as if the file had been written in place."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
