"""Guests that scribble on the rings of their network interfaces, on a network on which two others talk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine
from paravane.devices.net.interface import Interface
from paravane.devices.net.vif import Vif
from tests.support.hostile import MEMORY, SLICE, counts, kernel, neighbour, run, undisturbed

if TYPE_CHECKING:
    from paravane import Domain

SLOTS = 7_500
"""Of each of the two in each run. With tests/property/test_net_fuzz.py a hundred thousand."""

PINGS = 150
TALK = "\n".join(
    [
        "00:16:3e:00:00:03 is 10.0.0.1",
        "00:16:3e:00:00:04 is 10.0.0.2",
        *(f"echo {number} came back" for number in range(1, PINGS + 1)),
        "the server says: hello from another domain\n",
    ]
)


def interface(domain: Domain) -> Interface:
    attachment = domain.devices.find("vif", 0)
    assert attachment is not None
    assert isinstance(attachment.device, Interface)
    return attachment.device


@pytest.mark.parametrize(("seed", "words"), [(1, ""), (2, "rewriter")], ids=["alone", "two-vcpus"])
def test_hostile_frontends_harm_nobody(seed: int, words: str) -> None:
    """The two that talk hear what the hostile ones send, as all on a network do, and lose nothing of their
    own."""
    with Machine(Machine.size_for(*[MEMORY] * 4), slice_instructions=SLICE) as machine:
        hostile = [
            machine.create(
                kernel("net", "net"),
                DomainConfig(
                    memory=MEMORY,
                    vcpus=2,
                    cmdline=f"seed={seed + other} requests={SLOTS} {words}",
                    devices=(Vif(),),
                ),
            )
            for other in (0, 10)
        ]
        asks = neighbour(machine, "net", [Vif()], cmdline=f"ip=10.0.0.1 peer=10.0.0.2 pings={PINGS}")
        serves = neighbour(machine, "net", [Vif()], cmdline="serve ip=10.0.0.2")
        storm, heard = [interface(domain) for domain in hostile], interface(serves).received
        run(machine)
        undisturbed(asks, TALK)
        found = [counts(domain) for domain in hostile]
        assert all(domain.console_output().endswith(b"the interface still serves\n") for domain in hostile)
    assert min(one.requests for one in found) >= SLOTS
    assert min(one.answered for one in found) > SLOTS * 3 // 4
    assert min(one.closed for one in found) > SLOTS // 500
    assert min(device.sent.frames for device in storm) > SLOTS // 4
    assert min(device.received.frames for device in storm) > SLOTS // 50
    assert heard.frames > PINGS + 100
