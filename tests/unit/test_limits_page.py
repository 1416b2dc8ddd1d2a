"""The page of limits has the numbers that the code has."""

from __future__ import annotations

import pytest

from paravane.abi.netif import XEN_NETIF_MAX_TX_SIZE
from paravane.abi.shared_info import XEN_LEGACY_MAX_VCPUS
from paravane.asm.model import MAX_OUTPUT
from paravane.asm.reader import MAX_STATEMENTS
from paravane.builder import module
from paravane.devices.block.config import MOST_MEMORY, SECTOR_SIZES
from paravane.devices.block.device import MOST_RING_ORDER
from paravane.devices.block.request import MOST_INDIRECT
from paravane.devices.net.choices import MOST_QUEUES
from paravane.devices.net.multicast import MOST_GROUPS
from paravane.devices.net.packet import MOST_SLOTS
from paravane.devices.net.receiver import MOST_QUEUED, PATIENCE
from paravane.devices.net.switch import AGEING, MOST_STATIONS
from paravane.devices.xenbus.complaints import MOST as COMPLAINTS
from paravane.devices.xenstore import Quota
from paravane.devices.xenstore.store_socket import CLIENT_LIMITS, MOST_CLIENTS
from paravane.image import elf, lines, unpack
from paravane.memory.address_space import MAX_FRAMES
from paravane.quick import KEPT
from paravane.tools.files import LARGEST
from paravane.tools.report_page import frames, places, tables, timeline
from paravane.x86 import PAGE_SIZE
from tests.support.documents import ROOT

QUOTA = Quota()
PAGE = ROOT / "docs" / "limits.md"


def row(name: str) -> str:
    """What the table says of something."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if cells[0] == name:
            return cells[1]
    raise AssertionError(f"{PAGE} has no row {name!r}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("processors", f"up to {XEN_LEGACY_MAX_VCPUS} vcpus for each domain"),
        ("memory", f"one machine of {MAX_FRAMES * PAGE_SIZE >> 30} GiB at most"),
        ("xenstore", f"{QUOTA.nodes:,} nodes of less than {QUOTA.node_size:,} bytes"),
        ("xenstore", f"{QUOTA.watches} watches, {QUOTA.transactions} transactions"),
        (
            "xenstore",
            f"{QUOTA.transaction_nodes:,} nodes each and {QUOTA.transaction_memory / (1 << 20)} MiB",
        ),
        ("xenstore", f"{QUOTA.requests} answers and {QUOTA.queued_events >> 20} MiB of watch events"),
        (
            "xenstore",
            f"{MOST_CLIENTS} programs at a time at its socket, with {CLIENT_LIMITS.watches:,} watches",
        ),
        ("network", f"frames of up to {XEN_NETIF_MAX_TX_SIZE:,} bytes in up to {MOST_SLOTS} slots"),
        ("network", f"{MOST_QUEUES} queues and {MOST_GROUPS} multicast groups"),
        ("network", f"{MOST_QUEUED >> 10} KiB of frames wait"),
        ("network", f"has posted no pages, for {PATIENCE // 10**9} s,"),
        ("network", f"{MOST_STATIONS} stations of each port, for {AGEING // 10**9} s"),
        ("sources", f"{MAX_OUTPUT >> 20} MiB of output and {MAX_STATEMENTS:,} statements"),
        ("images and ramdisks", f"{LARGEST >> 30} GiB as files"),
        ("images and ramdisks", f"a packed kernel may unpack to {unpack.MAX_UNPACKED >> 20} MiB"),
        ("images and ramdisks", f"a ramdisk to {module.MAX_UNPACKED >> 30} GiB"),
        ("disks", f"memory (up to {MOST_MEMORY >> 30} GiB)"),
        ("disks", f"sectors of {SECTOR_SIZES[0]} and {SECTOR_SIZES[1]} bytes"),
        ("disks", f"up to {MOST_INDIRECT} segments in a request and {1 << MOST_RING_ORDER} pages in a ring"),
        ("disks", f"the first {COMPLAINTS} of each disk are logged"),
        ("symbols and lines", f"{elf.MAX_SYMBOLS:,} symbols and {lines.MAX_ROWS:,} line rows"),
        ("results in Python", f"the last {KEPT:,} records"),
        ("pages of `report`", f"{timeline.MOST_RECORDS:,} records of the timeline one by one"),
        ("pages of `report`", f"{timeline.MOST_BINS:,} bins; {timeline.MOST_LANES} vcpus"),
        ("pages of `report`", f"{frames.MOST_FRAMES:,} frames and {frames.MOST_CHANGES:,} changes"),
        ("pages of `report`", f"{tables.MOST_TABLES:,} page tables; {places.MOST_PLACES:,} places"),
        ("pages of `report`", f"{places.MOST_LINES:,} lines of source"),
    ],
)
def test_a_number_is_the_codes(name: str, words: str) -> None:
    assert words in row(name)
