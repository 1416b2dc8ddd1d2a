"""Traps of the guest: its trap table, frames, callbacks, and emulation of privileged instructions."""

from hypervisor.traps.crash import GuestCrash
from hypervisor.traps.host import TrapHost
from hypervisor.traps.peripherals import Peripherals
from hypervisor.traps.state import Counters, Observer, TrapNote
from hypervisor.traps.vcpu_traps import VcpuTraps

__all__ = ["Counters", "GuestCrash", "Observer", "Peripherals", "TrapHost", "TrapNote", "VcpuTraps"]
