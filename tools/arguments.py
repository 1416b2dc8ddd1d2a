"""Values on the command line: sizes, numbers, definitions; the options that several commands have."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane.abi.shared_info import XEN_LEGACY_MAX_VCPUS
from paravane.text import number_in
from paravane.variation import FAULTS, MOST_JITTER
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_VCPUS: Final = XEN_LEGACY_MAX_VCPUS

_UNITS = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

WATCH_SOURCES: Final = "--watch-sources"
"""The option of `boot`, which is not for the boots that come of it."""


def memory_size(text: str) -> int:
    """`32M`, `65536K`, `1G`, or a bare number of MiB, as bytes; a whole number of pages."""
    digits, unit = text.rstrip("bB"), ""
    if digits and digits[-1].upper() in "KMG":
        digits, unit = digits[:-1], digits[-1].upper()
    count = number_in(digits) if digits.isdigit() else None
    if count is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write 32M, 65536K or 1G")
    size = count * _UNITS[unit]
    if size == 0 or size % PAGE_SIZE:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive multiple of {PAGE_SIZE} bytes")
    return size


def positive_seconds(text: str) -> float:
    """A duration in seconds, fractions allowed."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds


def positive_count(text: str) -> int:
    """A number above zero."""
    found = number_in(text) if text.isdigit() else None
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return found


def socket_path(text: str) -> Path:
    """Where a socket is to be that any program can reach."""
    from paravane.local_socket import LONGEST_PATH  # noqa: PLC0415 - loaded for who asks for it only

    path = Path(os.path.abspath(text))
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise argparse.ArgumentTypeError(f"{text!r} is too long: a socket's path has {LONGEST_PATH} bytes")
    return path


def vcpu_count(text: str) -> int:
    """A number of processors that a domain can have."""
    count = positive_count(text)
    if count > MOST_VCPUS:
        raise argparse.ArgumentTypeError(f"a domain has from 1 to {MOST_VCPUS} vcpus, not {count}")
    return count


def natural_number(text: str) -> int:
    """A number from 0 on."""
    found = number_in(text) if text.isdigit() else None
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return found


def microseconds(text: str) -> int:
    """A number of microseconds, up to a second of them, as nanoseconds."""
    found = natural_number(text) * 1000
    if found > MOST_JITTER:
        raise argparse.ArgumentTypeError(f"{text} us are more than a second")
    return found


def fault_list(text: str) -> tuple[str, ...]:
    """Some of `paravane.variation.FAULTS` with commas between them, in any order, or `all`."""
    wanted = {word.strip() for word in text.split(",")}
    if other := sorted(wanted.difference(FAULTS, {"all"})):
        raise argparse.ArgumentTypeError(
            f"there are no faults of {other[0]!r}: {', '.join(FAULTS)} and all are known"
        )
    return tuple(name for name in FAULTS if name in wanted or "all" in wanted)


def number(text: str) -> int:
    """A number in C's notation: decimal, 0x, 0 for octal."""
    try:
        return int(text, 8) if text.startswith("0") and text.isdigit() else int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def definition(text: str) -> tuple[str, int]:
    """`NAME` (which is 1) or `NAME=VALUE`, for the assembler."""
    name, equals, value = text.partition("=")
    if not name.replace("_", "a").replace(".", "a").isalnum() or name[0].isdigit():
        raise argparse.ArgumentTypeError(f"{name!r} is not a symbol name")
    return name, number(value) if equals else 1


def command_line(words: Sequence[str]) -> str:
    """A kernel's command line of what follows `--`. One word may be a whole line. Of several, each stays a
    word for a kernel that takes its line apart."""
    if len(words) == 1:
        return words[0]
    import shlex  # noqa: PLC0415 - most have no words, or one

    return shlex.join(words)


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that assembles."""
    group = parser.add_argument_group("sources that are assembled or compiled")
    group.add_argument(
        "-I",
        dest="include",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="where .include and .incbin look after the folder of the source; several are searched in order",
    )
    group.add_argument(
        "-D",
        dest="define",
        type=definition,
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="a symbol that every source has (without a value: 1)",
    )
