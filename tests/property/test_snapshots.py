"""Wherever a machine is stopped, saved and restored, it goes on as one that was left alone: the same
consoles, trace and end, and the hypervisor's books in order."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from paravane import Machine
from paravane.devices.block import Disk
from paravane.devices.net.vif import Vif, parse_vif
from paravane.together import Guest
from paravane.trace.text import line
from tests.support.boot import HOST_TIMEOUT, UNHINDERED
from tests.support.snapshots import Bench, finish

if TYPE_CHECKING:
    from paravane.trace import Record

KINDS = UNHINDERED
PLACES = 3
"""Random points of each kernel's life."""

ALONE = (
    "balloon",
    "batch",
    "clock",
    "debug",
    "events",
    "failsafe",
    "fpu",
    "poll",
    "segments",
    "store",
    "traps",
    "writable",
)
PAIR = ("ping peer=2 balls=40", "pong peer=1 balls=40")
TALK = ("ip=10.0.0.1 peer=10.0.0.2", "serve ip=10.0.0.2")
MACHINES = {
    **{name: (Guest(name),) for name in ALONE},
    "disk": (Guest("block", devices=(Disk(memory=1 << 20),)),),
    "network": tuple(Guest("net", cmdline=words, devices=(parse_vif("rate=1KB/s"),)) for words in TALK),
    "network, flipped": tuple(Guest("net", cmdline=f"{words} flip", devices=(Vif(),)) for words in TALK),
    "two domains": tuple(Guest("pingpong", cmdline=words) for words in PAIR),
    "two domains, FIFO": tuple(Guest("pingpong", cmdline=f"{words} fifo") for words in PAIR),
}


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_that_was_saved_goes_on_as_if_nobody_had_looked(name: str) -> None:
    """Nor has saving it changed the one that was saved."""
    bench = Bench(*MACHINES[name])
    whole = bench.alone(KINDS)
    chance = random.Random(name)
    records: list[Record] = []
    with bench.machine() as machine:
        machine.trace.subscribe(records.append, KINDS)
        for until in sorted(chance.randrange(whole.now) for _ in range(PLACES)):
            machine.run(timeout=HOST_TIMEOUT, until=until)
            restored = finish(Machine.restore(machine.save()), KINDS)
            assert restored[:-1] == whole[:-1], f"saved at {machine.platform.clock.now()}"
            assert (*map(line, records), *restored.trace) == whole.trace
        machine.run(timeout=HOST_TIMEOUT)
        assert tuple(map(line, records)) == whole.trace
