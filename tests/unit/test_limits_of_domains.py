"""The page of limits has the numbers of what a domain may have."""

from __future__ import annotations

import pytest

from paravane.cpu.engine.library import HOST_MEMORY
from paravane.devices.xenbus import complaints
from paravane.domain import TRANSCRIPT
from paravane.events import MAX_EVENT_CHANNELS
from paravane.grants import MAX_GRANT_FRAMES, MAX_MAPTRACK_FRAMES
from paravane.log_limit import LogRate
from paravane.toolstack import SLACK_PAGES
from paravane.watchdog import WATCHDOGS
from paravane.x86 import PAGE_SIZE
from tests.unit.test_limits_page import row


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("processors", f"where the host has not {HOST_MEMORY >> 20} MiB more"),
        ("frames", f"{SLACK_PAGES * PAGE_SIZE >> 20} MiB besides"),
        ("ports", f"{MAX_EVENT_CHANNELS:,}, those of"),
        ("frames of grants", f"{MAX_GRANT_FRAMES}, and {MAX_MAPTRACK_FRAMES:,} of handles"),
        ("timers", f"{WATCHDOGS} watchdogs"),
        ("lines in the log", f"{LogRate().burst:,} at once, then {LogRate().per_second} a second"),
        ("lines about a device", str(complaints.MOST)),
        ("console output that is kept", f"{TRANSCRIPT >> 20} MiB"),
    ],
)
def test_a_number_is_the_codes(name: str, words: str) -> None:
    assert words in row(name)
