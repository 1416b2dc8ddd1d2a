"""A kernel of a bare PC finds its own section headers and symbols."""

from __future__ import annotations

import struct

import pytest

from paravane import BareMachine
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.image.elf import Elf
from tests.support.boot import HOST_TIMEOUT

pytestmark = pytest.mark.slow

KERNEL = """
        .globl _start
        .align 4
        .long 0x1BADB002, 0, -0x1BADB002
_start: cld
        mov $0x3f8, %edx
        mov $1, %al
        testl $0x20, (%ebx)                 # are there section headers?
        jz done
        mov 28(%ebx), %ecx                  # how many, as long as their size says, at an address
        imul 32(%ebx), %ecx
        mov 36(%ebx), %esi
        rep outsb
        mov 40(%ebx), %eax                  # the names of the sections
        imul 32(%ebx), %eax
        call show
        mov 28(%ebx), %ebp                  # the symbols: a section of kind 2
        xor %eax, %eax
1:      mov 36(%ebx), %edi
        cmpl $2, 4(%edi, %eax)
        je 2f
        add 32(%ebx), %eax
        dec %ebp
        jnz 1b
2:      call show
        mov $0, %al
done:   outb %al, $0xf4
        hlt

show:   add 36(%ebx), %eax                  # the contents of the section of which EAX is the header
        mov 12(%eax), %esi
        mov 20(%eax), %ecx
        sub 36(%ebx), %eax
        rep outsb
        ret
        .bss
        .skip 0x1234
"""


def _symbols(elf: Elf) -> bytes:
    table = next(section for section in elf.sections if section.sh_type == 2)
    return bytes(elf.contents(table.sh_offset, table.sh_size, "symbols"))


def test_kernel_finds_its_sections_and_symbols() -> None:
    console, image = bytearray(), write_elf(assemble_text(KERNEL, base=0x100000))
    with BareMachine(image, 4 << 20, sink=console.extend) as machine:
        machine.run(timeout=HOST_TIMEOUT)
        assert machine.guest.exit_code == 0, machine.guest.failure
    elf = Elf(image)
    names = elf.sections[elf.header.e_shstrndx]
    told = bytes(console)
    headers, contents = told[: 40 * len(elf.sections)], told[40 * len(elf.sections) :]
    assert contents == bytes(elf.contents(names.sh_offset, names.sh_size, "names")) + _symbols(elf)
    image_end = max(segment.p_paddr + segment.p_memsz for segment in elf.segments)
    for found, own in zip(struct.iter_unpack("<10I", headers), elf.sections, strict=True):
        assert (found[:3], found[4:]) == (own[:3], own[4:])
        if own.sh_addr or not own.sh_size:
            assert found[3] == own.sh_addr
        else:
            assert found[3] >= image_end
