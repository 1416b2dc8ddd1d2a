"""The bus of devices: xl's nodes, the handshake, hot-plug, and frontends that do not keep to it."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pytest

from paravane import Domain, DomainConfig, Machine
from paravane.abi.event_channel import EvtchnStat
from paravane.abi.xenbus import XenbusState
from paravane.devices.xenbus import Device, DeviceFault
from tests.support.frontend import Frontend, FrontRing
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane import Image
    from paravane.devices.bus import Budget
    from paravane.devices.xenbus import DeviceHost, Nodes
    from paravane.devices.xenbus import Frontend as Connection

STATE = XenbusState


class Adder(Device):
    """Adds two numbers."""

    kind = "adder"
    made: ClassVar[list[Adder]] = []

    def __init__(self, number: int) -> None:
        self.number = number
        self.log: list[str] = []
        self.broken = ""
        self.made.append(self)

    def backend_nodes(self) -> Nodes:
        return {"dev": "add0"}

    def frontend_nodes(self) -> Nodes:
        return {"handle": self.number}

    def offer(self) -> Nodes:
        return {"feature-carry": 1}

    def connect(self, frontend: Connection) -> Nodes:
        self.log.append("connect")
        self.frontend = frontend
        self.ring = frontend.ring(frontend.references("ring-ref", most_order=2), 16)
        frontend.listen(frontend.port("event-channel"))
        if frontend.number("width", 32, most=64) == 0:
            raise DeviceFault("a sum of no bits")
        return {"width": 32}

    def on_event(self, budget: Budget) -> bool:
        if self.broken:
            raise DeviceFault(self.broken)
        while not budget.exhausted:
            request = self.ring.next()
            if request is None:
                if not self.ring.more():
                    return False
                continue
            one, other = struct.unpack_from("<II", request)
            self.ring.respond(struct.pack("<I", one + other & 0xFFFF_FFFF))
            budget.spend(4)
            if self.ring.push():
                self.frontend.notify()
        return True

    def reconfigure(self, frontend: Connection) -> Nodes:
        return {"width": frontend.number("width", most=64)}

    def disconnect(self) -> None:
        self.log.append("disconnect")

    def close(self) -> None:
        self.log.append("close")


@dataclass(frozen=True)
class AdderConfig:
    number: int = 3

    def open(self, host: DeviceHost) -> Adder:
        if self.number < 0:
            raise ValueError("an adder has no negative number")
        return Adder(self.number)


@pytest.fixture(scope="module")
def kernel() -> Image:
    return image(BLOCK)


@pytest.fixture
def machine() -> Iterator[Machine]:
    Adder.made.clear()
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        yield machine
        assert machine.audit() == []


@pytest.fixture
def domain(machine: Machine, kernel: Image) -> Domain:
    return machine.create(kernel, DomainConfig(memory=MEMORY, devices=(AdderConfig(),)))


@pytest.fixture
def front(machine: Machine, domain: Domain) -> Frontend:
    return Frontend(machine, domain, "adder", 3)


def ready(front: Frontend, pages: int = 1) -> FrontRing:
    """Write all that the device wants to know."""
    return front.offer_ring(16, pages)


def connected(front: Frontend, pages: int = 1) -> FrontRing:
    ring = ready(front, pages)
    assert front.switch(STATE.Initialised) is STATE.Connected
    assert front.switch(STATE.Connected) is STATE.Connected
    front.notified()
    return ring


def ask(front: Frontend, ring: FrontRing, one: int, other: int) -> int:
    ring.put(struct.pack("<II8x", one, other))
    front.event()
    (answer,) = ring.take()
    return int.from_bytes(answer[:4], "little")


def unbound(front: Frontend) -> bool:
    status = front.domain.events.status(front.domain.domid, front.port).status
    return status is EvtchnStat.unbound


def test_the_nodes_are_there_before_the_kernel_runs(front: Frontend) -> None:
    store = front.machine.store
    assert store.directory(front.front) == ("backend", "backend-id", "handle", "state")
    assert store.directory(front.back) == (
        *("frontend", "frontend-id", "online", "dev", "state"),
        *("feature-carry", "hotplug-status"),
    )
    assert store.read(f"{front.front}/backend").decode() == front.back
    assert front.backend("frontend") == front.front
    assert front.backend_state is STATE.InitWait
    assert [str(entry) for entry in store.permissions(front.front)] == ["n1", "r0"]
    assert [str(entry) for entry in store.permissions(front.back)] == ["n0", "r1"]


def test_a_frontend_connects_and_is_served(front: Frontend) -> None:
    ring = connected(front)
    assert front.backend("width") == "32"
    assert ask(front, ring, 2, 3) == 5
    assert front.notified()


@pytest.mark.parametrize("pages", [1, 2, 4])
def test_a_ring_of_several_pages_goes_round(front: Frontend, pages: int) -> None:
    ring = connected(front, pages)
    assert ring.size == pages * 4096 // 16 // (1 if pages > 1 else 2) // (2 if pages > 1 else 1)
    for number in range(2 * ring.size + 3):
        assert ask(front, ring, number, 1000) == number + 1000


def test_events_come_only_where_the_frontend_asks_for_them(front: Frontend) -> None:
    ring = connected(front)
    ring.set("rsp_event", 4)
    for number in range(1, 6):
        ring.put(bytes(16))
        front.event()
        assert ring.get("rsp_prod") == number
        assert front.notified() is (number == 4)
        assert ring.get("req_event") == number + 1


def test_a_frontend_may_connect_anew(front: Frontend) -> None:
    """As GRUB does before it hands its device to a kernel, and a kernel that takes over."""
    ring = connected(front)
    assert front.switch(STATE.Closing) is STATE.Closing
    assert front.switch(STATE.Closed) is STATE.Closed
    assert front.switch(STATE.Initialising) is STATE.InitWait
    ring = connected(front)
    assert ask(front, ring, 7, 8) == 15
    # One that has crashed does not say good-bye.
    assert front.switch(STATE.Initialising) is STATE.InitWait
    ring = connected(front)
    assert ask(front, ring, 8, 8) == 16
    assert Adder.made[0].log == ["connect", "disconnect", "connect", "disconnect", "connect"]
    assert len(Adder.made) == 1


def test_what_a_frontend_lent_comes_back(front: Frontend) -> None:
    connected(front)
    assert front.domain.grants.state.active[8].written
    assert not unbound(front)
    front.switch(STATE.Closed)
    assert 8 not in front.domain.grants.state.active
    assert unbound(front)


def test_a_frontend_reconfigures_while_connected(front: Frontend) -> None:
    ring = connected(front)
    front.write("width", 16)
    assert front.switch(STATE.Reconfiguring) is STATE.Reconfigured
    assert front.backend("width") == "16"
    assert front.switch(STATE.Connected) is STATE.Connected
    assert ask(front, ring, 1, 1) == 2
    front.write("width", 65)
    assert front.switch(STATE.Reconfiguring) is STATE.Closing
    assert "width" in front.backend("error")


@pytest.mark.parametrize(
    ("node", "value", "sentence"),
    [
        ("ring-ref", "x", "the frontend's ring-ref is no number from 0 to 4294967295"),
        ("ring-ref", "", "the frontend's ring-ref is no number from 0 to 4294967295"),
        ("ring-ref", "9" * 2000, "the frontend's ring-ref is no number from 0 to 4294967295"),
        ("ring-ref", "100000", "grant 100000 cannot be mapped"),
        ("ring-ref", "20", "grant 20 cannot be mapped"),
        ("ring-page-order", "3", "the frontend's ring-page-order is no number from 0 to 2"),
        ("ring-page-order", "-1", "the frontend's ring-page-order is no number from 0 to 2"),
        ("ring-page-order", "1", "the frontend has written no ring-ref0"),
        ("event-channel", "5", "event channel 5 cannot be bound"),
        ("event-channel", "4294967295", "event channel 4294967295 cannot be bound"),
        ("width", "0", "a sum of no bits"),
        ("width", "²", "the frontend's width is no number from 0 to 64"),
    ],
)
def test_a_frontend_that_is_wrong_is_closed_with_an_error_node(
    front: Frontend, node: str, value: str, sentence: str
) -> None:
    ready(front)
    store = front.machine.store
    good = store.find(f"{front.front}/{node}")
    front.write(node, value)
    assert front.switch(STATE.Initialised) is STATE.Closing
    assert front.backend("error").startswith(sentence)
    assert {ref for ref in front.domain.grants.state.active if ref >= 8} == set()
    # It may do better.
    front.switch(STATE.Closed)
    front.remove(node) if good is None else front.write(node, good.decode())
    assert front.switch(STATE.Initialising) is STATE.InitWait
    assert front.switch(STATE.Initialised) is STATE.Connected
    assert not front.has("error")


def test_an_impossible_ring_closes_the_device_and_no_other(front: Frontend, machine: Machine) -> None:
    machine.attach(front.domain, AdderConfig(4))
    other = Frontend(machine, front.domain, "adder", 4)
    other._next_ref = 20
    ring, its = connected(front), connected(other)
    for index in (ring.size + 1, 1 << 31, -1):
        ring.set("req_prod", index)
        front.event()
        assert front.backend_state is STATE.Closing
        assert "its ring is impossible" in front.backend("error")
        assert ask(other, its, 1, 2) == 3
        front.switch(STATE.Closed)
        front.switch(STATE.Initialising)
        ring = connected(front)
    assert ask(front, ring, 1, 2) == 3


def test_a_device_that_fails_closes(front: Frontend) -> None:
    ring = connected(front)
    Adder.made[0].broken = "it has no carry"
    ring.put(bytes(16))
    front.event()
    assert front.backend_state is STATE.Closing
    assert front.backend("error") == "it has no carry"
    assert Adder.made[0].log == ["connect", "disconnect"]


@pytest.mark.parametrize("state", ["", "0", "9", "12", "-1", "x", "4\0", "four", "\xb2"])
def test_a_state_that_is_none_closes_the_connection(front: Frontend, state: str) -> None:
    connected(front)
    front.write("state", state)
    assert front.backend_state is STATE.Closed
    assert Adder.made[0].log == ["connect", "disconnect"]


@pytest.mark.parametrize("name", ["state", ""])
def test_nodes_that_are_deleted_close_the_connection(front: Frontend, name: str) -> None:
    connected(front)
    front.remove(name)
    assert front.backend_state is STATE.Closed
    front.machine.destroy(front.domain)
    assert Adder.made[0].log == ["connect", "disconnect", "close"]


def test_a_device_comes_and_goes_while_the_domain_runs(machine: Machine, domain: Domain) -> None:
    device = machine.attach(domain, AdderConfig(4))
    front = Frontend(machine, domain, "adder", 4)
    assert ask(front, connected(front), 20, 22) == 42
    assert [attachment.name for attachment in domain.devices] == ["adder/3", "adder/4"]
    machine.detach(domain, device)
    assert front.backend_state is STATE.Closing
    assert front.backend("online") == "0"
    assert not device.closed
    front.switch(STATE.Closing)
    assert not device.closed
    front.write("state", int(STATE.Closed))
    assert device.closed
    assert machine.store.find(front.front) is None
    assert machine.store.find(front.back) is None
    assert machine.store.find(f"/libxl/{domain.domid}/device/adder/4") is None
    assert [attachment.name for attachment in domain.devices] == ["adder/3"]
    with pytest.raises(ValueError, match="no device adder/4"):
        machine.detach(domain, device)


def test_a_device_that_nobody_uses_goes_at_once_and_any_goes_by_force(
    machine: Machine, domain: Domain
) -> None:
    unused = machine.attach(domain, AdderConfig(4))
    machine.detach(domain, unused)
    assert unused.closed
    used = machine.attach(domain, AdderConfig(5))
    front = Frontend(machine, domain, "adder", 5)
    connected(front)
    machine.detach(domain, used, force=True)
    assert used.closed
    assert machine.store.find(front.front) is None
    assert Adder.made[-1].log == ["connect", "disconnect", "close"]


def test_the_last_device_takes_its_folders_along(machine: Machine, domain: Domain) -> None:
    (device,) = domain.devices
    machine.detach(domain, device)
    for folder in (
        "/local/domain/0/backend",
        f"/local/domain/{domain.domid}/device",
        f"/libxl/{domain.domid}/device",
    ):
        assert machine.store.find(f"{folder}/adder") is None, folder
    machine.attach(domain, AdderConfig())
    assert machine.store.find(f"/local/domain/{domain.domid}/device/adder") is not None


def test_what_cannot_be_had_is_refused_and_nothing_is_left(
    machine: Machine, domain: Domain, kernel: Image
) -> None:
    with pytest.raises(ValueError, match="has a device adder/3 already"):
        machine.attach(domain, AdderConfig())
    assert Adder.made[-1].log == ["close"]
    with pytest.raises(ValueError, match="no negative number"):
        machine.attach(domain, AdderConfig(-1))
    before = machine.store.paths()
    with pytest.raises(ValueError, match="no negative number"):
        machine.create(kernel, DomainConfig(memory=MEMORY, devices=(AdderConfig(7), AdderConfig(-1))))
    assert Adder.made[-1].log == ["close"]
    assert machine.store.paths() == before
    with pytest.raises(ValueError, match="control domain"):
        DomainConfig(privileged=True, devices=(AdderConfig(),))


def test_a_domain_that_goes_takes_its_devices_along(
    machine: Machine, domain: Domain, front: Frontend
) -> None:
    connected(front)
    machine.destroy(domain)
    assert Adder.made[0].log == ["connect", "disconnect", "close"]
    assert not [path for path in machine.store.paths() if "adder" in path]


def test_closing_the_machine_closes_devices(machine: Machine, kernel: Image) -> None:
    with Machine(Machine.size_for(MEMORY)) as other:
        domain = other.create(kernel, DomainConfig(memory=MEMORY, devices=(AdderConfig(),)))
        connected(Frontend(other, domain, "adder", 3))
    assert Adder.made[0].log == ["connect", "disconnect", "close"]


def test_a_frontend_is_told_when_a_device_changes(front: Frontend, domain: Domain) -> None:
    heard: list[str] = []
    connected(front)
    front.machine.store.watch(f"{front.back}/state", heard.append)
    (device,) = domain.devices
    device.renew({"width": 64})
    assert front.backend("width") == "64"
    assert len(heard) == 2


def test_whatever_a_frontend_does_it_can_begin_anew(front: Frontend, domain: Domain) -> None:
    """Any state, any node, any index, in any order: a device that is not connected holds nothing of the
    guest's, and a frontend that then does as it should is served."""
    chance = random.Random("frontend")
    (device,) = domain.devices
    ring = ready(front)
    nodes = {name: front.own(name) for name in ("ring-ref", "event-channel")}
    states = [*map(str, range(9)), "", "x", "44", "4294967300"]
    for step in range(800):
        match chance.randrange(8):
            case 0 | 1 | 2 | 3:
                front.write("state", chance.choice(states))
            case 4:
                front.write(
                    chance.choice([*nodes, "width", "ring-page-order"]), chance.choice(["0", "x", "9"])
                )
            case 5:
                front.remove(chance.choice([*nodes, "state", "width", "ring-page-order"]))
            case 6:
                ring.set(chance.choice(["req_prod", "rsp_prod", "rsp_event"]), chance.getrandbits(32))
                front.event()
            case 7:
                for name, value in nodes.items():
                    front.write(name, value)
                ring.set("req_prod", 0)
                ring.set("rsp_prod", 0)
        if not device.connected:
            assert {ref for ref in domain.grants.state.active if ref >= 8} == set(), step
            assert device.state is not STATE.Connected
    front.switch(STATE.Closed)
    for name in ("width", "ring-page-order"):
        front.remove(name)
    assert front.switch(STATE.Initialising) is STATE.InitWait
    assert ask(front, connected(front), 3, 4) == 7
    assert Adder.made[0].log.count("connect") > 20


def test_a_frontend_that_rushes_through_states_ends_where_it_stops(front: Frontend) -> None:
    """All the changes of one portion are one look."""
    ready(front)
    store = front.machine.store
    access = store.access(front.domain.domid)
    for state in (3, 6, 1, 5, 3, 6, 1, 3):
        access.write(f"{front.front}/state", str(state).encode())
    store.deliver()
    front.serve()
    assert front.backend_state is STATE.Connected
    assert Adder.made[0].log == ["connect"]
