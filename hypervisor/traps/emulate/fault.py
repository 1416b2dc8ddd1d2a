"""What became of an instruction that was to be emulated."""

from enum import Enum


class Completion(Enum):
    """How far an instruction got that raised nothing."""

    COMPLETE = "complete"
    """It is over; a single step reports after it."""

    UNSTEPPED = "unstepped"
    """It is over, and Xen forgets that it was stepped: the next instruction's #DB comes first."""

    REPEATS = "repeats"
    """Repetitions are left: it runs again."""


class Fault(Exception):
    """The emulated instruction raises an exception: vector, error code (None: it has none), CR2 for #PF."""

    def __init__(self, vector: int, error_code: int | None = None, cr2: int | None = None) -> None:
        super().__init__(vector, error_code, cr2)
        self.vector = vector
        self.error_code = error_code
        self.cr2 = cr2


class NotEmulated(Exception):
    """The hypervisor does not carry this instruction out here: the guest gets the #GP the processor
    raised."""
