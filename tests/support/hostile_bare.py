"""Kernels of a bare PC that mean harm: how each comes to its end, and what of the monitor must be as it
was."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from paravane import BareMachine, Sensitive, StopReason
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.full.shadow import Policy
from paravane.x86 import PAGE_SHIFT
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = 2 << 20
TRAPS = 25
SLICES = 4
SLICE = 50_000
"""Instructions: what a kernel does then does not depend on the host's load."""

HEAD = """
        .globl _start
        .align 4
        .long 0x1BADB002, 0, -0x1BADB002
_start: mov $0x90000, %esp
"""
TAIL = """
exit:   mov $0, %al
        outb %al, $0xf4
        hlt
        .align 8
gdt:    .quad 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF, 0x00CFFA000000FFFF, 0x00CFF2000000FFFF
        .quad 0x000089200000FFFF
        .align 8
idt:    .skip 2048
"""
EXITS = "its own exit"
TRIPLE = "triple fault"


def kernel(body: str) -> bytes:
    """A kernel that begins with `body`."""
    return write_elf(assemble_text(HEAD + body + TAIL, base=0x100000))


@contextmanager
def guarded(
    image: bytes, sensitive: Sensitive = Sensitive.REWRITE, shadow: Policy = Policy.VTLB
) -> Iterator[BareMachine]:
    """A machine of which the monitor keeps what is its own: all frames past the guest's, but for the shadow's
    tables, which may point to the guest's frames and to none of the monitor's that can be written."""
    with BareMachine(
        image,
        MEMORY,
        sink=lambda data: None,
        slice_instructions=SLICE,
        sensitive=sensitive,
        shadow=shadow,
    ) as machine:
        memory = machine.platform.memory
        fixed = slice(MEMORY, (memory.flat_gdt_frame + 1) << PAGE_SHIFT)
        before = bytes(machine.platform.ram.bytes[fixed])
        yield machine
        assert bytes(machine.platform.ram.bytes[fixed]) == before
        assert machine.audit() == []
        assert machine.guest.vcpus[0].cpu.cs & 3 in (1, 3) or sensitive is Sensitive.STATE


def end_of(image: bytes, traps: int = TRAPS, shadow: Policy = Policy.VTLB, slices: int = 0) -> str:
    """How a kernel came to its end, or why it was left: after so many traps, or with `slices` after as many
    slices or waits for a timer."""
    with guarded(image, shadow=shadow) as machine:
        if slices:
            end_after(slices, machine)
        ending = machine.run(timeout=HOST_TIMEOUT, max_traps=traps)
        guest = machine.guest
        assert ending.reason is not StopReason.TIMEOUT, "the monitor has the host busy"
        if guest.exit_code is not None:
            return EXITS
        sentence = guest.failure or guest.reset_by or ending.reason.name
        assert "\n" not in sentence
        assert "Traceback" not in sentence
        return sentence


def end_after(slices: int, machine: BareMachine) -> None:
    """Have a machine left after so many slices: a loop without a trap ends no other way."""
    if slices:
        machine.post(lambda: end_after(slices - 1, machine))
    else:
        machine.interrupt()
