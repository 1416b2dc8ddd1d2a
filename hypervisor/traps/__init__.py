"""Traps of the guest: its trap table, frames, callbacks, and emulation of privileged instructions."""

from paravane.traps.crash import GuestCrash
from paravane.traps.host import TrapHost
from paravane.traps.peripherals import Peripherals
from paravane.traps.state import Counters, Observer, TrapNote
from paravane.traps.vcpu_traps import VcpuTraps

__all__ = ["Counters", "GuestCrash", "Observer", "Peripherals", "TrapHost", "TrapNote", "VcpuTraps"]
