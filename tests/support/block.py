"""A frontend of a disk, played from outside."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from paravane.abi.blkif import (
    BLKIF_REQUEST,
    BLKIF_REQUEST_DISCARD,
    BLKIF_REQUEST_INDIRECT,
    BLKIF_REQUEST_SEGMENT,
    BLKIF_RESPONSE,
    BLKIF_RING_ENTRY_SIZE,
    BlkifOp,
    BlkifRequest,
    BlkifRequestDiscard,
    BlkifRequestIndirect,
    BlkifRequestSegment,
    BlkifRsp,
)
from paravane.abi.xenbus import XenbusState
from paravane.devices.block import number_of
from tests.support.frontend import Frontend, FrontRing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane import Domain, Machine

    Attach = Callable[..., "BlockFrontend"]

OKAY, ERROR, UNKNOWN = BlkifRsp.OKAY, BlkifRsp.ERROR, BlkifRsp.EOPNOTSUPP
SECTORS = 4096
NOISE = random.Random("disk").randbytes(SECTORS * 512)
"""What is on a disk of so many sectors."""

NO_SEGMENT = BlkifRequestSegment(0, 0, 0)


class Page(NamedTuple):
    ref: int
    data: memoryview


class BlockFrontend(Frontend):
    """A disk's frontend, connected, with some pages for data."""

    def __init__(
        self, machine: Machine, domain: Domain, vdev: str = "xvda", *, ring_pages: int = 1, pages: int = 11
    ) -> None:
        super().__init__(machine, domain, "vbd", number_of(vdev))
        self.ring: FrontRing
        self.pages = [Page(*self.page()) for _ in range(pages)]
        self.connect(ring_pages)

    def connect(self, ring_pages: int = 1, *, told_by: str = "ring-page-order") -> None:
        self.ring = self.offer_ring(BLKIF_RING_ENTRY_SIZE, ring_pages, told_by=told_by)
        self.write("protocol", "x86_32-abi")
        assert self.switch(XenbusState.Initialised) is XenbusState.Connected
        self.switch(XenbusState.Connected)

    def answers(self) -> list[tuple[int, int, BlkifRsp]]:
        """What has been answered: id, operation, status."""
        found = [BLKIF_RESPONSE.unpack(entry) for entry in self.ring.take()]
        return [(answer.id, answer.operation, BlkifRsp(answer.status)) for answer in found]

    def ask(self, *requests: bytes) -> list[BlkifRsp]:
        """Their statuses, once all are answered."""
        for request in requests:
            self.ring.put(request)
        self.event()
        return [status for _, _, status in self.wait(len(requests))]

    def wait(self, count: int) -> list[tuple[int, int, BlkifRsp]]:
        """So many answers, of requests that a thread may be working on."""
        found = self.answers()
        while len(found) < count:
            assert self.machine.platform.bus.host_works, f"{len(found)} answers, and nobody works on others"
            self.machine._inbox.deliver(None)
            self.serve()
            found += self.answers()
        return found

    def read(self, sector: int, count: int) -> tuple[BlkifRsp, bytes]:
        """So many sectors, up to 88."""
        (status,) = self.ask(transfer(BlkifOp.READ, sector, self.spread(count)))
        return status, b"".join(bytes(page.data) for page in self.pages)[: count * 512]

    def put(self, sector: int, data: bytes, operation: int = BlkifOp.WRITE) -> BlkifRsp:
        """Write whole sectors, up to 88."""
        for at in range(0, len(data), 4096):
            page = data[at : at + 4096]
            self.pages[at // 4096].data[: len(page)] = page
        (status,) = self.ask(transfer(operation, sector, self.spread(len(data) // 512)))
        return status

    def spread(self, count: int) -> list[BlkifRequestSegment]:
        """Segments for so many sectors, in the frontend's pages from the first on."""
        return [
            BlkifRequestSegment(page.ref, 0, min(count - at * 8, 8) - 1)
            for at, page in enumerate(self.pages)
            if at * 8 < count
        ]


def transfer(operation: int, sector: int, segments: Sequence[BlkifRequestSegment], number: int = 7) -> bytes:
    """A read, a write or a barrier."""
    padded = (*segments, *[NO_SEGMENT] * (11 - len(segments)))[:11]
    return BLKIF_REQUEST.pack(BlkifRequest(operation, len(segments), 0, number, sector, padded))


def flush(number: int = 7) -> bytes:
    return transfer(BlkifOp.FLUSH_DISKCACHE, 0, [], number)


def discard(sector: int, count: int, flag: int = 0, number: int = 7) -> bytes:
    return BLKIF_REQUEST_DISCARD.pack(
        BlkifRequestDiscard(BlkifOp.DISCARD, flag, 0, number, sector, count)
    ).ljust(BLKIF_RING_ENTRY_SIZE, b"\0")


def indirect(operation: int, sector: int, count: int, refs: Sequence[int], number: int = 7) -> bytes:
    padded = (*refs, *[0] * 8)[:8]
    request = BlkifRequestIndirect(BlkifOp.INDIRECT, operation, count, number, sector, 0, padded, 0)
    return BLKIF_REQUEST_INDIRECT.pack(request).ljust(BLKIF_RING_ENTRY_SIZE, b"\0")


def listed(segments: Sequence[BlkifRequestSegment]) -> bytes:
    """The contents of a page of segments."""
    return b"".join(map(BLKIF_REQUEST_SEGMENT.pack, segments))
