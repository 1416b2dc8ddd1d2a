"""Following a guest while it runs: its instructions, its breakpoints, which of its code it executes."""

from paravane.follow.breakpoints import Breakpoints
from paravane.follow.coverage import Coverage
from paravane.follow.instructions import InstructionTrace
from paravane.follow.location import LocationError, data_at, location

__all__ = ["Breakpoints", "Coverage", "InstructionTrace", "LocationError", "data_at", "location"]
