"""A disk on a file, and a frontend of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from paravane import Domain, DomainConfig, Image, Machine
from tests.support.block import NOISE, BlockFrontend
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from paravane.devices.block import Disk
    from tests.support.block import Attach


@pytest.fixture(scope="session")
def kernel() -> Image:
    return image(BLOCK)


@pytest.fixture(params=["at once", "by its thread"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Counted slices have everything done at once. Others leave to a thread what may wait: what is written,
    and here, what is read, as the host says that it has none of it in its cache."""
    counted = 100_000 if request.param == "at once" else 0
    if request.param == "by its thread":
        read = os.preadv

        def preadv(number: int, buffers: list[memoryview], place: int, flags: int = 0) -> int:
            if flags:
                raise BlockingIOError
            return read(number, buffers, place)

        monkeypatch.setattr(os, "preadv", preadv)
    with Machine(Machine.size_for(2 * MEMORY), slice_instructions=counted) as machine:
        yield machine
        assert machine.audit() == []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(NOISE)
    return path


@pytest.fixture
def domain(machine: Machine, kernel: Image) -> Domain:
    return machine.create(kernel, DomainConfig(memory=MEMORY))


@pytest.fixture
def attach(machine: Machine, domain: Domain) -> Attach:
    def attach(disk: Disk, **options: int) -> BlockFrontend:
        machine.attach(domain, disk)
        return BlockFrontend(machine, domain, disk.vdev, **options)

    return attach
