"""The folder that a recording is.

| file | what |
|---|---|
| `image` | the kernel's image, as it was given |
| `ramdisk` | its initial ramdisk, if it has one |
| `clock` | where the machine's clock followed the host's, its readings (`readings.py`) |
| `disk-N` | what a disk gave (`disk_log.py`) |
| `inputs` | what came from outside (`inputs.py`) |
| `manifest.json` | how the machine was made, how the run ended, SHA-256 of the other files (`manifest.py`) |

Each file is written whole, and the manifest last: a folder without one is a run that was not recorded to its
end.
"""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Final

from paravane.classes import dataclass
from paravane.recording.disk_log import MOST_FILE, Reader
from paravane.recording.errors import RecordingError
from paravane.recording.inputs import Input, decoded, encoded
from paravane.recording.manifest import DISK, NAMES, End, Made, Manifest, parse
from paravane.whole_file import beside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from paravane.recording.manifest import Description

MANIFEST: Final = "manifest.json"

_MOST: Final = {
    "manifest.json": 1 << 20,
    "inputs": 256 << 20,
    "image": 1 << 30,
    "ramdisk": 1 << 30,
    "clock": 65 << 20,
}
"""Bytes that are read of each file."""

_PORTION: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Recording:
    """A whole one, as it was read. `ramdisk` and `clock` are None where there was none."""

    manifest: Manifest
    image: bytes
    ramdisk: bytes | None
    inputs: tuple[Input, ...]
    clock: bytes | None = None


def begin(folder: Path, image: bytes, ramdisk: bytes | None) -> None:
    """Make the folder, unless it is there and empty, with what is known before the run. Raises RecordingError
    if there is something in it, and OSError."""
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise RecordingError("it is no folder") from None
        if next(folder.iterdir(), None) is not None:
            raise RecordingError("it is not empty; a recording needs a folder of its own") from None
    _write(folder / "image", image)
    if ramdisk is not None:
        _write(folder / "ramdisk", ramdisk)


def finish(
    folder: Path,
    made: Made,
    end: End,
    inputs: Sequence[Input],
    versions: Mapping[str, str],
    clock: bytes | None = None,
    devices: Sequence[Description] = (),
) -> None:
    """Write the rest, now that the run has ended. Raises OSError."""
    if clock is not None:
        _write(folder / "clock", clock)
    _write(folder / "inputs", encoded(inputs))
    there = sorted(path.name for path in folder.iterdir() if path.name in NAMES or DISK.fullmatch(path.name))
    files = {}
    for name in there:
        with _open(folder, name) as stream:
            files[name] = _digest(stream)
    _write(folder / MANIFEST, Manifest(made, end, dict(versions), files, list(devices)).to_bytes())


def load(folder: Path) -> Recording:
    """Read it. It is hostile until it has been looked at: nothing is read but plain files, and no more of
    them than a recording may have. Raises RecordingError for what is no whole recording, and OSError for what
    cannot be read."""
    if not folder.is_dir():
        raise RecordingError("it is no folder")
    try:
        manifest = parse(_read(folder, MANIFEST))
    except FileNotFoundError:
        raise RecordingError(f"it has no {MANIFEST}, which is written when a run has ended") from None
    contents: dict[str, bytes] = {}
    for name, digest in manifest.files.items():
        try:
            if DISK.fullmatch(name):
                with _open(folder, name) as stream:
                    found = _digest(stream)
            else:
                contents[name] = _read(folder, name)
                found = sha256(contents[name]).hexdigest()
        except FileNotFoundError:
            raise RecordingError(f"it is not whole: {name} is missing") from None
        if found != digest:
            raise RecordingError(f"it is damaged: {name} is not what was recorded")
    return Recording(
        manifest,
        contents["image"],
        contents.get("ramdisk"),
        decoded(contents["inputs"]),
        contents.get("clock"),
    )


def disk_of(folder: Path, name: str) -> Reader:
    """What a disk gave. Raises RecordingError and OSError."""
    return Reader(_open(folder, name))


def _digest(stream: IO[bytes]) -> str:
    """Of all of it, which may be large."""
    sha = sha256()
    left = MOST_FILE
    while left > 0 and (data := stream.read(min(left, _PORTION))):
        sha.update(data)
        left -= len(data)
    if left <= 0:
        raise RecordingError(f"what a disk gave is longer than {MOST_FILE >> 20} MiB")
    return sha.hexdigest()


def _open(folder: Path, name: str) -> IO[bytes]:
    number = os.open(folder / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise RecordingError(f"{name} is no plain file")
    return open(number, "rb")


def _read(folder: Path, name: str) -> bytes:
    with _open(folder, name) as stream:
        data = stream.read(_MOST[name] + 1)
    if len(data) > _MOST[name]:
        raise RecordingError(f"{name} is longer than {_MOST[name] >> 20} MiB")
    return data


def _write(path: Path, data: bytes) -> None:
    with beside(path) as stream:
        stream.write(data)
