"""A guest that scribbles on the pages of both its consoles, beside one that has something to say."""

from __future__ import annotations

import pytest

from paravane import DomainConfig, Machine
from paravane.devices.console import ExtraConsole, parse_console
from tests.support.hostile import MEMORY, SLICE, counts, kernel, neighbour, run, undisturbed

KICKS = 10_000
TYPED = b"typed " * 1000


@pytest.mark.parametrize(("seed", "words"), [(1, ""), (2, "rewriter")], ids=["alone", "two-vcpus"])
def test_hostile_rings_harm_nobody_and_serve_again(seed: int, words: str) -> None:
    """Also while there is more input than the rings take."""
    heard = bytearray()
    with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=SLICE) as machine:
        other = neighbour(machine, "store")
        extra = ExtraConsole(1, parse_console("stdio"), sink=heard.extend)
        config = DomainConfig(
            memory=MEMORY, vcpus=2, cmdline=f"seed={seed} requests={KICKS} {words}", devices=(extra,)
        )
        hostile = machine.create(kernel("console"), config)
        assert hostile.console.feed(TYPED) == len(TYPED)
        run(machine)
        undisturbed(other)
        found = counts(hostile)
    assert found.requests >= KICKS
    assert found.answered > KICKS // 2
    assert found.closed > KICKS // 1000
    assert heard.endswith(b"the console still serves\n")
