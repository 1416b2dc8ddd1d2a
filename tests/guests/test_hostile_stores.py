"""A guest whose requests to xenstore are hardly ones, beside one that knows how to ask."""

from __future__ import annotations

import pytest

from paravane import DomainConfig, Machine
from tests.support.hostile import MEMORY, SLICE, counts, kernel, neighbour, run, undisturbed

REQUESTS = 50_000


@pytest.mark.parametrize("seed", [1, 2])
def test_every_request_is_answered_and_nobody_else_hears_of_it(seed: int) -> None:
    """100,000 requests by both seeds together, few of them right. At the end it breaks its ring: xenstore
    serves it no more, and says so in the ring."""
    with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=SLICE) as machine:
        other = neighbour(machine, "store")
        config = DomainConfig(memory=MEMORY, cmdline=f"seed={seed} requests={REQUESTS}")
        hostile = machine.create(kernel("store"), config)
        before = [path for path in machine.store.paths() if path.startswith("/local/domain/1/")]
        run(machine)
        undisturbed(other)
        found = counts(hostile)
        assert found.requests == found.answered >= REQUESTS
        assert found.closed == 1
        assert machine.store.entries(hostile.domid) <= machine.store.quota.nodes
        machine.destroy(hostile)
        left = [path for path in machine.store.paths() if path.startswith("/local/domain/1/")]
        assert set(left) - set(before) == {"/local/domain/1/data/a", "/local/domain/1/data/b"} | {
            "/local/domain/1/data/greeting",
            "/local/domain/1/data/quiet",
        }
