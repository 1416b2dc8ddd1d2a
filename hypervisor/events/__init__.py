"""Event channels: the interrupts of a paravirtual machine."""

from paravane.events.backend_ports import HostEvents, HostPort
from paravane.events.channels import EventChannels, EventState
from paravane.events.port import State, Status
from paravane.events.ports import Exchange
from paravane.events.two_level import TwoLevel

__all__ = [
    "EventChannels",
    "EventState",
    "Exchange",
    "HostEvents",
    "HostPort",
    "State",
    "Status",
    "TwoLevel",
]
