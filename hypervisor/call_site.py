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
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from paravane.cpu import Cpu

_INT = bytes((ENTRY_INT, HYPERCALL_VECTOR))
_AFTER_INT = bytes((*_INT, ENTRY_RET))
_TO_INT = 7
"""Bytes from the start of an entry of the hypercall page to the end of its `int`."""


def call_site(cpu: Cpu) -> int:
    """The address at which the guest's own code goes on after the hypercall it is in.

    That is EIP, unless the `int $0x82` is an entry of a hypercall page, which is called: there it is the
    return address. Entries are recognised by their code, wherever the guest has put the page.
    """
    eip = cpu.eip
    if eip % HYPERCALL_PAGE_ENTRY_SIZE != _TO_INT:
        return eip
    number = eip % PAGE_SIZE // HYPERCALL_PAGE_ENTRY_SIZE
    entry = bytes((ENTRY_MOV_EAX,)) + number.to_bytes(4, "little") + _AFTER_INT
    try:
        if cpu.read(eip - _TO_INT, len(entry)) == entry:
            return cpu.read_u32(cpu.esp)
    except PageFault:
        # Then the guest has no return address either.
        pass
    return eip


def follows_hypercall(cpu: Cpu) -> bool:
    """Whether EIP is right after an `int $0x82`, as it is in a hypercall and, if the guest has not gone on,
    after one."""
    try:
        return cpu.read(cpu.eip - len(_INT) & 0xFFFF_FFFF, len(_INT)) == _INT
    except PageFault:
        # A hypercall may have unmapped the page that it was made from.
        return False
