"""What requests do to the disk behind them, and what wrong ones come to."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from paravane import Domain, Kind, Machine, RingRecord
from paravane.abi.blkif import BlkifOp, BlkifRequestSegment
from paravane.abi.xenbus import XenbusState
from paravane.devices.block import Disk
from tests.support.block import (
    ERROR,
    NOISE,
    OKAY,
    SECTORS,
    UNKNOWN,
    BlockFrontend,
    discard,
    flush,
    indirect,
    listed,
    transfer,
)

if TYPE_CHECKING:
    from pathlib import Path

    from paravane import Record
    from tests.support.block import Attach


def test_the_disk_says_what_it_is(attach: Attach, path: Path) -> None:
    front = attach(Disk(path))
    told = {name: front.backend(name) for name in ("sectors", "sector-size", "info", "dev", "mode")}
    assert told == {"sectors": "4096", "sector-size": "512", "info": "0", "dev": "xvda", "mode": "w"}
    features = ("feature-barrier", "feature-flush-cache", "feature-discard", "discard-secure")
    assert [front.backend(name) for name in features] == ["1"] * 4
    assert front.backend("feature-max-indirect-segments") == "256"
    assert front.backend("max-ring-page-order") == "4"


@pytest.mark.parametrize(("sector", "count"), [(0, 1), (1, 7), (8, 8), (100, 88), (SECTORS - 88, 88)])
def test_reads_and_writes_are_those_of_the_file(attach: Attach, path: Path, sector: int, count: int) -> None:
    front = attach(Disk(path))
    assert front.read(sector, count) == (OKAY, NOISE[sector * 512 : (sector + count) * 512])
    data = random.Random(sector).randbytes(count * 512)
    assert front.put(sector, data) is OKAY
    whole = path.read_bytes()
    assert whole == NOISE[: sector * 512] + data + NOISE[(sector + count) * 512 :]
    assert front.read(sector, count) == (OKAY, data)


def test_segments_are_parts_of_pages_in_any_order(attach: Attach, path: Path) -> None:
    front = attach(Disk(path))
    for page in front.pages:
        page.data[:] = bytes(4096)
    one, two = front.pages[5], front.pages[2]
    segments = [BlkifRequestSegment(one.ref, 3, 4), BlkifRequestSegment(two.ref, 7, 7)]
    assert front.ask(transfer(BlkifOp.READ, 10, segments)) == [OKAY]
    assert one.data == bytes(3 * 512) + NOISE[10 * 512 : 12 * 512] + bytes(3 * 512)
    assert two.data == bytes(7 * 512) + NOISE[12 * 512 : 13 * 512]


def test_indirect_requests_take_up_to_256_segments(attach: Attach, path: Path) -> None:
    front = attach(Disk(path), pages=128)
    first, lists = front.page()
    pages = front.pages * 2
    segments = [BlkifRequestSegment(page.ref, at // 128, at // 128) for at, page in enumerate(pages)]
    lists[:2048] = listed(segments)
    assert front.ask(indirect(BlkifOp.READ, 5, 256, [first])) == [OKAY]
    found = b"".join(bytes(page.data[at // 128 * 512 :][:512]) for at, page in enumerate(pages))
    assert found == NOISE[5 * 512 : (5 + 256) * 512]
    assert front.ask(indirect(BlkifOp.WRITE, 1000, 256, [first])) == [OKAY]
    assert path.read_bytes()[1000 * 512 : 1256 * 512] == found
    for bad in (
        indirect(BlkifOp.READ, 0, 0, [first]),
        indirect(BlkifOp.READ, 0, 257, [first]),
        indirect(BlkifOp.READ, 0, 65535, [first]),
        indirect(BlkifOp.READ, 0, 1, [4000]),
        indirect(BlkifOp.READ, SECTORS - 255, 256, [first]),
    ):
        assert front.ask(bad) == [ERROR]
    for operation in (BlkifOp.FLUSH_DISKCACHE, BlkifOp.INDIRECT, BlkifOp.DISCARD, 77):
        assert front.ask(indirect(operation, 0, 1, [first])) == [ERROR]


@pytest.mark.parametrize("operation", [BlkifOp.FLUSH_DISKCACHE, BlkifOp.WRITE_BARRIER])
def test_flushes_and_barriers_write_what_they_bring(attach: Attach, path: Path, operation: BlkifOp) -> None:
    """Without segments it does not matter what place they name."""
    front = attach(Disk(path))
    data = random.Random(operation).randbytes(9 * 512)
    assert front.put(40, data, operation) is OKAY
    assert path.read_bytes() == NOISE[: 40 * 512] + data + NOISE[49 * 512 :]
    assert front.ask(transfer(operation, (1 << 64) - 1, [])) == [OKAY]
    assert front.put(SECTORS - 8, data, operation) is ERROR


@pytest.mark.parametrize("operation", [BlkifOp.FLUSH_DISKCACHE, BlkifOp.WRITE_BARRIER])
def test_a_read_only_disk_offers_no_flushes_and_carries_none_out(
    attach: Attach, path: Path, operation: BlkifOp
) -> None:
    """As Linux's backend has it on a read-only loop device: both are writes, whatever they bring."""
    front = attach(Disk(path, read_only=True))
    assert [front.backend(name) for name in ("feature-flush-cache", "feature-barrier")] == ["0", "0"]
    assert front.ask(transfer(operation, 0, [])) == [ERROR]
    assert front.put(0, bytes(512), operation) is ERROR
    assert front.read(0, 8) == (OKAY, NOISE[:4096])


@pytest.mark.parametrize("pages", [1, 2, 16])
def test_a_full_ring_of_any_size_is_answered_in_order(attach: Attach, path: Path, pages: int) -> None:
    front = attach(Disk(path), ring_pages=pages)
    assert front.ring.size == 32 * pages
    for turn in range(2):
        for number in range(front.ring.size):
            segments = [BlkifRequestSegment(front.pages[0].ref, 0, 0)]
            front.ring.put(transfer(BlkifOp.READ, number, segments, number + turn))
        front.event()
        found = front.wait(front.ring.size)
        assert [answer[0] for answer in found] == [number + turn for number in range(front.ring.size)]
        assert {answer[2] for answer in found} == {OKAY}


def test_a_ring_may_be_told_in_pages_as_older_frontends_do(
    machine: Machine, attach: Attach, path: Path
) -> None:
    front = attach(Disk(path))
    assert front.backend("max-ring-pages") == "16"
    front.switch(XenbusState.Closed)
    front.switch(XenbusState.Initialising)
    front.connect(ring_pages=4, told_by="num-ring-pages")
    assert front.read(0, 8) == (OKAY, NOISE[:4096])
    for pages in (0, 3, 32):
        front.switch(XenbusState.Closed)
        front.switch(XenbusState.Initialising)
        front.write("num-ring-pages", pages)
        assert front.switch(XenbusState.Initialised) is XenbusState.Closing
        assert front.backend("error")


def test_answers_have_the_id_of_a_request_and_what_it_does(attach: Attach, path: Path) -> None:
    front = attach(Disk(path))
    lists, page = front.page()
    segment = BlkifRequestSegment(front.pages[0].ref, 0, 0)
    page[:8] = listed([segment])
    big = (1 << 64) - 2
    front.ring.put(transfer(BlkifOp.WRITE, 0, [segment], big))
    front.ring.put(indirect(BlkifOp.READ, 0, 1, [lists], big - 1))
    front.ring.put(discard(8, 8, number=3))
    front.ring.put(flush(4))
    front.ring.put(transfer(99, 0, [segment], 5))
    front.ring.put(indirect(99, 0, 1, [lists], 6))
    front.event()
    assert sorted(front.wait(6)) == sorted(
        [
            (big, BlkifOp.WRITE, OKAY),
            (big - 1, BlkifOp.READ, OKAY),
            (3, BlkifOp.DISCARD, OKAY),
            (4, BlkifOp.FLUSH_DISKCACHE, OKAY),
            (5, 99, UNKNOWN),
            (6, 99, ERROR),
        ]
    )


def test_the_trace_has_requests_and_answers(attach: Attach, machine: Machine, path: Path) -> None:
    front = attach(Disk(path))
    records: list[Record] = []
    machine.trace.subscribe(records.append, (Kind.RING,))
    front.ask(transfer(BlkifOp.READ, 3, front.spread(8), 77), discard(0, 8, number=78))
    front.ask(transfer(99, 0, [], 79))
    told = [
        (record.name, record.op, record.size, record.id, record.status)
        for record in records
        if isinstance(record, RingRecord) and record.device == "block"
    ]
    assert sorted(told, key=str) == [
        ("request", "DISCARD", 4096, 78, ""),
        ("request", "READ", 4096, 77, ""),
        ("response", "99", 0, 79, "EOPNOTSUPP"),
        ("response", "DISCARD", 4096, 78, "OKAY"),
        ("response", "READ", 4096, 77, "OKAY"),
    ]


@pytest.mark.parametrize(
    ("sector", "segments"),
    [
        (SECTORS, [(0, 0)]),
        (SECTORS - 1, [(0, 1)]),
        ((1 << 64) - 1, [(0, 7)]),
        (1 << 55, [(0, 7)]),
        (0, [(1, 0)]),
        (0, [(0, 8)]),
        (0, [(255, 255)]),
        (0, [(0, 7), (0, 7), (7, 8)]),
        (0, []),
    ],
)
def test_requests_beyond_the_disk_or_the_page_change_nothing(
    attach: Attach, path: Path, sector: int, segments: list[tuple[int, int]]
) -> None:
    front = attach(Disk(path))
    listed = [BlkifRequestSegment(front.pages[0].ref, *piece) for piece in segments]
    assert front.ask(transfer(BlkifOp.WRITE, sector, listed)) == [ERROR]
    assert front.ask(transfer(BlkifOp.READ, sector, listed)) == [ERROR]
    assert path.read_bytes() == NOISE
    assert front.read(0, 8) == (OKAY, NOISE[:4096])


def test_one_bad_grant_fails_the_whole_request(attach: Attach, path: Path) -> None:
    front = attach(Disk(path))
    good = BlkifRequestSegment(front.pages[0].ref, 0, 7)
    readonly, _ = front.page(readonly=True)
    for ref in (0xFFFF_FFFF, 400, 100_000):
        bad = BlkifRequestSegment(ref, 0, 7)
        for operation in (BlkifOp.READ, BlkifOp.WRITE):
            front.pages[0].data[:] = b"?" * 4096
            assert front.ask(transfer(operation, 0, [good, bad])) == [ERROR]
            assert bytes(front.pages[0].data) == b"?" * 4096
    assert front.ask(transfer(BlkifOp.READ, 0, [BlkifRequestSegment(readonly, 0, 7)])) == [ERROR]
    assert path.read_bytes() == NOISE
    assert front.ask(transfer(BlkifOp.WRITE, 0, [BlkifRequestSegment(readonly, 0, 7)])) == [OKAY]


def test_more_than_eleven_segments_are_refused(attach: Attach, path: Path) -> None:
    front = attach(Disk(path))
    entry = bytearray(transfer(BlkifOp.WRITE, 0, front.spread(88)))
    for count in (12, 255):
        entry[1] = count
        assert front.ask(bytes(entry)) == [ERROR]
    assert path.read_bytes() == NOISE


def test_a_read_only_disk_is_only_read(attach: Attach, path: Path) -> None:
    path.chmod(0o444)
    front = attach(Disk(path, read_only=True))
    assert front.backend("info") == "4"
    assert front.backend("mode") == "r"
    assert front.read(0, 8) == (OKAY, NOISE[:4096])
    for request in (
        transfer(BlkifOp.WRITE, 0, front.spread(1)),
        transfer(BlkifOp.WRITE_BARRIER, 0, front.spread(1)),
        discard(0, 8),
    ):
        assert front.ask(request) == [ERROR]
    assert path.read_bytes() == NOISE


def test_a_cdrom_is_one(attach: Attach, path: Path) -> None:
    front = attach(Disk(path, "xvdc", cdrom=True))
    assert front.backend("device-type") == "cdrom"
    assert front.backend("info") == "7"
    assert front.put(0, bytes(512)) is ERROR


def test_sectors_of_4096_bytes(attach: Attach, path: Path) -> None:
    os.truncate(path, len(NOISE) + 512)  # not a whole sector
    front = attach(Disk(path, sector_size=4096))
    assert front.backend("sector-size") == "4096"
    assert front.backend("sectors") == str(SECTORS)
    assert front.read(8, 8) == (OKAY, NOISE[4096:8192])
    assert front.read(4, 8)[0] is ERROR
    assert front.read(8, 4)[0] is ERROR
    assert front.put(8, bytes(2048)) is ERROR
    assert front.put(8, bytes(4096)) is OKAY


def test_a_read_sees_the_writes_before_it(attach: Attach, path: Path) -> None:
    """Requests of one batch, whichever way each of them is carried out."""
    front = attach(Disk(path))
    one, other = front.pages[:2]
    for turn in range(20):
        one.data[:] = bytes([turn]) * 4096
        front.ring.put(transfer(BlkifOp.WRITE, 16, [BlkifRequestSegment(one.ref, 0, 7)]))
        front.ring.put(transfer(BlkifOp.READ, 16, [BlkifRequestSegment(other.ref, 0, 7)]))
        front.event()
        assert {status for _, _, status in front.wait(2)} == {OKAY}
        assert bytes(other.data) == bytes([turn]) * 4096


def test_a_grant_that_is_taken_back_midway_fails_that_request(attach: Attach, path: Path) -> None:
    front = attach(Disk(path))
    page = front.pages[3]
    page.data[:] = b"?" * 4096
    front.ring.put(transfer(BlkifOp.READ, 0, [BlkifRequestSegment(page.ref, 0, 7)]))
    front.event()
    if front.machine.platform.bus.host_works:
        front.revoke(page.ref)
        assert front.wait(1) == [(7, BlkifOp.READ, ERROR)]
        assert bytes(page.data) == b"?" * 4096
    else:
        assert front.wait(1) == [(7, BlkifOp.READ, OKAY)]
    assert front.read(0, 8) == (OKAY, NOISE[:4096])


def test_requests_are_read_once(attach: Attach, path: Path) -> None:
    """What a guest writes over its request and its pages, once it was taken, changes nothing."""
    front = attach(Disk(path))
    front.pages[0].data[:] = b"A" * 4096
    front.ring.put(transfer(BlkifOp.WRITE, 0, front.spread(8)))
    front.event()
    if front.machine.platform.bus.host_works:  # else its place has the answer by now
        front.ring._write(0, bytes(108))
    front.pages[0].data[:] = b"B" * 4096
    assert front.wait(1) == [(7, BlkifOp.WRITE, OKAY)]
    assert path.read_bytes()[:4096] == b"A" * 4096


def test_other_protocols_are_refused(machine: Machine, domain: Domain, path: Path) -> None:
    machine.attach(domain, Disk(path))
    front = BlockFrontend(machine, domain)
    front.switch(XenbusState.Closed)
    front.switch(XenbusState.Initialising)
    front.write("protocol", "x86_64-abi")
    assert front.switch(XenbusState.Initialised) is XenbusState.Closing
    assert "protocol" in front.backend("error")
