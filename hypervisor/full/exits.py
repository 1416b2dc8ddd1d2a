"""How often a guest was left for its monitor, and what for: as hardware counts exits, one for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.x86 import Vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.cpu.instructions import Instruction

FILLED: Final = "page filled in"
"""A page fault that the guest never hears of: its own tables allow the access."""
TABLE_STORE: Final = "store to a page table"
"""One that is write-protected by the monitor."""
NO_MEMORY: Final = "store where no memory is"
INT: Final = "int n"
INTERRUPT: Final = "interrupt"
"""One that was held off until there: it comes before what the exit was for."""
CHANGED: Final = "changed instruction"
"""One that was made to trap, and has become another by a change in the page after it."""
CPUID: Final = "cpuid"

_MNEMONICS: Final = {
    **dict.fromkeys((0x07, 0x17, 0x1F, 0xFA1, 0xFA9), "pop to a segment"),
    **dict.fromkeys((0x0E, 0x16), "push of a segment"),
    **dict.fromkeys((*range(0x6C, 0x70), *range(0xE4, 0xE8), *range(0xEC, 0xF0)), "port"),
    **dict.fromkeys((0x9A, 0xCA, 0xCB, 0xEA, 0xFF), "far transfer"),
    **dict.fromkeys((0xC4, 0xC5, 0xFB2, 0xFB4, 0xFB5), "far pointer"),
    **{0x8C: "mov from a segment", 0x8E: "mov to a segment", 0x9C: "pushf", 0x9D: "popf", 0xCF: "iret"},
    **{0xF4: "hlt", 0xFA: "cli", 0xFB: "sti", 0xF02: "lar", 0xF03: "lsl", 0xF06: "clts"},
    **{0xF08: "invd", 0xF09: "wbinvd", 0xF20: "mov from cr", 0xF21: "mov from dr", 0xF22: "mov to cr"},
    **{0xF23: "mov to dr", 0xF30: "wrmsr", 0xF31: "rdtsc", 0xF32: "rdmsr", 0xF33: "rdpmc"},
}
_GROUP_6: Final = ("sldt", "str", "lldt", "ltr", "verr", "verw", "", "")
_GROUP_7: Final = ("sgdt", "sidt", "lgdt", "lidt", "smsw", "", "lmsw", "invlpg")
_GROUPS: Final = {0xF00: _GROUP_6, 0xF01: _GROUP_7}


class Exits:
    """The counts of one processor, by reason."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.instructions = 0
        """How many of them were for an instruction that the monitor did in the guest's place."""
        self.observer: Callable[[str], None] | None = None
        """Told the reason of each, before the guest goes on and when all is done that it was for."""

    def count(self, reason: str) -> None:
        """One exit is over."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        if self.observer is not None:
            self.observer(reason)

    def emulated(self, instruction: Instruction) -> str:
        """The reason of an exit for this instruction, which is done."""
        self.instructions += 1
        return mnemonic(instruction)


def of_exception(vector: int) -> str:
    """The reason of an exit for an exception that is the guest's own."""
    return f"#{Vector(vector).name}"


def mnemonic(instruction: Instruction) -> str:
    """What an instruction is called that the monitor does: instructions that differ in their operands alone
    have one name."""
    if instruction.opcode in _GROUPS:
        return _GROUPS[instruction.opcode][instruction.reg]
    return _MNEMONICS[instruction.opcode]
