"""Disks: what each request does to the file behind it, and what wrong ones and wrong files come to."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from paravane import Domain, DomainConfig, Kind, Machine, RingRecord
from paravane.abi.blkif import BlkifOp, BlkifRequestSegment, BlkifRsp
from paravane.abi.xenbus import XenbusState
from paravane.devices.block import Disk
from tests.support.block import BlockFrontend, discard, flush, indirect, listed, transfer
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from paravane import Image, Record

    Boot = Callable[..., BlockFrontend]

OKAY, ERROR, UNKNOWN = BlkifRsp.OKAY, BlkifRsp.ERROR, BlkifRsp.EOPNOTSUPP
SECTORS = 4096
NOISE = random.Random("disk").randbytes(SECTORS * 512)


@pytest.fixture(scope="module")
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
def attach(machine: Machine, domain: Domain) -> Boot:
    def attach(disk: Disk, **options: int) -> BlockFrontend:
        machine.attach(domain, disk)
        return BlockFrontend(machine, domain, disk.vdev, **options)

    return attach


def test_the_disk_says_what_it_is(attach: Boot, path: Path) -> None:
    front = attach(Disk(path))
    told = {name: front.backend(name) for name in ("sectors", "sector-size", "info", "dev", "mode")}
    assert told == {"sectors": "4096", "sector-size": "512", "info": "0", "dev": "xvda", "mode": "w"}
    features = ("feature-barrier", "feature-flush-cache", "feature-discard", "discard-secure")
    assert [front.backend(name) for name in features] == ["1"] * 4
    assert front.backend("feature-max-indirect-segments") == "256"
    assert front.backend("max-ring-page-order") == "4"


@pytest.mark.parametrize(("sector", "count"), [(0, 1), (1, 7), (8, 8), (100, 88), (SECTORS - 88, 88)])
def test_reads_and_writes_are_those_of_the_file(attach: Boot, path: Path, sector: int, count: int) -> None:
    front = attach(Disk(path))
    assert front.read(sector, count) == (OKAY, NOISE[sector * 512 : (sector + count) * 512])
    data = random.Random(sector).randbytes(count * 512)
    assert front.put(sector, data) is OKAY
    whole = path.read_bytes()
    assert whole == NOISE[: sector * 512] + data + NOISE[(sector + count) * 512 :]
    assert front.read(sector, count) == (OKAY, data)


def test_segments_are_parts_of_pages_in_any_order(attach: Boot, path: Path) -> None:
    front = attach(Disk(path))
    for page in front.pages:
        page.data[:] = bytes(4096)
    one, two = front.pages[5], front.pages[2]
    segments = [BlkifRequestSegment(one.ref, 3, 4), BlkifRequestSegment(two.ref, 7, 7)]
    assert front.ask(transfer(BlkifOp.READ, 10, segments)) == [OKAY]
    assert one.data == bytes(3 * 512) + NOISE[10 * 512 : 12 * 512] + bytes(3 * 512)
    assert two.data == bytes(7 * 512) + NOISE[12 * 512 : 13 * 512]


def test_indirect_requests_take_up_to_256_segments(attach: Boot, path: Path) -> None:
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
        assert front.ask(indirect(operation, 0, 1, [first])) == [UNKNOWN]


@pytest.mark.parametrize("pages", [1, 2, 16])
def test_a_full_ring_of_any_size_is_answered_in_order(attach: Boot, path: Path, pages: int) -> None:
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


def test_answers_have_the_id_of_a_request_and_what_it_does(attach: Boot, path: Path) -> None:
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
    front.event()
    assert sorted(front.wait(5)) == sorted(
        [
            (big, BlkifOp.WRITE, OKAY),
            (big - 1, BlkifOp.READ, OKAY),
            (3, BlkifOp.DISCARD, OKAY),
            (4, BlkifOp.FLUSH_DISKCACHE, OKAY),
            (5, 99, UNKNOWN),
        ]
    )


def test_the_trace_has_requests_and_answers(attach: Boot, machine: Machine, path: Path) -> None:
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


def test_barriers_and_flushes_reach_the_host(
    attach: Boot, path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert done[4:] == ["flush", "flush"]


@pytest.mark.parametrize("flag", [0, 1])
def test_discarded_sectors_read_as_zeros_and_take_no_space(attach: Boot, path: Path, flag: int) -> None:
    before = path.stat().st_blocks
    front = attach(Disk(path))
    assert front.ask(discard(0, SECTORS // 2, flag)) == [OKAY]
    assert front.read(0, 88) == (OKAY, bytes(88 * 512))
    assert path.read_bytes() == bytes(len(NOISE) // 2) + NOISE[len(NOISE) // 2 :]
    assert path.stat().st_blocks <= before // 2
    assert front.ask(discard(0, 0)) == [OKAY]
    assert front.ask(discard(1, SECTORS)) == [ERROR]
    assert front.ask(discard((1 << 64) - 1, (1 << 64) - 1)) == [ERROR]


def test_a_sparse_file_stays_sparse(attach: Boot, tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 1 << 40)
    front = attach(Disk(path))
    assert front.backend("sectors") == str(1 << 31)
    assert front.put((1 << 31) - 8, b"x" * 4096) is OKAY
    assert front.read((1 << 31) - 16, 16) == (OKAY, bytes(4096) + b"x" * 4096)
    assert path.stat().st_blocks <= 64


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
    attach: Boot, path: Path, sector: int, segments: list[tuple[int, int]]
) -> None:
    front = attach(Disk(path))
    listed = [BlkifRequestSegment(front.pages[0].ref, *piece) for piece in segments]
    assert front.ask(transfer(BlkifOp.WRITE, sector, listed)) == [ERROR]
    assert front.ask(transfer(BlkifOp.READ, sector, listed)) == [ERROR]
    assert path.read_bytes() == NOISE
    assert front.read(0, 8) == (OKAY, NOISE[:4096])


def test_one_bad_grant_fails_the_whole_request(attach: Boot, path: Path) -> None:
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


def test_more_than_eleven_segments_are_refused(attach: Boot, path: Path) -> None:
    front = attach(Disk(path))
    entry = bytearray(transfer(BlkifOp.WRITE, 0, front.spread(88)))
    for count in (12, 255):
        entry[1] = count
        assert front.ask(bytes(entry)) == [ERROR]
    assert path.read_bytes() == NOISE


def test_a_read_only_disk_is_only_read(attach: Boot, path: Path) -> None:
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


def test_what_is_odd_about_a_file_is_said(
    machine: Machine, domain: Domain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "odd.img"
    path.write_bytes(b"QFI\xfb".ljust(1024 + 5))
    machine.attach(domain, Disk(path))
    assert "odd.img: its last 5 bytes are no whole sector, and not on the disk" in caplog.text
    assert "odd.img looks like a qcow2 image, and is taken as a raw one" in caplog.text


def test_a_cdrom_is_one(attach: Boot, path: Path) -> None:
    front = attach(Disk(path, "xvdc", cdrom=True))
    assert front.backend("device-type") == "cdrom"
    assert front.backend("info") == "7"
    assert front.put(0, bytes(512)) is ERROR


def test_sectors_of_4096_bytes(attach: Boot, path: Path) -> None:
    os.truncate(path, len(NOISE) + 512)  # not a whole sector
    front = attach(Disk(path, sector_size=4096))
    assert front.backend("sector-size") == "4096"
    assert front.backend("sectors") == str(SECTORS)
    assert front.read(8, 8) == (OKAY, NOISE[4096:8192])
    assert front.read(4, 8)[0] is ERROR
    assert front.read(8, 4)[0] is ERROR
    assert front.put(8, bytes(2048)) is ERROR
    assert front.put(8, bytes(4096)) is OKAY


def test_a_disk_in_memory(attach: Boot) -> None:
    front = attach(Disk(memory=1 << 20))
    assert front.read(2040, 8) == (OKAY, bytes(4096))
    assert front.put(2040, NOISE[:4096]) is OKAY
    assert front.read(2040, 8) == (OKAY, NOISE[:4096])
    assert front.ask(discard(0, 2048, 1)) == [OKAY]
    assert front.read(2040, 8) == (OKAY, bytes(4096))


@pytest.mark.parametrize("in_file", [False, True])
def test_copy_on_write_leaves_the_base_alone(
    machine: Machine, attach: Boot, path: Path, tmp_path: Path, in_file: bool
) -> None:
    path.chmod(0o444)
    overlay = tmp_path / "changes.cow" if in_file else None
    front = attach(Disk(path, cow=True, cow_file=overlay))
    model = bytearray(NOISE)
    chance = random.Random("cow")
    for _ in range(60):
        sector, count = chance.randrange(200), chance.randrange(1, 40)
        if chance.random() < 0.5:
            data = chance.randbytes(count * 512)
            assert front.put(sector, data) is OKAY
            model[sector * 512 : (sector + count) * 512] = data
        elif chance.random() < 0.2:
            assert front.ask(discard(sector, count, chance.randrange(2))) == [OKAY]
            model[sector * 512 : (sector + count) * 512] = bytes(count * 512)
        else:
            assert front.read(sector, count) == (OKAY, bytes(model[sector * 512 : (sector + count) * 512]))
    assert path.read_bytes() == NOISE
    (device,) = front.domain.devices
    machine.detach(front.domain, device, force=True)
    again = attach(Disk(path, cow=True, cow_file=overlay))
    assert again.read(0, 88) == (OKAY, bytes(model[: 88 * 512]) if in_file else NOISE[: 88 * 512])
    if overlay is not None:
        assert overlay.stat().st_blocks * 512 < len(NOISE) // 4


def test_an_overlay_of_another_disk_is_refused(
    machine: Machine, domain: Domain, path: Path, tmp_path: Path
) -> None:
    overlay, other = tmp_path / "changes.cow", tmp_path / "other.img"
    other.write_bytes(NOISE[:-512])
    machine.detach(domain, machine.attach(domain, Disk(path, cow=True, cow_file=overlay)))
    with pytest.raises(ValueError, match="made over a disk of another size"):
        machine.attach(domain, Disk(other, cow=True, cow_file=overlay))
    with pytest.raises(ValueError, match="no copy-on-write file of Paravane's"):
        machine.attach(domain, Disk(path, cow=True, cow_file=other))
    assert other.read_bytes() == NOISE[:-512]
    # Nothing is left open by any of it.
    machine.attach(domain, Disk(path, cow=True, cow_file=overlay))
    machine.attach(domain, Disk(other, "xvdb"))


def test_a_file_has_one_writer(machine: Machine, domain: Domain, path: Path) -> None:
    first = machine.attach(domain, Disk(path))
    for disk in (Disk(path, "xvdb"), Disk(path, "xvdb", read_only=True), Disk(path, "xvdb", cow=True)):
        with pytest.raises(ValueError, match="disk.img is (in use|being written) by another disk"):
            machine.attach(domain, disk)
    machine.detach(domain, first)
    machine.attach(domain, Disk(path, read_only=True))
    machine.attach(domain, Disk(path, "xvdb", cow=True))
    with pytest.raises(ValueError, match="in use"):
        machine.attach(domain, Disk(path, "xvdc"))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing", "nothing: No such file or directory"),
        (".", "Is a directory"),
        ("/dev/null", "/dev/null is neither a file nor a block device"),
        ("empty", "is too short for a disk: it has 0 bytes"),
        ("nul\0", "is no file's name"),
        ("a/b", "No such file or directory"),
    ],
)
def test_files_that_are_no_disks(
    machine: Machine, domain: Domain, tmp_path: Path, name: str, sentence: str
) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match=sentence):
        machine.attach(domain, Disk(os.path.join(tmp_path, name)))


def test_a_file_that_is_cut_short_gives_errors(
    attach: Boot, path: Path, caplog: pytest.LogCaptureFixture
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
    attach: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_a_read_sees_the_writes_before_it(attach: Boot, path: Path) -> None:
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


def test_a_grant_that_is_taken_back_midway_fails_that_request(attach: Boot, path: Path) -> None:
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


def test_requests_are_read_once(attach: Boot, path: Path) -> None:
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


def test_a_device_that_closes_midway_drops_no_write(attach: Boot, machine: Machine, path: Path) -> None:
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


def test_a_domain_dies_with_requests_under_way(attach: Boot, machine: Machine, path: Path) -> None:
    front = attach(Disk(path))
    front.pages[0].data[:] = b"!" * 4096
    for number in range(20):
        front.ring.put(transfer(BlkifOp.WRITE, number * 8, front.spread(8)))
    front.event()
    machine.destroy(front.domain)
    assert path.read_bytes()[: 160 * 512] == b"!" * 160 * 512


def test_other_protocols_are_refused(machine: Machine, domain: Domain, path: Path) -> None:
    machine.attach(domain, Disk(path))
    front = BlockFrontend(machine, domain)
    front.switch(XenbusState.Closed)
    front.switch(XenbusState.Initialising)
    front.write("protocol", "x86_64-abi")
    assert front.switch(XenbusState.Initialised) is XenbusState.Closing
    assert "protocol" in front.backend("error")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "a disk is a file, or so many bytes of memory"),
        ({"path": "x", "memory": 512}, "a disk is a file, or so many bytes of memory"),
        ({"memory": -1}, "a disk in memory has up to"),
        ({"path": "x", "vdev": "floppy"}, "no disk can be called 'floppy'"),
        ({"path": "x", "sector_size": 1024}, "a sector has 512 or 4096 bytes"),
        ({"path": "x", "cow": True, "read_only": True}, "copy-on-write is for a disk"),
        ({"path": "x", "cow_file": "y"}, "a cow_file is for a disk that is copied on write"),
    ],
)
def test_settings_that_are_no_disk(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Disk(**settings)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="vdev must be str"):
        Disk("x", vdev=5)  # type: ignore[arg-type]


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
