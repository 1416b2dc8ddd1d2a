"""Hostile frontends of disks: whatever they put into a ring, each request taken is answered once, the file
changes only where a request that was carried out says so, and the machine's books stay right.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paravane import DomainConfig, Machine
from paravane.abi.blkif import BLKIF_RING_ENTRY_SIZE, BlkifOp, BlkifRequestSegment, BlkifRsp
from paravane.abi.xenbus import XenbusState
from paravane.devices.block import Disk
from paravane.devices.block.request import Geometry, Rejected, parse
from tests.support.block import BlockFrontend, discard, indirect, listed, transfer
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTORS = 256
BATCH = 32
EDGES = (0, 3, 7, 8, 255)
"""Sectors of a page where segments begin and end; a page has 8."""

REQUESTS = 36_000
"""With those that a guest makes itself (tests/guests/test_hostile_disks.py) they are a hundred thousand."""

KINDS = 2000
"""Different requests that all of them are made of, every other one with a byte changed."""


@pytest.fixture(scope="module")
def front() -> Iterator[BlockFrontend]:
    """A disk in memory, whose frontend lives through everything that follows."""
    with Machine(Machine.size_for(MEMORY), slice_instructions=100_000) as machine:
        disk = Disk(memory=SECTORS * 512)
        domain = machine.create(image(BLOCK), DomainConfig(memory=MEMORY, devices=(disk,)))
        yield BlockFrontend(machine, domain)
        assert machine.audit() == []


def reconnect(front: BlockFrontend) -> None:
    """A frontend that is closed may come back."""
    front.switch(XenbusState.Closed)
    assert front.switch(XenbusState.Initialising) is XenbusState.InitWait
    words = front.ring.pages[0]
    words[:] = bytes(len(words))
    front.ring.produced = front.ring.consumed = 0
    front.ring.set("req_event", 1)
    front.ring.set("rsp_event", 1)
    front.write("event-channel", front.listen())
    assert front.switch(XenbusState.Initialised) is XenbusState.Connected


def entry(chance: random.Random, front: BlockFrontend, lists: tuple[int, memoryview]) -> bytes:
    """A request: any bytes, or nearly right."""
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(BLKIF_RING_ENTRY_SIZE)
    refs = [page.ref for page in front.pages] + [0, 1, lists[0], chance.getrandbits(32), 511]
    sector = chance.choice([0, 8, SECTORS - 1, SECTORS, chance.randrange(SECTORS), chance.getrandbits(64)])
    segments = [
        BlkifRequestSegment(chance.choice(refs), chance.choice(EDGES), chance.choice(EDGES))
        for _ in range(chance.randrange(12))
    ]
    number = chance.getrandbits(64)
    if kind == 1:
        lists[1][: len(segments) * 8] = listed(segments)
        count = chance.choice([len(segments), 0, 1, 256, 257, 65535])
        return indirect(chance.randrange(8), sector, count, [chance.choice(refs) for _ in range(8)], number)
    if kind == 2:
        return discard(
            sector, chance.choice([0, 1, 8, SECTORS, chance.getrandbits(64)]), chance.getrandbits(8), number
        )
    request = bytearray(transfer(chance.choice([*BlkifOp, 0, 1, 255]), sector, segments, number))
    if kind == 3:
        request[1] = chance.getrandbits(8)  # more segments than there are
    if kind == 4:
        request[chance.randrange(len(request))] = chance.getrandbits(8)
    return bytes(request)


def test_every_hostile_request_is_answered_once(front: BlockFrontend) -> None:
    chance = random.Random("hostile")
    lists = front.page()
    statuses = dict.fromkeys(BlkifRsp, 0)
    kinds = [entry(chance, front, lists) for _ in range(KINDS)]
    for _ in range(REQUESTS // BATCH):
        sent = [bytearray(request) for request in chance.choices(kinds, k=BATCH)]
        for request in sent[::2]:
            request[chance.randrange(len(request))] = chance.getrandbits(8)
        for request in sent:
            front.ring.put(bytes(request))
        front.event()
        answers = front.answers()
        assert len(answers) == BATCH
        for request, (number, operation, status) in zip(sent, answers, strict=True):
            does = request[1] if request[0] == BlkifOp.INDIRECT else request[0]
            assert (number, operation) == (int.from_bytes(request[4:12], "little"), does)
            statuses[status] += 1
    assert front.backend_state is XenbusState.Connected
    assert min(statuses.values()) > REQUESTS // 100, statuses


def test_indices_that_jump_close_the_device_and_it_comes_back(front: BlockFrontend) -> None:
    chance = random.Random("indices")
    for _ in range(200):
        jump = chance.choice([33, 64, 1 << 31, 0xFFFF_FFFF, chance.randrange(33, 1 << 32)])
        front.ring.set("req_prod", front.ring.produced + jump)
        front.ring.set("rsp_prod", chance.getrandbits(32))
        front.event()
        assert front.backend_state is XenbusState.Closing
        assert "its ring is impossible" in front.backend("error")
        reconnect(front)
    assert front.put(0, b"x" * 512) is BlkifRsp.OKAY


def test_a_guest_that_scribbles_on_its_ring_harms_itself_only(front: BlockFrontend) -> None:
    """Any bytes anywhere in the shared page, between any two events, and grants that come and go."""
    chance = random.Random("scribble")
    ring = front.ring.pages[0]
    for _ in range(3000):
        at = chance.choice([0, 4, 8, 12, chance.randrange(4096)])
        data = chance.choice(
            [struct.pack("<I", chance.randrange(40)), chance.randbytes(chance.randrange(1, 64))]
        )
        ring[at : at + len(data)] = data[: 4096 - at]
        front.event()
        if front.backend_state is not XenbusState.Connected:
            reconnect(front)
    reconnect(front)
    assert front.put(8, b"y" * 512) is BlkifRsp.OKAY
    assert front.read(8, 1) == (BlkifRsp.OKAY, b"y" * 512)


@given(
    st.binary(min_size=BLKIF_RING_ENTRY_SIZE, max_size=BLKIF_RING_ENTRY_SIZE),
    st.sampled_from([512, 4096]),
    st.booleans(),
    st.binary(min_size=64, max_size=64),
)
@settings(max_examples=200)
def test_what_is_parsed_lies_on_the_disk_and_in_its_pages(
    entry: bytes, sector: int, read_only: bool, segments: bytes
) -> None:
    page = segments * 64
    disk = Geometry(1 << 20, sector, read_only)
    for operation in (entry[0], *BlkifOp):
        try:
            request = parse(bytes([operation]) + entry[1:], disk, lambda gref: page)
        except Rejected:
            continue
        assert 0 <= request.place <= request.place + request.length <= disk.size
        assert request.place % sector == request.length % sector == 0
        assert all(0 <= piece.start < piece.end <= 4096 for piece in request.pieces)
        if request.pieces:
            assert sum(piece.end - piece.start for piece in request.pieces) == request.length
        assert request.operation == BlkifOp.READ or not read_only
