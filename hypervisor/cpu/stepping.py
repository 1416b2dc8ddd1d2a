"""Single steps of debuggers: one instruction, or as many as lie in a range of addresses, and not one more."""

from typing import Final

from paravane.cpu.debugger import Debugger
from paravane.cpu.engine.stepping import step_flag
from paravane.cpu.faults import PageFault
from paravane.cpu.instructions import PREFIXES, decode
from paravane.cpu.state import ProcessorState
from paravane.x86 import Dr6, Eflags

_TF: Final = int(Eflags.TF)
_BS: Final = int(Dr6.BS)
_PAUSE, _REP = 0x90, 0xF3


class Step:
    """A step of one processor, from `step` of a debugger to its end.

    The engine traps after each instruction (`paravane.cpu.engine.stepping`). An instruction that is a trap
    itself is over when the trap was served, wherever the guest goes on; one that the hypervisor has executed
    again (a page fault that it mended, a hypercall that was preempted) is not. Two come together where the
    processor lets no trap between them: after a load of SS (SDM volume 3, 6.8.3).
    """

    def __init__(self, cpu: ProcessorState, debugger: Debugger, within: range) -> None:
        """Addresses of `within` are where the step goes on, after its first instruction."""
        self.debugger = debugger
        self.over = False
        self._cpu = cpu
        self._words = cpu._words
        self._dr6 = cpu._layout.dr + 12
        self._hflags = cpu._layout.hflags
        self._flag = step_flag()
        self._within = within
        self._first = True
        self._at = self._address()
        self._guest_steps = False
        self._kept_dr6 = self._words[self._dr6]

    def begin(self) -> None:
        """Before each run, until it is over."""
        if self._address() != self._at:
            # An upcall was entered, for instance: that is as far as one step goes.
            self._reached()
        elif not self._pass_pauses():
            self._arm()

    @property
    def is_at_first(self) -> bool:
        """Its first instruction is still to be executed."""
        return self._first and not self.over

    def is_first_at(self, address: int) -> bool:
        """The instruction at `address` is the one that the step starts with: its breakpoint is passed."""
        return self._first and address == self._at

    def trapped(self, *, access_reported: bool) -> bool:
        """#DB arrived. Whether it was this step's alone; else it is the guest's as well.

        `access_reported`: a data breakpoint of the guest's is the reason, too.
        """
        dr6 = self._words[self._dr6]
        if not dr6 & _BS:
            return False
        guests = self._guest_steps or access_reported
        if not self._guest_steps:
            self._words[self._dr6] = dr6 & ~_BS if guests else self._kept_dr6
        self._cpu._dirty = True
        if not guests:
            self._reached()
        return not guests

    def served(self) -> None:
        """The hypervisor returns to the guest, or has reached a point on its way there."""
        if not self.over and self._address() != self._at:
            self._reached()

    def give_up(self) -> None:
        """The instruction that comes next is one like any other."""
        self.over = True
        self._words[self._hflags] &= ~self._flag
        self._cpu._dirty = True

    def _reached(self) -> None:
        """An instruction is over and the next one is at EIP."""
        self._first = False
        self._at = self._address()
        if self._at in self._within and not self._pass_pauses():
            self._arm()
        else:
            self.give_up()

    def _pass_pauses(self) -> bool:
        """Step over PAUSE, after which the engine would not trap; whether that is all there is to do."""
        cpu = self._cpu
        while (length := self._pause_length()) and not self.over:
            cpu.eip += length
            self._first = False
            self._at = self._address()
            if self._at not in self._within:
                self.give_up()
        return self.over

    def _pause_length(self) -> int:
        cpu = self._cpu
        try:
            # Most instructions have no prefix, and this is asked at each.
            if cpu.ram.bytes[cpu.translate(self._at)] not in PREFIXES:
                return 0
            instruction = decode(cpu.fetch(self._at), big=cpu.has_big_code)
        except (PageFault, IndexError):
            return 0
        return instruction.length if instruction.opcode == _PAUSE and _REP in instruction.prefixes else 0

    def _arm(self) -> None:
        self._words[self._hflags] |= self._flag
        self._guest_steps = self._cpu.eflags & _TF != 0
        self._kept_dr6 = self._words[self._dr6]
        self._words[self._dr6] &= ~_BS
        self._cpu._dirty = self._cpu._extra = True

    def _address(self) -> int:
        return self._cpu.eip + self._cpu.segment_base("cs") & 0xFFFFFFFF
