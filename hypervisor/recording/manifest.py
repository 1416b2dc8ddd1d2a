"""What a recording says of itself: how the machine was made, how the run ended, which files belong to it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields
from typing import Any, Final, get_type_hints

from paravane.classes import dataclass
from paravane.recording.errors import RecordingError
from paravane.recording.inputs import LIMIT

FORMAT: Final = "paravane recording"
VERSION: Final = 2
MOST_DEVICES: Final = 64
Description = dict[str, str | int | bool]
"""What a device was made as: `kind`, and what belongs to one of that kind."""

_PLAIN: Final = (str, int, bool)
NAMES: Final = ("image", "inputs", "ramdisk", "clock")
DISK: Final = re.compile(r"disk-[0-9]{1,2}")
"""Files of what disks gave."""


@dataclass(frozen=True, slots=True)
class Made:
    """How the machine and its domain were made, as `paravane.Machine` and `DomainConfig` take it. `sched` is
    a name of `paravane.sched.POLICIES`; `max_traps` is 0 for no limit, `decisions` and
    `most_faults` are -1; `faults` has commas between its kinds. `wall` is
    wall-clock time (nanoseconds) at system time 0 where the clock followed the host's, else 0."""

    name: str
    memory: int
    vcpus: int
    cmdline: str
    privileged: bool
    seed: int
    sched: str
    debug: bool
    slice_instructions: int
    max_traps: int
    jitter: int
    decisions: int
    wall: int
    faults: str
    most_faults: int


@dataclass(frozen=True, slots=True)
class End:
    """How the run ended: a name of `paravane.StopReason` and, for people, `why` if there is more to say; the
    number of its turns, its system time (nanoseconds), and what came out: the length and the SHA-256 of its
    console, and the number and the SHA-256 of what it sent out of the machine (`Outputs`). `cut_short`: from
    outside, by a signal or a time-out."""

    reason: str
    why: str
    cut_short: bool
    turn: int
    time: int
    console_size: int
    console: str
    sent_count: int
    sent: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`files` are the SHA-256 of each file, `versions` those of what the run was recorded with; `devices`
    says what the domain had (`devices.py`)."""

    made: Made
    end: End
    versions: dict[str, str]
    files: dict[str, str]
    devices: list[Description]

    def to_bytes(self) -> bytes:
        whole = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(whole, indent=2).encode() + b"\n"


def parse(data: bytes) -> Manifest:
    """Raises RecordingError for what is none of this version, whatever it is."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise RecordingError("its manifest is no JSON") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise RecordingError("its manifest is not that of a recording")
    if found.get("version") != VERSION:
        raise RecordingError(f"it is of another version of the format than {VERSION}, which is read here")
    return Manifest(
        _record(Made, found.get("made"), "made"),
        _record(End, found.get("end"), "end"),
        _texts(found.get("versions"), "versions"),
        _files(found.get("files")),
        _devices(found.get("devices")),
    )


def _devices(found: Any) -> list[Description]:
    if (
        not isinstance(found, list)
        or len(found) > MOST_DEVICES
        or not all(isinstance(one, dict) and all(_is_plain(value) for value in one.values()) for one in found)
    ):
        raise RecordingError("its manifest does not say what belongs to 'devices'")
    return found


def _is_plain(value: Any) -> bool:
    """A number that is not beyond all bounds, or a text that the host could have: bytes that are no UTF-8 are
    in it as they are in a command line's."""
    if type(value) is str:
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return False
    return type(value) in _PLAIN and (type(value) is not int or -LIMIT < value < LIMIT)


def _record(kind: type[Any], found: Any, what: str) -> Any:
    wanted = get_type_hints(kind)
    if not isinstance(found, dict) or found.keys() != {one.name for one in fields(kind)}:
        raise RecordingError(f"its manifest does not say what belongs to {what!r}")
    for name, value in found.items():
        if type(value) is not wanted[name] or not _is_plain(value):
            raise RecordingError(f"its manifest has a {name!r} that cannot be")
    return kind(**found)


def _texts(found: Any, what: str) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise RecordingError(f"its manifest does not say what belongs to {what!r}")
    return found


def _files(found: Any) -> dict[str, str]:
    files = _texts(found, "files")
    if not {"image", "inputs"} <= files.keys() or not all(
        name in NAMES or DISK.fullmatch(name) for name in files
    ):
        raise RecordingError("its manifest does not name the files of a recording")
    return files
