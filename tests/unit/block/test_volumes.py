"""What a disk stands on, and files that are no disk."""

from __future__ import annotations

import errno
import os
import random
from typing import TYPE_CHECKING

import pytest

from paravane.devices.block import Disk
from tests.support.block import ERROR, NOISE, OKAY, SECTORS, discard

if TYPE_CHECKING:
    from pathlib import Path

    from paravane import Domain, Machine
    from tests.support.block import Attach


@pytest.mark.parametrize("flag", [0, 1])
def test_discarded_sectors_read_as_zeros_and_take_no_space(attach: Attach, path: Path, flag: int) -> None:
    before = path.stat().st_blocks
    front = attach(Disk(path))
    assert front.ask(discard(0, SECTORS // 2, flag)) == [OKAY]
    assert front.read(0, 88) == (OKAY, bytes(88 * 512))
    assert path.read_bytes() == bytes(len(NOISE) // 2) + NOISE[len(NOISE) // 2 :]
    assert path.stat().st_blocks <= before // 2
    assert front.ask(discard(0, 0)) == [OKAY]
    assert front.ask(discard(1, SECTORS)) == [ERROR]
    assert front.ask(discard((1 << 64) - 1, (1 << 64) - 1)) == [ERROR]


def test_a_sparse_file_stays_sparse(attach: Attach, tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 1 << 40)
    front = attach(Disk(path))
    assert front.backend("sectors") == str(1 << 31)
    assert front.put((1 << 31) - 8, b"x" * 4096) is OKAY
    assert front.read((1 << 31) - 16, 16) == (OKAY, bytes(4096) + b"x" * 4096)
    assert path.stat().st_blocks <= 64


def test_what_is_odd_about_a_file_is_said(
    machine: Machine, domain: Domain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "odd.img"
    path.write_bytes(b"QFI\xfb".ljust(1024 + 5))
    machine.attach(domain, Disk(path))
    assert "odd.img: its last 5 bytes are no whole sector, and not on the disk" in caplog.text
    assert "odd.img looks like a qcow2 image, and is taken as a raw one" in caplog.text


def test_a_disk_in_memory(attach: Attach) -> None:
    front = attach(Disk(memory=1 << 20))
    assert front.read(2040, 8) == (OKAY, bytes(4096))
    assert front.put(2040, NOISE[:4096]) is OKAY
    assert front.read(2040, 8) == (OKAY, NOISE[:4096])
    assert front.ask(discard(0, 2048, 1)) == [OKAY]
    assert front.read(2040, 8) == (OKAY, bytes(4096))


def test_a_discard_costs_its_guest_what_keeps_the_machine_busy(
    machine: Machine, attach: Attach, path: Path
) -> None:
    front, bus = attach(Disk(path)), machine.platform.bus
    front.ring.put(discard(0, SECTORS))
    front.domain.events.send(front.port)
    units = bus.turn()
    at_once = not bus.host_works
    assert (units >= SECTORS // 8) is at_once
    assert [status for _, _, status in front.wait(1)] == [OKAY]


@pytest.mark.parametrize("in_file", [False, True])
def test_copy_on_write_leaves_the_base_alone(
    machine: Machine, attach: Attach, path: Path, tmp_path: Path, in_file: bool
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


def test_a_file_that_the_host_cannot_read_is_no_disk(
    machine: Machine, domain: Domain, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def preadv(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "preadv", preadv)
        with pytest.raises(ValueError, match=r"disk\.img cannot be read: Input/output error"):
            machine.attach(domain, Disk(path))
    machine.attach(domain, Disk(path))  # which nobody else has open any more


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
