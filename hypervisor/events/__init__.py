"""Event channels: the interrupts of a paravirtual machine."""

from paravane.events.backend_ports import HOST_DOMID, HostEvents, HostPort
from paravane.events.channels import EventChannels
from paravane.events.ports import Exchange, State, Status
from paravane.events.two_level import TwoLevel

__all__ = ["HOST_DOMID", "EventChannels", "Exchange", "HostEvents", "HostPort", "State", "Status", "TwoLevel"]
