"""Structs of numbers as hypercalls read them (`GuestCopy.words_from_guest`): where they are, or in pieces."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

import pytest

from paravane.cpu import PageFault
from paravane.guest_copy import GuestCopy
from tests.support.cpu_bench import DATA, Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 4096
WORDS = Struct("<III")
HOLE = DATA + PAGE + 64
"""In the page after DATA's; what is from there on is refused, though it is mapped."""


@pytest.fixture
def copy() -> Iterator[GuestCopy]:
    bench = Bench()
    yield GuestCopy(bench.cpu, HOLE)
    bench.close()


@pytest.mark.parametrize("at", [DATA, DATA + 2, DATA + PAGE - 12, DATA + PAGE - 8, DATA + PAGE, HOLE - 12])
def test_words_are_those_that_a_copy_has(copy: GuestCopy, at: int) -> None:
    copy.cpu.write(DATA, bytes(range(256)) * 32)
    assert copy.words_from_guest(WORDS, at) == WORDS.unpack(copy.copy_from_guest(at, WORDS.size))


@pytest.mark.parametrize("at", [HOLE - 11, HOLE, 0x5000, DATA - 12 + (1 << 20), 0xFFFF_FFFA])
def test_words_out_of_reach_are_refused_as_a_copy_is(copy: GuestCopy, at: int) -> None:
    with pytest.raises(PageFault) as copied:
        copy.copy_from_guest(at, WORDS.size)
    with pytest.raises(PageFault) as read:
        copy.words_from_guest(WORDS, at)
    assert (read.value.va, read.value.error_code) == (copied.value.va, copied.value.error_code)
