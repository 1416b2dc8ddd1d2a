"""What a disk costs: requests through a ring, beside Python's own preadv and pwritev of the same bytes."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from paravane import DomainConfig, Machine
from paravane.abi.blkif import BlkifOp, BlkifRequestSegment, BlkifRsp
from paravane.devices.block import Disk
from tests.support.block import BlockFrontend, indirect, listed, transfer
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 16 << 20
REQUESTS = 32
SEGMENTS = {"1 segment": 1, "11 segments": 11, "indirect, 256": 256}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(random.Random(0).randbytes(SIZE))
    return path


@pytest.fixture(params=["at once", "by its thread"])
def front(request: pytest.FixtureRequest, path: Path) -> Iterator[BlockFrontend]:
    counted = 100_000 if request.param == "at once" else 0
    with Machine(Machine.size_for(MEMORY), slice_instructions=counted) as machine:
        domain = machine.create(image(BLOCK), DomainConfig(memory=MEMORY, devices=(Disk(path),)))
        yield BlockFrontend(machine, domain, pages=128)


@pytest.mark.parametrize("order", ["sequential", "random"])
@pytest.mark.parametrize("segments", SEGMENTS)
@pytest.mark.parametrize("operation", [BlkifOp.READ, BlkifOp.WRITE], ids=["read", "write"])
def test_requests(
    benchmark: Any, front: BlockFrontend, path: Path, operation: BlkifOp, segments: str, order: str
) -> None:
    """A ring full of requests of whole pages and one event, without a guest; what the thread is given is
    waited for. The floor is preadv or pwritev of as many bytes at the same places, page by page."""
    count = SEGMENTS[segments]
    size = count * 4096
    places = [at * size % (SIZE - size) for at in range(REQUESTS)]
    if order == "random":
        places = [random.Random(at).randrange((SIZE - size) // 4096) * 4096 for at in range(REQUESTS)]
    entries = _entries(front, operation, count, [place // 512 for place in places])

    def requests() -> None:
        for entry in entries:
            front.ring.put(entry)
        front.event()
        assert all(answer[2] is BlkifRsp.OKAY for answer in front.wait(REQUESTS))

    benchmark(requests)
    _report(benchmark, size, _floor(path, operation, count, places))


def _entries(front: BlockFrontend, operation: BlkifOp, count: int, sectors: list[int]) -> list[bytes]:
    pages = (front.pages * 2)[:count]
    segments = [BlkifRequestSegment(page.ref, 0, 7) for page in pages]
    if count <= 11:
        return [transfer(operation, sector, segments) for sector in sectors]
    ref, page = front.page()
    page[: count * 8] = listed(segments)
    return [indirect(operation, sector, count, [ref]) for sector in sectors]


def _floor(path: Path, operation: BlkifOp, count: int, places: list[int]) -> float:
    """Seconds of one request, the best of some rounds."""
    buffers = [bytearray(4096) for _ in range(count)]
    call = os.preadv if operation == BlkifOp.READ else os.pwritev
    number = os.open(path, os.O_RDWR)
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        for place in places:
            call(number, buffers, place)
        best = min(best, (time.perf_counter() - began) / len(places))
    os.close(number)
    return best


def _report(benchmark: Any, size: int, floor: float) -> None:
    stats = benchmark.stats
    took = (stats.stats.min if stats is not None else 1.0) / REQUESTS
    benchmark.extra_info.update(
        {
            "microseconds a request": round(took * 1e6, 2),
            "requests a second": round(1 / took),
            "MB a second": round(size / took / 1e6),
            "times the floor": round(took / floor, 1),
            "floor, microseconds": round(floor * 1e6, 2),
        }
    )
