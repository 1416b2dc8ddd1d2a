"""Snapshots of machines whose disks stand on files: these are given again, and have to be as they were."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from paravane import Machine
from paravane.devices.block import Disk
from paravane.snapshot import SnapshotError
from paravane.together import Guest
from paravane.tools.status import Status
from tests.support.boot import HOST_TIMEOUT, UNHINDERED
from tests.support.machines import Machines
from tests.support.snapshots import Bench, finish

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 2 << 20
MIDDLE = 15_000_000
"""System time at which `block` has written some of it."""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


def saved(path: Path, disk: Disk) -> bytes:
    with Bench(Guest("block", devices=(disk,))).machine() as machine:
        machine.run(timeout=HOST_TIMEOUT, until=MIDDLE)
        machine.save(path)
        (domain,) = machine.domains.values()
        assert domain.reason is None
        return domain.console_output()


def test_what_was_written_over_a_file_is_kept_and_the_file_is_not(image: Path) -> None:
    disk = Disk(image, cow=True)
    before = image.read_bytes()
    with Bench(Guest("block", devices=(disk,))).machine() as machine:
        machine.run(timeout=HOST_TIMEOUT, until=MIDDLE)
        data = machine.save()
        assert len(data) < SIZE + (1 << 20)
        with Machine.restore(data, disks={"block": (disk,)}) as again:
            assert again.save() == data
        outcome = finish(Machine.restore(data, disks={"block": (disk,)}), UNHINDERED)
        assert outcome == finish(machine, UNHINDERED)
    assert outcome.ended == ("poweroff",)
    assert image.read_bytes() == before


def test_a_file_that_its_guest_writes_is_gone_on_with_once(image: Path, tmp_path: Path) -> None:
    disk, path = Disk(image), tmp_path / "machine"
    whole = Bench(Guest("block", devices=(Disk(memory=SIZE),))).alone()
    saved(path, disk)
    with Machine.restore(path, disks={"block": (disk,)}) as machine:
        with pytest.raises(
            SnapshotError, match=r"^the disk xvda cannot be had: .* is in use by another disk$"
        ):
            Machine.restore(path, disks={"block": (disk,)})
        assert finish(machine).consoles == whole.consoles
    with pytest.raises(SnapshotError, match=r"disk\.img was changed since the machine was saved: xvda would"):
        Machine.restore(path, disks={"block": (disk,)})


def test_a_snapshot_opens_no_file_that_it_names(image: Path, tmp_path: Path) -> None:
    path, disk = tmp_path / "machine", Disk(image, cow=True)
    saved(path, disk)
    given: tuple[tuple[tuple[Disk, ...], str], ...] = (
        ((), r"the disk xvda stands on .*disk\.img, which has to be given again"),
        ((Disk(image, "xvdb", cow=True),), "the disk xvda stands on "),
        ((disk, Disk(image, "xvdb", cow=True)), "block had no disk xvdb that stood on a file"),
        ((Disk(image),), "the disk xvda was not given as it was"),
        ((Disk(memory=SIZE),), "the disk xvda was not given as it was"),
        ((Disk(tmp_path / "none", cow=True),), "the disk xvda cannot be had: .*No such file"),
    )
    for disks, sentence in given:
        with pytest.raises(SnapshotError, match=f"^{sentence}"):
            Machine.restore(path, disks={"block": disks})
    os.utime(image, ns=(0, 0))
    with pytest.raises(SnapshotError, match="was changed since the machine was saved"):
        Machine.restore(path, disks={"block": (disk,)})


def test_its_disks_are_given_to_the_command(image: Path, tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    before = saved(tmp_path / "machine", Disk(image, cow=True))
    whole = Bench(Guest("block", devices=(Disk(memory=SIZE),))).alone()
    status, printed, _ = machines.do("restore", "machine", "--disk", "disk.img,xvda,cow")
    assert (status, before + printed.encode()) == (Status.OK, whole.consoles[0])
    status, _, told = machines.do("restore", "machine")
    assert status == Status.IMAGE
    assert told.startswith("paravane: machine: the disk xvda stands on ")
