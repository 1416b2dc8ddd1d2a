"""A network interface of a domain on the bus of devices: the backend of netif.h."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from paravane.abi.xenbus import XenbusState
from paravane.classes import dataclass
from paravane.devices.net.addresses import MAC_SIZE, format_mac
from paravane.devices.net.choices import MOST_QUEUES, chosen, read_choices
from paravane.devices.net.firewall import Firewall, Identity
from paravane.devices.net.multicast import Groups
from paravane.devices.net.network import Network
from paravane.devices.net.offloads import Offloads
from paravane.devices.net.rate import Credit, read_rate
from paravane.devices.net.receiver import Receiver
from paravane.devices.net.state import InterfaceState, check
from paravane.devices.net.switch import Counts
from paravane.devices.net.transmitter import Transmitter
from paravane.devices.net.wire import RX_SLOT, TX_SLOT
from paravane.devices.xenbus import Device
from paravane.devices.xenbus.nodes import paths_of

if TYPE_CHECKING:
    from paravane.devices.bus import Budget
    from paravane.devices.faults import DeviceFaults
    from paravane.devices.net.choices import Choices
    from paravane.devices.net.frame import Frame
    from paravane.devices.net.pcap import Capture
    from paravane.devices.net.switch import Port
    from paravane.devices.net.vif_settings import VifSettings
    from paravane.devices.xenbus import DeviceHost, Frontend, Nodes
    from paravane.time.timers import Timer


@dataclass(slots=True)
class Queue:
    """One pair of rings."""

    transmitter: Transmitter
    receiver: Receiver


class Interface(Device):
    """A domain's end of a network. It is on its switch (as the `Station` there) while a frontend uses it.

    The nodes that a frontend writes are those of Linux's netback: `tx-ring-ref`, `rx-ring-ref` and
    `event-channel` (or `event-channel-tx`, `event-channel-rx`), with several queues in folders `queue-N`.
    What a frontend does not say that it can do is done for it.
    """

    kind = "vif"
    connects_at = frozenset({XenbusState.Connected})

    def __init__(self, host: DeviceHost, vif: VifSettings) -> None:
        """Raises NetError."""
        self.number = vif.number
        self.vif = vif
        self.network = host.shared(Network)
        self.mac = self.network.mac(vif)
        self.offloads = Offloads()
        self.sent, self.received = Counts(), Counts()
        self._capture: Capture | None = self.network.prepare(vif)
        self._timers = host.timers
        self._bus = host.bus
        self._observers = host.bus.observers
        self.firewall = Firewall(vif.rules, Identity(self.mac, vif.networks), self.network.now, vif.default)
        self._store = host.store
        self._credit: Credit | None = None
        self._timer: Timer | None = None
        self._frontend: Frontend | None = None
        self._queues: list[Queue] = []
        self._turn = 0
        self._port: Port | None = None
        self._groups = Groups()
        self._asked = False
        """Whether a node may have changed that is followed while connected."""

    def backend_nodes(self) -> Nodes:
        vif = self.vif
        nodes: dict[str, str | int] = {"script": "/etc/xen/scripts/vif-bridge", "mac": format_mac(self.mac)}
        if vif.networks:
            nodes["ip"] = " ".join(str(network).removesuffix("/32") for network in vif.networks)
        if vif.rate:
            nodes["rate"] = str(vif.rate)
        if vif.mtu != 1500:
            nodes["mtu"] = vif.mtu
        return {**nodes, "bridge": vif.bridge, "handle": self.number, "type": "vif"}

    def frontend_nodes(self) -> Nodes:
        return {"handle": self.number, "mac": format_mac(self.mac), "mtu": self.vif.mtu}

    def offer(self) -> Nodes:
        return {
            "feature-sg": 1,
            "feature-gso-tcpv4": 1,
            "feature-gso-tcpv6": 1,
            "feature-ipv6-csum-offload": 1,
            "feature-rx-copy": 1,
            "feature-rx-flip": 1,
            "feature-multicast-control": 1,
            "feature-dynamic-multicast-control": 1,
            "feature-split-event-channels": 1,
            "multi-queue-max-queues": MOST_QUEUES,
        }

    def connect(self, frontend: Frontend) -> Nodes:
        self._frontend = frontend
        choices = read_choices(frontend)
        self._groups = Groups()
        self.offloads = choices.offloads
        name = f"vif{frontend.domid}.{self.number}"
        self._timer = self._timers.timer(f"d{frontend.domid}", f"{self.kind}{self.number}", frontend.call)
        for number in range(choices.nr_queues):
            folder = f"queue-{number}/" if choices.nr_queues > 1 else ""
            self._queues.append(self._queue(frontend, folder, choices))
        frontend.watch("request-multicast-control", self._ask)
        frontend.follow(self._rate_node(frontend), self._ask)
        self._follow_nodes(frontend)
        self._plug(name)
        return {}

    def on_event(self, budget: Budget) -> bool:
        if self._asked and self._frontend is not None:
            self._follow_nodes(self._frontend)
        left = False
        # Another queue begins each time, so that the budget's end is not always in the same one's way.
        self._turn += 1
        for number in range(len(self._queues)):
            queue = self._queues[(self._turn + number) % len(self._queues)]
            left |= queue.receiver.serve(budget)
            left |= queue.transmitter.serve(budget)
        return left

    def deliver(self, frame: Frame) -> bool:
        """A frame from the switch, for the guest."""
        if not self._queues or (self._bus.faults is not None and self._lost(self._bus.faults, frame)):
            return False
        if self._groups.controlled and not self._groups.hears(frame.data[:MAC_SIZE]):
            return True
        number = self._flow(frame) if len(self._queues) > 1 else 0
        return self._queues[number].receiver.deliver(frame)

    def disconnect(self) -> None:
        if self._port is not None:
            self._port.unplug()
            self._port = None
        if self._timer is not None:
            self._timer.disarm()
            self._timer = None
        self._queues.clear()
        self._frontend = None

    def save(self) -> InterfaceState:
        """What `restore` goes on from."""
        return InterfaceState(
            self.mac,
            self.sent.save(),
            self.received.save(),
            self._turn,
            self._asked,
            None if self._credit is None else self._credit.save(),
            self._groups.controlled,
            self._groups.save(),
            tuple((queue.transmitter.save(), queue.receiver.save()) for queue in self._queues),
        )

    def restore(self, state: InterfaceState) -> None:
        """Go on from there, connected as it was. Raises ValueError for what cannot have been kept."""
        self.sent.restore(state.sent)
        self.received.restore(state.received)
        self._turn, self._asked = state.turn, state.asked
        self._credit = None if state.credit is None else Credit.resumed(state.credit)
        self._groups.controlled = state.controlled
        self._groups.restore(state.groups)
        check(len(state.queues) == len(self._queues), "an interface has other queues")
        for queue, (transmitter, receiver) in zip(self._queues, state.queues, strict=True):
            queue.transmitter.restore(transmitter)
            queue.receiver.restore(receiver)

    def close(self) -> None:
        """What it stands on is the network's."""

    def _queue(self, frontend: Frontend, folder: str, choices: Choices) -> Queue:
        tx = frontend.ring([frontend.number(f"{folder}tx-ring-ref")], TX_SLOT)
        rx = frontend.ring([frontend.number(f"{folder}rx-ring-ref")], RX_SLOT)
        if frontend.read(f"{folder}event-channel-tx", ""):
            tx_port = frontend.listen(frontend.port(f"{folder}event-channel-tx"))
            rx_port = frontend.listen(frontend.port(f"{folder}event-channel-rx"))
        else:
            tx_port = rx_port = frontend.listen(frontend.port(f"{folder}event-channel"))
        transmitter = Transmitter(
            frontend,
            tx,
            tx_port,
            send=self._send,
            allow=self._allow,
            join=self._groups.change,
            counts=self.sent,
            observers=self._observers,
        )
        receiver = Receiver(
            frontend,
            rx,
            rx_port,
            choices=choices,
            now=self.network.now,
            wake=self._wake,
            counts=self.received,
            observers=self._observers,
        )
        return Queue(transmitter, receiver)

    def _rate_node(self, frontend: Frontend) -> str:
        return f"{paths_of(self, frontend.domid, frontend.backend_domid).back}/rate"

    def _ask(self, _path: str) -> None:
        # The store is in the middle of somebody's request: the nodes are looked at on the bus.
        self._asked = True
        if self._frontend is not None:
            self._frontend.call()

    def _follow_nodes(self, frontend: Frontend) -> None:
        """What netback, too, looks at again whenever it is written: whether the guest chooses its groups, and
        what rate the control side lets it have. Raises DeviceFault for what the guest wrote."""
        self._asked = False
        self._groups.controlled = chosen(frontend, "request-multicast-control")
        rate = read_rate(self._store.find(self._rate_node(frontend)))
        if rate != (None if self._credit is None else self._credit.rate):
            self._credit = None if rate is None else Credit(rate, self.network.now())

    def _plug(self, name: str) -> None:
        switch = self.network.switch(self.vif.bridge)
        firewall = None if self.firewall.idle else self.firewall
        self._port = switch.plug(name, self, firewall=firewall, capture=self._capture)
        # What was counted goes on where a frontend connects anew.
        self._port.sent, self._port.received = self.sent, self.received

    def _send(self, frame: Frame) -> int:
        return 0 if self._port is None else self._port.send(frame)

    def _allow(self, size: int) -> bool:
        """Whether the rate of the interface lets so many bytes pass; if not, its queues are served again when
        there is new credit."""
        if self._credit is None or self._credit.take(size, self.network.now()):
            return True
        self._wake(self._credit.renewed)
        return False

    def _wake(self, when: int) -> None:
        """Have the queues served at that time at the latest."""
        if self._timer is not None and when < self._timer.deadline:
            self._timer.arm(when)

    def _lost(self, faults: DeviceFaults, frame: Frame) -> bool:
        """Whether chance has it that it does not arrive."""
        return self._frontend is not None and faults.packet(self._frontend.domid, len(frame.data))

    def _flow(self, frame: Frame) -> int:
        """The queue of a frame: one flow stays in one, so that its packets stay in order."""
        headers = frame.headers
        ports = b"" if headers.ports is None or headers.fragment else bytes(str(headers.ports), "ascii")
        return crc32(headers.source_ip + headers.destination_ip + ports) % len(self._queues)
