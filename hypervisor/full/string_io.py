"""INS and OUTS (SDM volume 2): whole runs of elements at a time, as long as they lie in one page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.x86 import PAGE_SIZE, Eflags

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.full.ports import Ports
    from paravane.full.processor import VirtualProcessor

MOST_AT_ONCE, MOST_ASKED = 4096, 512
"""Elements before the guest is returned to, to go on with the same instruction: timers are looked at, and no
guest has the host busy for ever. There are fewer where a device is asked for each."""

_PAGE_MASK: Final = PAGE_SIZE - 1


class StringIo(NamedTuple):
    """One such instruction: elements of `size` bytes, the segment of memory that it reads, the bits of ECX,
    ESI and EDI that it uses, and whether a device is asked for each element."""

    size: int
    output: bool
    segment: str
    mask: int
    repeat: bool
    asked: bool


def string_io(
    processor: VirtualProcessor, ports: Ports, one: StringIo, leave: Callable[[], bool]
) -> tuple[int, bool]:
    """Move elements between memory and the port in DX, until there is something else to do, which `leave`
    says after each: how many, and whether the instruction is done with. On a PageFault what precedes the bad
    element has been moved. In single steps, and where breakpoints watch, each element is one."""
    cpu = processor.cpu
    count = cpu.ecx & one.mask if one.repeat else 1
    alone = cpu.eflags & Eflags.TF or processor.debug.watching
    most, moved = min(count, 1 if alone else MOST_ASKED if one.asked else MOST_AT_ONCE), 0
    backward = cpu.eflags & Eflags.DF != 0
    while moved < most:
        offset = (cpu.esi if one.output else cpu.edi) & one.mask
        va = processor.linear(one.segment if one.output else "es", offset)
        run = min(most - moved, _in_page(one, va, offset, backward=backward))
        if run > 1:
            done = _move_run(processor, ports, one, (va, run, backward), leave)
        else:
            done = _move(processor, ports, one, va)
        _advance(processor, one, -done if backward else done, done)
        moved += done
        if leave():
            break
    return moved, moved == count


def _in_page(one: StringIo, va: int, offset: int, *, backward: bool) -> int:
    """How many elements, the first at `va`, lie in its page before the offset wraps around; 0 where not even
    that one does."""
    at = va & _PAGE_MASK
    if at + one.size > PAGE_SIZE:
        return 0
    if backward:
        return min(at, offset) // one.size + 1
    return min(PAGE_SIZE - at, one.mask + 1 - offset) // one.size


def _move(processor: VirtualProcessor, ports: Ports, one: StringIo, va: int) -> int:
    memory, port, user = processor.memory, processor.cpu.edx & 0xFFFF, processor.user
    if one.output:
        data = memory.read(va, one.size, user=user)
        ports.write(port, one.size, int.from_bytes(data, "little"))
    else:
        memory.reach(va, write=True, user=user)  # before the device is asked
        if (va & _PAGE_MASK) + one.size > PAGE_SIZE:
            memory.reach(va + one.size - 1 & -PAGE_SIZE, write=True, user=user)
        memory.write(va, ports.read(port, one.size).to_bytes(one.size, "little"), user=user)
    processor.debug.port_accessed(port, one.size)
    return 1


def _move_run(
    processor: VirtualProcessor,
    ports: Ports,
    one: StringIo,
    where: tuple[int, int, bool],
    leave: Callable[[], bool],
) -> int:
    """As many elements as `where` says, which lie in one page, or fewer if `leave` says so."""
    memory, port, size = processor.memory, processor.cpu.edx & 0xFFFF, one.size
    va, count, backward = where
    first = memory.reach(va, write=not one.output, user=processor.user)
    if one.output:
        lowest = first - (count - 1) * size if backward else first
        data = memory.physical.read(lowest, count * size)
        return ports.write_run(port, size, _reversed(data, size) if backward else data, leave)
    data = ports.read_run(port, size, count, leave)
    done = len(data) // size
    if backward:
        memory.physical.write(first - (done - 1) * size, _reversed(data, size))
    else:
        memory.physical.write(first, data)
    return done


def _reversed(data: bytes, size: int) -> bytes:
    """The elements of `data`, the last first."""
    return b"".join(data[at : at + size] for at in range(len(data) - size, -1, -size))


def _advance(processor: VirtualProcessor, one: StringIo, steps: int, done: int) -> None:
    cpu, mask, by = processor.cpu, one.mask, steps * one.size
    if one.output:
        cpu.esi = cpu.esi & ~mask | cpu.esi + by & mask
    else:
        cpu.edi = cpu.edi & ~mask | cpu.edi + by & mask
    if one.repeat:
        cpu.ecx = cpu.ecx & ~mask | cpu.ecx - done & mask
