"""What native code must not do alone: the reasons why the next trap of a processor is Python's."""

from enum import IntFlag


class Attention(IntFlag):
    """Bits of `Cpu.attention`. Whoever has a reason sets its bit, and clears it when the reason is gone."""

    REDIRECT = 1
    """Something else is to be reported than the trap that arrives (`paravane.cpu.redirects`)."""
    DEBUGGED = 2
    """Breakpoints, watched memory or a step: of the guest's own, or of a debugger."""
    SEGMENTS = 4
    """CS and SS are to be loaded anew on the return to the guest."""
    NMI = 8
    """An NMI is to be delivered on the return to the guest."""
    OBSERVED = 16
    """Somebody wants to hear of every trap."""
    IN_NMI = 32
    """An NMI was delivered: a return of the guest's is its end."""
    UPCALLS_OBSERVED = 64
    """Somebody wants to hear of every upcall."""
    COUNTED = 128
    """Every instruction has a code hook that does nothing: what a fault does to the flags then is to be
    undone (`paravane.cpu.hooked_flags`)."""
    HOOKED = 256
    """Any instruction may have a code hook."""


EVERY_TRAP = Attention.REDIRECT | Attention.DEBUGGED | Attention.SEGMENTS | Attention.NMI | Attention.OBSERVED
"""Reasons that hold for each trap, of whatever kind."""

RETURN_WORK = Attention.SEGMENTS | Attention.NMI
"""What the return to the guest has to do before the guest goes on."""
