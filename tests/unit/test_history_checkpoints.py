"""Checkpoints of a run take so much memory and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, asm, guest_kernels, load_image
from paravane.history import Position
from paravane.history import checkpoints as module
from paravane.history.checkpoints import Checkpoints
from paravane.recording import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

PLACE = Place(0, 0, True)


@pytest.fixture
def machine() -> Iterator[Machine]:
    memory = 8 << 20
    with Machine(Machine.size_for(memory), slice_instructions=100_000) as machine:
        image = load_image(asm.build(guest_kernels.load("hello").sources))
        machine.create(image, DomainConfig("hello", memory))
        yield machine


def keep(checkpoints: Checkpoints, machine: Machine, turns: range) -> None:
    for turn in turns:
        checkpoints.keep(machine.checkpoint(), Position(turn, 0), PLACE, 0, work=100 * turn)


def test_the_first_and_the_last_stay_and_what_is_long_ago_is_sparse(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 6)
    checkpoints = Checkpoints()
    keep(checkpoints, machine, range(60))
    kept = [one.position.turn for one in checkpoints.before(Position(60, 0))]
    assert len(kept) == len(checkpoints) == 6
    assert (kept[0], kept[-1]) == (59, 0)
    gaps = [later - earlier for later, earlier in zip(kept, kept[1:], strict=False)]
    assert gaps[0] < gaps[-1]


def test_equal_pages_are_there_once(machine: Machine) -> None:
    checkpoints = Checkpoints()
    keep(checkpoints, machine, range(1))
    alone = checkpoints.size
    keep(checkpoints, machine, range(1, 5))
    assert checkpoints.size < 2 * alone
    checkpoints.cut(Position(0, 0))
    assert (len(checkpoints), checkpoints.size) == (1, alone)


def test_too_many_bytes_are_given_up_but_for_the_ends(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 0)
    checkpoints = Checkpoints()
    keep(checkpoints, machine, range(5))
    assert [one.position.turn for one in checkpoints.before(Position(9, 0))] == [4, 0]


def test_the_nearest_one_is_found_and_none_is_kept_twice(machine: Machine) -> None:
    checkpoints = Checkpoints()
    keep(checkpoints, machine, range(3))
    keep(checkpoints, machine, range(3))
    assert len(checkpoints) == 3
    assert checkpoints.last(Position(1, 500)).position == Position(1, 0)
    assert checkpoints.last(Position(1, 0)).position == Position(1, 0)
    assert [one.position.turn for one in checkpoints.before(Position(1, 0))] == [0]
    assert checkpoints.first.machine().now == machine.platform.clock.now()
