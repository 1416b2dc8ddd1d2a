"""Guest memory as a debugger reads and writes it: through the page tables of the vcpu it looks at.

Rights do not count, and no accessed or dirty bit is set: looking changes nothing. What is written goes into
the domain's own frames only, and not into those that the hypervisor has checked, page tables and descriptor
tables: no debugger of one guest can lead it to another's memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.cpu import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from paravane.memory.frames import WRITABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.memory import MachineMemory
    from paravane.vcpu import Vcpu

_TOP = 1 << 32


class ProtectedError(Exception):
    """What was to be written belongs to the hypervisor, or is checked by it; the message is one sentence."""


def read(vcpu: Vcpu, va: int, size: int) -> bytes:
    """Up to `size` bytes from linear `va`; fewer, perhaps none, where a page is missing."""
    cpu, data = vcpu.cpu, bytearray()
    for at, length in _pieces(va, size):
        mfn = cpu.frame_at(at)
        if mfn is None:
            break
        data += cpu.ram.read((mfn << PAGE_SHIFT) + (at & PAGE_MASK), length)
    return bytes(data)


def write(vcpu: Vcpu, machine: MachineMemory, va: int, data: bytes) -> bool:
    """Store `data` at linear `va`; False, and nothing is stored, where a page is missing. Raises
    ProtectedError, and stores nothing, where it may not be."""
    cpu, places = vcpu.cpu, []
    for at, length in _pieces(va, len(data)):
        mfn = cpu.frame_at(at)
        if mfn is None:
            return False
        _check(machine, mfn, vcpu.domid)
        places.append(((mfn << PAGE_SHIFT) + (at & PAGE_MASK), length))
    if sum(length for _, length in places) < len(data):
        return False  # it would go on past the top of memory
    done = 0
    for maddr, length in places:
        cpu.ram.write(maddr, data[done : done + length])
        done += length
    return True


def _check(machine: MachineMemory, mfn: int, domid: int) -> None:
    frames = machine.frames
    if frames.owner[mfn] != domid or (frames.type_count[mfn] and frames.type[mfn] != WRITABLE):
        raise ProtectedError(f"{frames.describe(mfn)} is not for a debugger to write")


def _pieces(va: int, size: int) -> Iterator[tuple[int, int]]:
    """Linear addresses and lengths, each within one page, none past the top of memory."""
    end = min(va + size, _TOP)
    while va < end:
        length = min(end - va, PAGE_SIZE - (va & PAGE_MASK))
        yield va, length
        va += length
