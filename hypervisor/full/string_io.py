"""INS and OUTS (SDM volume 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.x86 import Eflags

if TYPE_CHECKING:
    from paravane.full.ports import Ports
    from paravane.full.processor import VirtualProcessor

MOST_AT_ONCE: Final = 512
"""Elements before the guest is returned to, to go on with the same instruction: interrupts are looked at, and
no guest has the host busy for ever."""


def string_io(
    processor: VirtualProcessor,
    ports: Ports,
    *,
    size: int,
    output: bool,
    segment: str,
    mask: int,
    repeat: bool,
) -> bool:
    """Move elements of `size` bytes between memory and the port in DX. Whether the instruction is done with.
    On a PageFault what precedes the bad element has been moved. In single steps each element is one."""
    cpu = processor.cpu
    step = -size if cpu.eflags & Eflags.DF else size
    count = cpu.ecx & mask if repeat else 1
    most = 1 if cpu.eflags & Eflags.TF else MOST_AT_ONCE
    for _ in range(min(count, most)):
        port = cpu.edx & 0xFFFF
        if output:
            data = processor.memory.read(processor.linear(segment, cpu.esi & mask), size, user=processor.user)
            cpu.esi = cpu.esi & ~mask | cpu.esi + step & mask
            ports.write(port, size, int.from_bytes(data, "little"))
        else:
            at = processor.linear("es", cpu.edi & mask)
            processor.memory.translate(at, write=True, user=processor.user)  # before the device is asked
            data = ports.read(port, size).to_bytes(size, "little")
            processor.memory.write(at, data, user=processor.user)
            cpu.edi = cpu.edi & ~mask | cpu.edi + step & mask
        if repeat:
            cpu.ecx = cpu.ecx & ~mask | cpu.ecx - 1 & mask
    return count <= most
