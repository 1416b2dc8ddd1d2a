"""Files a user names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 1 << 30
"""Bytes of the largest image or ramdisk read: more than any 32-bit domain could hold beside its kernel."""


def read_file(path: Path, what: str) -> bytes:
    """The contents of a file or a pipe. UsageError beyond `LARGEST` bytes, OSError as reading does."""
    with path.open("rb") as stream:
        data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise UsageError(f"{path}: {what} of more than {LARGEST >> 20} MiB is not read", Status.IMAGE)
    return data
