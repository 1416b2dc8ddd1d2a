"""What debuggers outside the guest ask of a processor. Nothing of it can the guest see.

They have no debug registers, no EFLAGS.TF and no byte of memory of the guest's: what they set is kept here.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from paravane.classes import NamedTuple


class Watched(NamedTuple):
    """`size` bytes from linear address `start`, and which accesses count."""

    start: int
    size: int
    reads: bool
    writes: bool


class Follower(Protocol):
    """Somebody who follows a guest instruction by instruction. He is called as a `Debugger` is."""

    @property
    def within(self) -> range:
        """The linear addresses that he wants to hear of; none: of nothing."""
        ...

    def at_instruction(self, address: int) -> None:
        """The instruction at linear `address` is the next: one of `within`, or the first after such a one.

        A repeated string instruction is told of before each repetition, and one that the hypervisor had to
        execute again (a page fault that it mended, a hypercall that was preempted) each time.
        """
        ...


class Debugger(Protocol):
    """Somebody who watches a guest, as one processor sees him.

    Its methods are called in the middle of a run, where registers and memory may be read and nothing may be
    changed. True ends the run there: before the instruction of a breakpoint, after that of an access.
    """

    @property
    def breakpoints(self) -> Collection[int]:
        """Linear addresses of instructions."""
        ...

    @property
    def watched(self) -> Sequence[Watched]: ...

    def at_breakpoint(self, address: int) -> bool:
        """The instruction at this one of `breakpoints` is the next."""
        ...

    def accessed(self, watched: Watched, before: bytes) -> bool:
        """An instruction has read or written some of this one of `watched`, or somebody else has written it.
        `before` is what was there; empty where a page was missing."""
        ...

    def stepped(self) -> None:
        """The step that was asked for is over, and the run has ended."""
        ...
