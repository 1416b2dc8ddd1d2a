"""How the emulation of an instruction says that the instruction faults."""


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
