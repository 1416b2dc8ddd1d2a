"""Where in its own code a guest made a hypercall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.hypercall import (
    ENTRY_INT,
    ENTRY_MOV_EAX,
    ENTRY_RET,
    HYPERCALL_PAGE_ENTRY_SIZE,
    HYPERCALL_VECTOR,
)
from paravane.cpu import PageFault
from paravane.cpu.geometry import PAGE_MASK
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from paravane.cpu import Cpu

_INT = bytes((ENTRY_INT, HYPERCALL_VECTOR))
_INT_RET = bytes((*_INT, ENTRY_RET))
_AFTER_INT = 7
"""Bytes from the start of an entry of the hypercall page to the end of its `int`."""

_REMEMBERED = 1 << 8
"""Entries of hypercall pages, and pages of stacks, that are remembered."""


def call_site(cpu: Cpu) -> int:
    """The address at which the guest's own code goes on after the hypercall it is in.

    That is EIP, unless the `int $0x82` is an entry of a hypercall page, which is called: there it is the
    return address. Entries are recognised by their code, wherever the guest has put the page.
    """
    eip = cpu.eip
    if eip % HYPERCALL_PAGE_ENTRY_SIZE != _AFTER_INT:
        return eip
    number = eip % PAGE_SIZE // HYPERCALL_PAGE_ENTRY_SIZE
    entry = bytes((ENTRY_MOV_EAX,)) + number.to_bytes(4, "little") + _INT_RET
    try:
        if cpu.read(eip - _AFTER_INT, len(entry)) == entry:
            return cpu.read_u32(cpu.esp)
    except PageFault:
        # Then the guest has no return address either.
        pass
    return eip


class CallSites:
    """Finds the call sites of one processor's hypercalls, as `call_site` does, and remembers where pages are
    until the TLB is flushed: to walk its tables twice takes as long as a small hypercall."""

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu
        self._quads = cpu.ram.quads
        self._words = cpu.ram.words
        self._registers, self._eip, self._esp = cpu.kept
        self._flushes = cpu.flushes
        self._entries: dict[int, tuple[int, int]] = {}
        self._stacks: dict[int, int] = {}

    def find(self) -> int:
        """The call site of the hypercall that the processor is in."""
        registers = self._registers
        eip = registers[self._eip]
        if eip % HYPERCALL_PAGE_ENTRY_SIZE != _AFTER_INT:
            return eip
        cpu = self._cpu
        if self._flushes != cpu.flushes:
            self._forget()
        esp = registers[self._esp]
        entry, stack = self._entries.get(eip), self._stacks.get(esp >> PAGE_SHIFT)
        # What an entry consists of is looked at each time: its frame is one like any other.
        if entry is not None and stack is not None and self._quads[entry[0]] == entry[1] and not esp & 3:
            return self._words[stack + ((esp & PAGE_MASK) >> 2)]
        found = call_site(cpu)
        if found != eip:
            self._remember(eip, esp)
        return found

    def _remember(self, eip: int, esp: int) -> None:
        """Where an entry of a hypercall page and its caller's stack are: both have just been read."""
        if max(len(self._entries), len(self._stacks)) >= _REMEMBERED:
            self._forget()
        entry = self._cpu.translate(eip - _AFTER_INT) >> 3
        self._entries[eip] = entry, self._quads[entry]
        self._stacks[esp >> PAGE_SHIFT] = self._cpu.translate(esp & ~PAGE_MASK) >> 2

    def _forget(self) -> None:
        self._flushes = self._cpu.flushes
        self._entries.clear()
        self._stacks.clear()


def follows_hypercall(cpu: Cpu) -> bool:
    """Whether EIP is right after an `int $0x82`, as it is in a hypercall and, if the guest has not gone on,
    after one."""
    try:
        return cpu.read(cpu.eip - len(_INT) & 0xFFFF_FFFF, len(_INT)) == _INT
    except PageFault:
        # A hypercall may have unmapped the page that it was made from.
        return False
