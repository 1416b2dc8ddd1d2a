"""What an operation of xenstore costs, over the ring and over the socket."""

from __future__ import annotations

import socket
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from paravane import DomainConfig, Machine, StopReason, asm, guest_kernels, load_image
from paravane.abi.xs_wire import XSD_SOCKMSG, XsMessage
from paravane.devices.xenstore import Store, StoreSocket, populate_domain
from paravane.inbox import Inbox
from paravane.tools.bench import bare
from tests.support.xenstore_client import Client
from tests.support.xenstore_guest import request
from tests.support.xenstored import Xenstored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paravane import Image

MEMORY = 4 << 20
OPERATIONS = 1000
READ = request(XsMessage.READ, b"/local/domain/1/name\0")
WRITE = request(XsMessage.WRITE, b"/local/domain/1/data\0value")


@cache
def _image() -> Image:
    return load_image(asm.build(guest_kernels.load("store").sources))


def test_ring(benchmark: Any) -> None:
    """The kernel `store` reads one node again and again and sleeps until each answer. The figure is that of a
    whole run, its boot included, and the floor that of its two hypercalls without us."""

    def setup() -> tuple[tuple[Machine], dict[str, object]]:
        machine = Machine(Machine.size_for(MEMORY))
        machine.create(_image(), DomainConfig(memory=MEMORY, cmdline=f"asks={OPERATIONS}"))
        return (machine,), {}

    def run(machine: Machine) -> None:
        assert machine.run().reason is StopReason.DONE
        machine.close()

    benchmark.pedantic(run, setup=setup, rounds=3)
    _report(benchmark, _traps)


@pytest.mark.parametrize("what", ["read", "write"])
@pytest.mark.parametrize("watchers", [0, 10])
def test_socket(benchmark: Any, tmp_path: Path, what: str, watchers: int) -> None:
    """One request after the other, the client in the thread that serves it; some may watch what is written.
    The floor is as many bytes there and back over a pair of sockets."""
    store, inbox = Store(), Inbox()
    populate_domain(store, 1, "guest1", 1024)
    home = StoreSocket(store, tmp_path / "s", inbox)
    asked = READ if what == "read" else WRITE
    with Client(inbox, home.path) as client:
        for number in range(watchers):
            store.watch("/local/domain/1/data", lambda path, number=number: None)  # type: ignore[misc]

        def ask() -> None:
            for _ in range(OPERATIONS):
                client.socket.send(asked)
                while not client.read():
                    inbox.deliver(0)
                client.input.clear()

        benchmark.pedantic(ask, rounds=5)
    home.close()
    inbox.close()
    _report(benchmark, _echo)


@pytest.mark.parametrize("what", ["read", "write"])
def test_debians_xenstored(benchmark: Any, tmp_path: Path, what: str) -> None:
    """For comparison: the same requests, answered by xenstored 4.17 in its own process."""
    daemon = Xenstored(tmp_path, (1,))
    client = daemon.client()
    client.ask(XsMessage.WRITE, b"/local/domain/1/name\0guest1")
    asked = READ if what == "read" else WRITE
    kind, payload = asked[0], asked[XSD_SOCKMSG.size :]

    def ask() -> None:
        for _ in range(OPERATIONS):
            client.ask(kind, payload)

    benchmark.pedantic(ask, rounds=5)
    client.close()
    daemon.close()
    _report(benchmark, _echo)


def _report(benchmark: Any, floor: Callable[[], float]) -> None:
    """Operations a second, and how many floors one costs, when something is measured."""
    if benchmark.stats is not None:
        cost, bare = benchmark.stats.stats.min / OPERATIONS, floor()
        benchmark.extra_info.update(
            operations_per_second=round(1 / cost),
            microseconds=round(cost * 1e6, 2),
            floor_microseconds=round(bare * 1e6, 2),
            floors=round(cost / bare, 1),
        )


def _echo(rounds: int = 5) -> float:
    """Seconds for as many bytes there and back over a pair of sockets: the best of some runs."""
    here, there = socket.socketpair()
    best = float("inf")
    with here, there:
        for _ in range(rounds):
            began = time.perf_counter()
            for _ in range(OPERATIONS):
                here.send(READ)
                there.send(there.recv(4096))
                here.recv(4096)
            best = min(best, (time.perf_counter() - began) / OPERATIONS)
    return best


def _traps() -> float:
    """Seconds for the two hypercalls of an operation, a send and a poll, as traps of the bare engine."""
    return bare.least("traps_2")
