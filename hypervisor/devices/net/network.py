"""The networks of one machine: its switches by name, what they have outside, and what is recorded of them."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING
from weakref import ReferenceType

from paravane.devices.net.addresses import numbered_mac
from paravane.devices.net.passt import Passt
from paravane.devices.net.pcap import Capture
from paravane.devices.net.state import NetworkState, check
from paravane.devices.net.switch import Switch
from paravane.devices.net.tap import Tap
from paravane.devices.net.way import RepeatedWay

if TYPE_CHECKING:
    from paravane.devices.net.vif_settings import VifSettings
    from paravane.devices.net.way import Way
    from paravane.devices.xenbus import DeviceHost


class Network:
    """What lasts as long as the machine (`DeviceHost.shared`): a domain that restarts finds its switch and
    its address again, and its capture goes on."""

    def __init__(self, host: DeviceHost) -> None:
        clock = host.clock
        self.now = clock.now
        self.switches: dict[str, Switch] = {}
        self._outside = host.outside
        self._wall = lambda: clock.wall_base() + clock.now()
        self._captures: dict[tuple[int, int], Capture] = {}
        self._passts: dict[str, Way] = {}
        self._taps: dict[str, Way] = {}
        # By identity, as two interfaces may be described alike, and for as long as there is the description:
        # a domain that may restart keeps it.
        self._macs: dict[int, tuple[ReferenceType[VifSettings], bytes]] = {}
        self._given = 0
        """How many addresses of the machine's own were given out."""

    def switch(self, name: str) -> Switch:
        """The switch of that name, new if it is the first time."""
        if name not in self.switches:
            self.switches[name] = Switch(name, self.now)
        return self.switches[name]

    def mac(self, vif: VifSettings) -> bytes:
        """The Ethernet address of an interface: its own, or one that nobody else has on this machine."""
        if vif.mac is not None:
            return vif.mac
        macs, key = self._macs, id(vif)
        if key not in macs:
            macs[key] = ReferenceType(vif, lambda _: macs.pop(key, None)), self._new_mac()
        return macs[key][1]

    def _new_mac(self) -> bytes:
        self._given += 1
        return numbered_mac(self._given)

    def resume_mac(self, vif: VifSettings, mac: bytes) -> None:
        """An interface that was described so had this address."""
        macs, key = self._macs, id(vif)
        macs[key] = ReferenceType(vif, lambda _: macs.pop(key, None)), mac

    def save(self) -> NetworkState:
        """What `restore` goes on from."""
        switches = tuple((name, switch.save()) for name, switch in self.switches.items())
        return NetworkState(switches, self._given)

    def restore(self, state: NetworkState) -> None:
        """Be what was kept, once all interfaces are there. Raises ValueError for what cannot have been."""
        check(0 <= state.addresses < 1 << 24, "there are not so many addresses")
        check({name for name, _ in state.switches} >= set(self.switches), "there is a switch too many")
        self._given = state.addresses
        self.switches = {name: self.switch(name) for name, _ in state.switches}
        for name, ports in state.switches:
            self.switches[name].restore(ports)

    def prepare(self, vif: VifSettings) -> Capture | None:
        """What is to be there before an interface is: its switch with a way outside, if it is to have one;
        gives the file that is to record it. Raises NetError."""
        switch = self.switch(vif.bridge)
        if vif.passt:
            passt = self._passts.get(vif.bridge)
            if passt is None or not passt.alive:
                self._passts[vif.bridge] = self._way("passt", switch) or Passt(self._outside, switch)
        if vif.tap:
            tap = self._taps.get(vif.tap)
            if tap is None or not tap.alive:
                self._taps[vif.tap] = self._way(vif.tap, switch) or Tap(vif.tap, self._outside, switch)
        return self._capture(vif.pcap) if vif.pcap else None

    def close(self) -> None:
        """End passt, give tap devices and files up. Idempotent."""
        with ExitStack() as steps:
            for capture in self._captures.values():
                steps.callback(capture.close)
            for tap in self._taps.values():
                steps.callback(tap.close)
            for passt in self._passts.values():
                steps.callback(passt.close)
        self._passts.clear()
        self._taps.clear()
        self._captures.clear()

    def _way(self, name: str, switch: Switch) -> Way | None:
        """One that leads nowhere, where an earlier run is repeated."""
        return RepeatedWay(name, self._outside, switch) if self._outside.repeats else None

    def _capture(self, path: str) -> Capture:
        """Interfaces that name the same file share it, by whatever name they know it."""
        known = self._captures.get(_identity(path))
        if known is None:
            known = Capture(path, self._wall)
            self._captures[_identity(path)] = known
        return known


def _identity(path: str) -> tuple[int, int]:
    """Of a file; that of none where there is no file, or none that could be looked at."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return (0, 0)
    return found.st_dev, found.st_ino
