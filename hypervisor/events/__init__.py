"""Event channels: the interrupts of a paravirtual machine."""

from paravane.events.backend_ports import HostEvents, HostPort
from paravane.events.channels import MAX_EVENT_CHANNELS, EventChannels, EventState
from paravane.events.fifo import Fifo, FifoState
from paravane.events.port import State, Status
from paravane.events.ports import Exchange
from paravane.events.two_level import TwoLevel
from paravane.events.upcalls import Upcalls

__all__ = [
    "MAX_EVENT_CHANNELS",
    "EventChannels",
    "EventState",
    "Exchange",
    "Fifo",
    "FifoState",
    "HostEvents",
    "HostPort",
    "State",
    "Status",
    "TwoLevel",
    "Upcalls",
]
