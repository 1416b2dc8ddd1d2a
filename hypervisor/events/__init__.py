"""Event channels: the interrupts of a paravirtual machine."""

from hypervisor.events.channels import EventChannels
from hypervisor.events.host import HOST_DOMID, HostEvents, HostPort
from hypervisor.events.ports import Exchange, State, Status
from hypervisor.events.two_level import TwoLevel

__all__ = ["HOST_DOMID", "EventChannels", "Exchange", "HostEvents", "HostPort", "State", "Status", "TwoLevel"]
