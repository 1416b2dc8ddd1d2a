"""What tshark, a program that knows nothing of us, reads in a capture."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.support.needs import tool

if TYPE_CHECKING:
    from pathlib import Path

_CHECKED = ("ip", "tcp", "udp")
_BAD = "0"
"""tshark's `checksum.status` of one that is wrong."""


def dissect(capture: Path, *fields: str, only: str = "") -> list[list[str]]:
    """The named fields of each packet of a capture, with all checksums looked at; `only` is a display
    filter."""
    command = [tool("tshark"), "-n", "-r", str(capture), "-T", "fields"]
    for protocol in _CHECKED:
        command += ["-o", f"{protocol}.check_checksum:TRUE"]
    for field in fields:
        command += ["-e", field]
    if only:
        command += ["-Y", only]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def bad_checksums(capture: Path) -> list[list[str]]:
    """The packets of which tshark says that a checksum is wrong."""
    statuses = ("ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "icmp.checksum.status")
    wrong = " or ".join(f"{status} == {_BAD}" for status in statuses)
    return dissect(capture, "frame.number", only=wrong)
