"""A guest that scribbles on the rings of its network interface, on a network on which two others talk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine
from paravane.devices.net.interface import Interface
from paravane.devices.net.vif import Vif
from tests.support.hostile import MEMORY, SLICE, counts, kernel, neighbour, run, undisturbed

if TYPE_CHECKING:
    from paravane import Domain

SLOTS = 15_000
"""Of each seed. With those of tests/property/test_net_fuzz.py they are a hundred thousand."""

PINGS = 150
TALK = "\n".join(
    [
        "00:16:3e:00:00:02 is 10.0.0.1",
        "00:16:3e:00:00:03 is 10.0.0.2",
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
def test_a_hostile_frontend_harms_nobody(seed: int, words: str) -> None:
    """The two hear what it sends, as all on a network do, and lose nothing of their own."""
    with Machine(Machine.size_for(*[MEMORY] * 3), slice_instructions=SLICE) as machine:
        config = DomainConfig(
            memory=MEMORY, vcpus=2, cmdline=f"seed={seed} requests={SLOTS} {words}", devices=(Vif(),)
        )
        hostile = machine.create(kernel("net", "net"), config)
        asks = neighbour(machine, "net", [Vif()], cmdline=f"ip=10.0.0.1 peer=10.0.0.2 pings={PINGS}")
        serves = neighbour(machine, "net", [Vif()], cmdline="serve ip=10.0.0.2")
        sent, heard = interface(hostile).sent, interface(serves).received
        run(machine)
        undisturbed(asks, TALK)
        found = counts(hostile)
        assert hostile.console_output().endswith(b"the interface still serves\n")
    assert found.requests >= SLOTS
    assert found.answered > SLOTS * 3 // 4
    assert found.closed > SLOTS // 500
    assert sent.frames > SLOTS // 4
    assert heard.frames > PINGS + 20
