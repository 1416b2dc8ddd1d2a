"""A guest that scribbles on the ring of its disk, beside one that works on the same base."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine
from paravane.devices.block import Disk
from tests.support.hostile import MEMORY, SLICE, counts, kernel, neighbour, run, undisturbed

if TYPE_CHECKING:
    from pathlib import Path

MANY, FEW = 30_000, 2_000
"""Requests of one seed, few where the host's disk is waited for. With those of
tests/property/test_block_fuzz.py they are a hundred thousand."""


@pytest.mark.parametrize(
    ("seed", "words", "counted"),
    [(1, "", True), (2, "rewriter", True), (3, "", False), (4, "rewriter", False)],
    ids=["alone", "two-vcpus", "threads", "two-vcpus-threads"],
)
def test_a_hostile_frontend_harms_nobody(tmp_path: Path, seed: int, words: str, counted: bool) -> None:
    """Where the run is not counted, disks' threads work on files while the guest goes on."""
    base = tmp_path / "base.img"
    base.write_bytes(b"?" * (4 << 20))
    files = [None if counted else tmp_path / f"{name}.cow" for name in ("hostile", "other")]
    disks = [Disk(base, cow=True, cow_file=file) for file in files]
    requests = MANY if counted else FEW
    with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=SLICE * counted) as machine:
        config = DomainConfig(
            memory=MEMORY,
            vcpus=2,
            cmdline=f"seed={seed} requests={requests} {words}",
            devices=(disks[0],),
        )
        hostile = machine.create(kernel("block", "block"), config)
        other = neighbour(machine, "block", [disks[1]])
        run(machine)
        undisturbed(other)
        found = counts(hostile)
        assert hostile.console_output().endswith(b"the disk still serves\n")
    assert found.requests >= requests
    if counted:  # else the guest gives up on answers that the host's disk takes its time for
        assert found.answered > found.requests * 9 // 10
        assert found.closed > 10
    assert base.read_bytes() == b"?" * (4 << 20)
