"""Whose turn it is, among domains with disks: no depth of a queue and no slow disk takes another one's."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Image, Machine
from paravane.abi.blkif import BlkifOp, BlkifRequestSegment
from paravane.devices.block import Disk
from tests.support.block import NOISE, OKAY, BlockFrontend, transfer
from tests.support.boot import HOST_TIMEOUT
from tests.support.small_machines import MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(MEMORY, MEMORY, MEMORY)) as machine:
        yield machine
        assert machine.audit() == []


def with_disk(machine: Machine, kernel: Image, disk: Disk, ring_pages: int = 1) -> BlockFrontend:
    domain = machine.create(kernel, DomainConfig(memory=MEMORY, devices=(disk,)))
    return BlockFrontend(machine, domain, ring_pages=ring_pages)


def test_domains_have_equal_turns_however_deep_their_queues_are(machine: Machine, kernel: Image) -> None:
    """A turn is a portion of work for each: as many requests of one as of another that has as many left, and
    none waits for more than a portion of each of the others."""
    depths = (512, 128, 5)
    fronts = [with_disk(machine, kernel, Disk(memory=1 << 20), ring_pages=16) for _ in depths]
    for front, depth in zip(fronts, depths, strict=True):
        for number in range(depth):
            front.ring.put(transfer(BlkifOp.READ, 0, front.spread(8), number))
        front.domain.events.send(front.port)
    bus, done = machine.platform.bus, [0, 0, 0]
    assert len(bus.due) == 3
    while bus.due:
        bus.turn()
        answered = [len(front.answers()) for front in fronts]
        done = [before + now for before, now in zip(done, answered, strict=True)]
        assert done[2] == 5, "all of the short queue in the first turn"
        if done[1] < 128:
            assert 5 < answered[0] == answered[1] < 512 / 4
    assert done == list(depths)


def slow_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The host takes no write to a file before the event is set."""
    write, may_go_on = os.pwritev, threading.Event()

    def pwritev(number: int, *arguments: object) -> int:
        if os.readlink(f"/proc/self/fd/{number}") == str(path):
            assert may_go_on.wait(HOST_TIMEOUT)
        return write(number, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "pwritev", pwritev)
    return may_go_on


def test_a_disk_that_the_host_is_slow_with_holds_no_other_disk_up(
    machine: Machine, kernel: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host has not taken the first domain's write when the second one's have long been answered."""
    slow, quick = tmp_path / "slow.img", tmp_path / "quick.img"
    for path in (slow, quick):
        path.write_bytes(NOISE)
    may_go_on = slow_writes(slow, monkeypatch)
    one, other = (with_disk(machine, kernel, Disk(path)) for path in (slow, quick))
    one.ring.put(transfer(BlkifOp.WRITE, 0, one.spread(8)))
    one.event()
    for sector in range(0, 80, 8):
        assert other.put(sector, bytes(4096)) is OKAY
    assert one.answers() == []
    assert quick.read_bytes()[: 80 * 512] == bytes(80 * 512)
    may_go_on.set()
    assert [status for _, _, status in one.wait(1)] == [OKAY]


def test_nobody_waits_for_a_disk_that_goes_but_who_wants_its_file(
    machine: Machine, kernel: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its domain ends while the host is slow with a write, which is carried out nevertheless."""
    slow, quick = tmp_path / "slow.img", tmp_path / "quick.img"
    for path in (slow, quick):
        path.write_bytes(NOISE)
    may_go_on = slow_writes(slow, monkeypatch)
    one, other = (with_disk(machine, kernel, Disk(path)) for path in (slow, quick))
    one.ring.put(transfer(BlkifOp.WRITE, 0, one.spread(8)))
    one.event()
    machine.destroy(one.domain)
    assert machine.platform.bus.host_works == 0  # virtual time waits for nobody who is gone
    assert other.put(0, bytes(4096)) is OKAY
    assert slow.read_bytes() == NOISE
    threading.Timer(0.01, may_go_on.set).start()
    again = with_disk(machine, kernel, Disk(slow))
    assert slow.read_bytes()[:4096] != NOISE[:4096]
    assert again.put(8, bytes(4096)) is OKAY


def test_a_machine_waits_for_its_disks_when_it_is_closed(
    kernel: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(NOISE)
    may_go_on = slow_writes(path, monkeypatch)
    with Machine(Machine.size_for(MEMORY)) as machine:
        front = with_disk(machine, kernel, Disk(path))
        front.ring.put(transfer(BlkifOp.WRITE, 0, front.spread(8)))
        front.event()
        threading.Timer(0.01, may_go_on.set).start()
    assert path.read_bytes()[:4096] != NOISE[:4096]


def test_a_read_does_not_overtake_a_write_of_the_same_disk(
    machine: Machine, kernel: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the host's cache is read at once, but not while a write before it is under way."""
    path = tmp_path / "disk.img"
    path.write_bytes(NOISE)
    may_go_on = slow_writes(path, monkeypatch)
    front = with_disk(machine, kernel, Disk(path))
    page, other = front.pages[:2]
    page.data[:] = b"w" * 4096
    front.ring.put(transfer(BlkifOp.WRITE, 0, front.spread(8), 1))
    front.ring.put(transfer(BlkifOp.READ, 0, [BlkifRequestSegment(other.ref, 0, 7)], 2))
    front.event()
    assert front.answers() == []
    may_go_on.set()
    assert [number for number, _, _ in front.wait(2)] == [1, 2]
    assert bytes(other.data) == b"w" * 4096
