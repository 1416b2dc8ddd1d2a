"""What a kernel on Xen costs Xen, from the records of its hypercalls and traps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.hypercall import Hypercall
from paravane.abi.mmu import MMUEXT_OP, MmuextCmd, UvmFlag
from paravane.cpu import PageFault
from paravane.debug import memory
from paravane.trace import HypercallRecord, TrapRecord

if TYPE_CHECKING:
    from paravane import Record
    from paravane.platform import Platform
    from paravane.tools.compare.costs import Costs, Phases
    from paravane.vcpu import Vcpu

MENDED: Final = "mended"
"""The reason of a trap that has no record: Xen dealt with it, and its guest never hears of it. A store to a
page table that Xen carried out, a page of the LDT that is used for the first time."""

_TRAPS: Final = ("#", "int ")
"""How the reasons begin that are traps."""

_DIRECT, _BOUNCED, _EMULATED = "direct", "bounced", "emulated"
_FLUSHES: Final = frozenset(
    (
        *(MmuextCmd.NEW_BASEPTR, MmuextCmd.TLB_FLUSH_LOCAL),
        *(MmuextCmd.TLB_FLUSH_MULTI, MmuextCmd.TLB_FLUSH_ALL),
    )
)
_PAGE_FLUSHES: Final = frozenset((MmuextCmd.INVLPG_LOCAL, MmuextCmd.INVLPG_MULTI, MmuextCmd.INVLPG_ALL))
_PREEMPTED: Final = 1 << 31
"""In a count of requests: the call goes on with what is left (MMU_UPDATE_PREEMPTED)."""
_UVMF: Final = int(UvmFlag.FLUSHTYPE_MASK)


def is_hypercall(reason: str) -> bool:
    """Whether an exit for this reason was one, and not a trap."""
    return reason != MENDED and not reason.startswith(_TRAPS)


class XenCounter:
    """Takes a machine's records of hypercalls and traps, and counts those of its only domain.

    All records of one exit come between the same two returns to the guest, and the last says what it was: the
    entries of a multicall come before that. So an exit is complete when a record comes after a return.
    """

    def __init__(self, platform: Platform, vcpu: Vcpu, phase: int | None, phases: Phases) -> None:
        """`phase` is the linear address of the word with the number of the phase, if there is one."""
        self._platform, self._vcpu = platform, vcpu
        self._phase, self._phases = phase, phases
        self._traps = platform.traps
        self._reason: str | None = None
        self._costs = phases.at(None)
        self._time = platform.clock.now()
        self._open = False

    def take(self, record: Record) -> None:
        """One of those records."""
        self._settle()
        self._open = True
        if isinstance(record, TrapRecord):
            self._trap(record)
        elif isinstance(record, HypercallRecord):
            # One that is interrupted goes on later, and is the same.
            self._reason = record.name if record.preempted is None else None
            if record.errno is None:
                self._count_paging(record)

    def finish(self) -> None:
        """The run is over."""
        self._settle(over=True)

    def _settle(self, *, over: bool = False) -> None:
        """The exit before is complete, if the guest has gone on since or has ended."""
        traps = self._platform.traps
        if traps == self._traps and self._open and not over:
            return
        if self._open:
            if self._reason is not None:
                self._costs.exits[self._reason] += 1
            self._open, self._reason = False, None
            self._traps += 1
        self._costs = self._now()
        if traps > self._traps:
            self._costs.exits[MENDED] += traps - self._traps
            self._traps = traps
        now = self._platform.clock.now()
        self._costs.nanoseconds += now - self._time
        self._time = now

    def _trap(self, record: TrapRecord) -> None:
        if record.outcome == _DIRECT:
            self._reason = None  # the guest's own gate: Xen is not entered
            return
        bounced = record.outcome == _BOUNCED
        self._reason = record.name if bounced else f"{record.name}, {record.outcome}"
        self._costs.instructions += record.outcome.startswith(_EMULATED)

    def _count_paging(self, record: HypercallRecord) -> None:
        """The entries that a hypercall changed, and the flushes that it asked for."""
        costs, words = self._costs, record.words
        if record.number == Hypercall.mmu_update:
            costs.entries += _done(record)
        elif record.number in (Hypercall.update_va_mapping, Hypercall.update_va_mapping_otherdomain):
            costs.entries += 1
            flags = words[3] & _UVMF
            costs.flushes += flags == UvmFlag.TLB_FLUSH
            costs.page_flushes += flags == UvmFlag.INVLPG
        elif record.number == Hypercall.mmuext_op:
            # The record shows the first ones only.
            size = MMUEXT_OP.size
            try:
                operations = self._vcpu.host.copy_from_guest(words[0], _done(record) * size)
            except PageFault:
                operations = b""  # what was asked for took the list's own page away: it says no more
            for at in range(0, len(operations), size):
                command = int.from_bytes(operations[at : at + 4], "little")
                costs.flushes += command in _FLUSHES
                costs.page_flushes += command in _PAGE_FLUSHES

    def _now(self) -> Costs:
        """Those of the present phase."""
        return self._phases.at(self.number)

    @property
    def number(self) -> int | None:
        """That of the present phase. Nobody is to notice that it is looked at."""
        if self._phase is None:
            return None
        word = memory.read(self._vcpu, self._phase, 4)
        return int.from_bytes(word, "little") if len(word) == 4 else None


def _done(record: HypercallRecord) -> int:
    """How many of the items of its list this part of the call has dealt with."""
    return record.words[1] & ~_PREEMPTED if record.preempted is None else record.preempted
