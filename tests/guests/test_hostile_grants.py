"""Two guests whose requests about grants are nearly right, at each other, beside one that lends well."""

from __future__ import annotations

import pytest

from paravane import DomainConfig, Machine
from tests.support.hostile import MEMORY, SLICE, counts, kernel, neighbour, run, undisturbed

REQUESTS = 30_000, 20_000
"""Of the two, of which the second one ends first: with both seeds a hundred thousand."""


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_is_asked_the_books_are_right(seed: int) -> None:
    """Also when the two are taken away, in the middle of what they lend each other: no frame is lost."""
    with Machine(Machine.size_for(*[MEMORY] * 3), slice_instructions=SLICE) as machine:
        memory = machine.platform.memory
        machine.destroy(neighbour(machine, "grants"))  # what the hypervisor itself needs it has from now on
        free = memory.nr_free
        hostile = [
            machine.create(
                kernel("grants"),
                DomainConfig(
                    memory=MEMORY, cmdline=f"seed={seed * 10 + peer} requests={requests} peer={peer}"
                ),
            )
            for peer, requests in zip((3, 2), REQUESTS, strict=True)
        ]
        other = neighbour(machine, "grants", cmdline="peer=4")
        run(machine)
        undisturbed(other)
        for domain, requests in zip(hostile, REQUESTS, strict=True):
            found = counts(domain)
            assert found.requests >= requests
            assert found.answered > requests // 5
        for domain in (other, *hostile):
            machine.destroy(domain)
            assert machine.audit() == []
        assert memory.nr_free == free
