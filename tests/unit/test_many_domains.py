"""What a domain costs does not grow with the number of others on its machine.

Counted are calls and not time, so that the verdict is the same on every host.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, load_image
from tests.support.boot import kernel_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from paravane import Image

MEMORY = 4 << 20
FEW, MANY = 2, 40


def calls_of(work: Callable[[], object]) -> int:
    """How many functions, of Python and of C, are called in it."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


@pytest.fixture
def image() -> Image:
    return load_image(kernel_image('.include "runtime.inc"\nXEN_NOTES\n.text\nmain:\n ret\n'))


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(*[MEMORY] * (MANY + 1))) as made:
        yield made


def test_a_domain_among_many_is_made_and_taken_away_with_the_work_of_one_among_few(
    machine: Machine, image: Image
) -> None:
    made = []
    costs = []
    for others in (FEW, MANY):
        while len(machine.domains) < others:
            machine.create(image, DomainConfig(memory=MEMORY))
        create = calls_of(lambda: made.append(machine.create(image, DomainConfig(memory=MEMORY))))
        costs.append((create, calls_of(lambda: machine.destroy(made.pop()))))
    (few_made, few_gone), (many_made, many_gone) = costs
    # Where its frames lie differs a little from one time to the next.
    assert many_made <= few_made * 1.1
    assert many_gone <= few_gone * 1.1


def test_a_new_domain_is_announced_in_the_store_when_it_can_use_it(image: Image) -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        heard: list[bytes] = []
        machine.store.watch(
            "@introduceDomain",
            lambda path: heard.append(machine.store.find("/local/domain/1/store/port") or b""),
        )
        machine.create(image, DomainConfig(memory=MEMORY))
        assert heard == [b"", b"1"]
