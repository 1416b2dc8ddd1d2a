"""When what is safe: flushes, hosts that fail, processes and domains that are killed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine
from paravane.abi.blkif import BlkifOp
from paravane.abi.xenbus import XenbusState
from paravane.devices.block import Disk
from tests.support.block import ERROR, NOISE, OKAY, BlockFrontend, flush, transfer
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from pathlib import Path

    from paravane import Image
    from tests.support.block import Attach


def test_barriers_and_flushes_reach_the_host(
    attach: Attach, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, write = os.fdatasync, os.pwritev

    def fdatasync(number: int) -> None:
        done.append("flush")
        sync(number)

    def pwritev(*arguments: object) -> int:
        done.append("write")
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    monkeypatch.setattr(os, "pwritev", pwritev)
    front = attach(Disk(path))
    assert front.put(0, bytes(512)) is OKAY
    assert done == ["write"]
    assert front.put(0, bytes(512), BlkifOp.WRITE_BARRIER) is OKAY
    assert done == ["write", "flush", "write", "flush"]
    assert front.ask(flush()) == [OKAY]
    assert front.ask(transfer(BlkifOp.WRITE_BARRIER, 0, [])) == [OKAY]
    # Linux knows no sector for a barrier without data, and says -1.
    assert front.ask(transfer(BlkifOp.WRITE_BARRIER, (1 << 64) - 1, [])) == [OKAY]
    assert done[4:] == ["flush"] * 3


def test_a_file_that_is_cut_short_gives_errors(
    attach: Attach, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    front = attach(Disk(path))
    os.truncate(path, 100 * 512)
    assert front.read(99, 1) == (OKAY, NOISE[99 * 512 : 100 * 512])
    assert front.read(99, 2)[0] is ERROR
    assert front.read(4000, 8)[0] is ERROR
    assert "vbd/51712: READ of 1024 bytes at 50688: the file is shorter than the disk" in caplog.text
    for _ in range(40):
        front.read(4000, 8)
    assert caplog.text.count("shorter than the disk") == 10
    assert "more of it is not logged" in caplog.text


def test_a_full_host_disk_gives_errors_and_tears_no_sector(
    attach: Attach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host takes a part of a write and then no more: as a file that may grow no further does."""
    path = tmp_path / "small.img"
    path.write_bytes(bytes(1 << 20))
    front = attach(Disk(path))
    write = os.pwritev

    def pwritev(number: int, buffers: list[memoryview], place: int, flags: int = 0) -> int:
        if place >= 8192:
            raise OSError(28, "No space left on device")
        return write(number, [b"".join(buffers)[: 8192 - place]], place)

    monkeypatch.setattr(os, "pwritev", pwritev)
    assert front.put(8, b"x" * 16384) is ERROR
    assert path.read_bytes()[:16384] == bytes(4096) + b"x" * 4096 + bytes(8192)
    assert front.put(0, b"y" * 4096) is OKAY
    assert front.read(0, 8) == (OKAY, b"y" * 4096)


@pytest.mark.parametrize("fails", ["sectors", "map"])
def test_an_overlay_on_a_full_host_disk_has_old_sectors_or_new_ones(
    attach: Attach, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Whichever of its two writes the host refuses: that of the data, or that of the map that names them."""
    front = attach(Disk(path, cow=True, cow_file=tmp_path / "changes.cow"))
    assert front.put(0, b"x" * 4096) is OKAY
    write, full = os.pwritev, True

    def pwritev(number: int, buffers: list[memoryview], place: int, flags: int = 0) -> int:
        if full and (sum(map(len, buffers)) >= 512) == (fails == "sectors"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(number, buffers, place, flags)

    monkeypatch.setattr(os, "pwritev", pwritev)
    assert front.put(8, b"y" * 4096) is ERROR
    assert front.read(8, 8) == (OKAY, NOISE[4096:8192])
    # The map says of these already that they are in the file.
    assert front.put(0, b"z" * 4096) is (ERROR if fails == "sectors" else OKAY)
    assert front.read(0, 8) == (OKAY, (b"x" if fails == "sectors" else b"z") * 4096)
    full = False
    assert front.put(8, b"y" * 4096) is OKAY
    assert front.read(0, 16)[1][4096:] == b"y" * 4096


@pytest.mark.parametrize("told", [True, False])
def test_what_the_host_has_in_its_cache_is_read_without_the_thread(
    path: Path, kernel: Image, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """A file system that cannot tell is asked once."""
    read, asked = os.preadv, list[int]()

    def preadv(number: int, buffers: list[memoryview], place: int, flags: int = 0) -> int:
        if flags:
            asked.append(place)
            if not told:
                raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return read(number, buffers, place)

    monkeypatch.setattr(os, "preadv", preadv)
    with Machine(Machine.size_for(MEMORY)) as machine:
        domain = machine.create(kernel, DomainConfig(memory=MEMORY, devices=(Disk(path),)))
        front = BlockFrontend(machine, domain)
        for sector in range(0, 80, 8):
            front.ring.put(transfer(BlkifOp.READ, sector, front.spread(8)))
            front.event()
            assert machine.platform.bus.host_works == (0 if told else 1)
            assert front.wait(1) == [(7, BlkifOp.READ, OKAY)]
            assert bytes(front.pages[0].data) == NOISE[sector * 512 : (sector + 8) * 512]
    assert len(asked) == (10 if told else 1)


def test_a_device_that_closes_midway_drops_no_write(attach: Attach, machine: Machine, path: Path) -> None:
    """What was taken from the ring is carried out, and the file is whole when the device is gone."""
    front = attach(Disk(path))
    for sector in range(0, 80, 8):
        front.pages[0].data[:] = bytes([sector + 1]) * 4096
        front.ring.put(transfer(BlkifOp.WRITE, sector, front.spread(8)))
        front.event()
    front.switch(XenbusState.Closed)
    front.switch(XenbusState.Initialising)
    front.connect()
    assert front.read(72, 8) == (OKAY, bytes([73]) * 4096)
    (device,) = front.domain.devices
    machine.detach(front.domain, device, force=True)
    assert path.read_bytes()[: 80 * 512] == b"".join(bytes([at + 1]) * 4096 for at in range(0, 80, 8))


def test_a_domain_dies_with_requests_under_way(
    attach: Attach, machine: Machine, kernel: Image, path: Path
) -> None:
    """The next one on that disk finds all of them carried out."""
    front = attach(Disk(path))
    front.pages[0].data[:] = b"!" * 4096
    for number in range(20):
        front.ring.put(transfer(BlkifOp.WRITE, number * 8, front.spread(8)))
    front.event()
    machine.destroy(front.domain)
    machine.create(kernel, DomainConfig(memory=MEMORY, devices=(Disk(path),)))
    assert path.read_bytes()[: 160 * 512] == b"!" * 160 * 512


KILLED = """
import os, signal, sys
from pathlib import Path
from paravane import DomainConfig, Machine
from paravane.abi.blkif import BlkifOp
from paravane.devices.block import Disk
from tests.support.block import BlockFrontend, flush
from tests.support.small_machines import BLOCK, MEMORY, image
path, overlay = sys.argv[1:]
machine = Machine(Machine.size_for(MEMORY))
disk = Disk(path, cow=overlay != "", cow_file=overlay or None)
front = BlockFrontend(machine, machine.create(image(BLOCK), DomainConfig(memory=MEMORY, devices=(disk,))))
number = 0
while True:
    number += 1
    for sector in (number * 88 % 2048, 3000):
        front.put(sector, number.to_bytes(4, "little") * 128 * 88)
    front.ask(flush())
    print(number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("copied", [False, True])
def test_a_killed_process_loses_nothing_that_was_flushed(path: Path, tmp_path: Path, copied: bool) -> None:
    overlay = tmp_path / "changes.cow" if copied else None
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), str(overlay or "")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(30):
            flushed = int(process.stdout.readline())
        process.kill()  # in the middle of a write, as often as not
    with Machine(Machine.size_for(MEMORY)) as machine:
        disk = Disk(path, cow=copied, cow_file=overlay)
        domain = machine.create(image(BLOCK), DomainConfig(memory=MEMORY, devices=(disk,)))
        front = BlockFrontend(machine, domain)
        for number in range(flushed - 20, flushed + 1):
            _, data = front.read(number * 88 % 2048, 88)
            assert data == number.to_bytes(4, "little") * 128 * 88
        _, data = front.read(3000, 88)
        latest = {int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 512)}
        assert all(data[at : at + 512] == data[at : at + 4] * 128 for at in range(0, len(data), 512))
        assert min(latest) >= flushed
