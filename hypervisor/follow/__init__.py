"""Following a guest while it runs: its instructions, its breakpoints, which of its code it executes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.follow.location import LocationError, data_at, location
from paravane.late import late

if TYPE_CHECKING:
    from paravane.follow.breakpoints import Breakpoints
    from paravane.follow.coverage import Coverage
    from paravane.follow.coverage_files import FORMS
    from paravane.follow.instructions import InstructionTrace
else:
    __getattr__ = late(
        __name__,
        breakpoints="Breakpoints",
        coverage="Coverage",
        coverage_files="FORMS",
        instructions="InstructionTrace",
    )

__all__ = ["FORMS", "Breakpoints", "Coverage", "InstructionTrace", "LocationError", "data_at", "location"]
