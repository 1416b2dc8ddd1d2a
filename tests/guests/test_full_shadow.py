"""What kernels do with their page tables: under each policy of the shadow they write what they write in
QEMU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import guest_kernels
from paravane.asm import build
from paravane.full.machine import BareMachine
from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from tests.support.bare_pc import MEMORY, kernel, lines_of
from tests.support.boot import HOST_TIMEOUT
from tests.support.qemu import POWERED_OFF, on_qemu

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.slow

# The first 4 MiB as they are, for ring 3 too, and a handler of page faults.
BEGIN = """
        mov $fault, %eax
        mov $14, %ecx
        mov $0x8e, %dl
        call gate
        mov $table, %edi
        mov $7, %eax
1:      stosl
        add $4096, %eax
        cmp $0x400007, %eax
        jb 1b
        movl $table + 7, directory
        mov $directory, %eax
        mov %eax, %cr3
        mov %cr0, %eax
        or $0x80010000, %eax
        mov %eax, %cr0
"""

# Print the address and the error code, and skip the instruction, of two bytes.
SKIP = """
fault:  mov %cr2, %eax
        call hex
        pop %eax
        call hex
        addl $2, (%esp)
        iret
"""

PAGES = """
        .bss
        .align 4096
second: .skip 4096
third:  .skip 4096
fourth: .skip 4096
fifth:  .skip 4096
        .text
"""

FORK = """
        # The other address space has a table of its own, and one page in common: read-only in both.
        mov $table, %esi
        mov $second, %edi
        mov $1024, %ecx
        rep movsl
        movl $second + 7, third
        movl $0x11, 0x300000
        movl $0x300005, table + 0xc00
        movl $0x300005, second + 0xc00
        mov %cr3, %eax
        mov %eax, %cr3
        movl $0x22, 0x300000
        mov 0x300000, %eax
        call hex
        mov $third, %eax
        mov %eax, %cr3
        mov 0x300000, %eax
        call hex
        movl $0x33, 0x300000
        mov $directory, %eax
        mov %eax, %cr3
        mov 0x300000, %eax
        call hex
        mov $third, %eax
        mov %eax, %cr3
        mov 0x300000, %eax
        call hex
        mov table + 0xc00, %eax
        call hex
        mov second + 0xc00, %eax
        call hex
        jmp exit
        # Copy the page to the next free one, for this address space.
fault:  pusha
        mov 32(%esp), %eax
        call hex
        incl copies
        mov copies, %ebx
        shl $12, %ebx
        lea 0x310000(%ebx), %edi
        mov $0x300000, %esi
        mov $1024, %ecx
        rep movsl
        lea 0x310007(%ebx), %eax
        mov $table, %edx
        mov %cr3, %ecx
        cmp $third, %ecx
        jne 1f
        mov $second, %edx
1:      mov %eax, 0xc00(%edx)
        invlpg 0x300000
        popa
        add $4, %esp
        iret
        .data
copies: .long 0
        .text
"""

REUSED = """
        movl $second + 7, directory + 4
        mov $2, %ebp
2:      movl $0x300007, second
        mov 0x400000, %eax
        movl $0x44, 0x400000
        mov 0x300000, %eax
        call hex
        # It is freed, and becomes a stack, which is used, and then a table once more.
        movl $0, directory + 4
        mov %cr3, %eax
        mov %eax, %cr3
        mov %esp, %ebx
        mov $third, %esp
        mov $30, %ecx
3:      push %ecx
        call 4f
        pop %eax
        loop 3b
        mov %ebx, %esp
        call hex
        mov $0x400000, %ebx
        mov (%ebx), %ecx
        mov $second, %edi
        xor %eax, %eax
        mov $1024, %ecx
        rep stosl
        movl $second + 7, directory + 4
        dec %ebp
        jnz 2b
        jmp exit
4:      pusha
        popa
        ret
"""

RECURSIVE = """
        movl $directory + 3, directory + 4092
        mov 0xffc00000 + 0xc00, %eax
        call hex
        movl $0x77, 0x301000
        movl $0x301003, 0xffc00000 + 0xc00
        invlpg 0x300000
        mov 0x300000, %eax
        call hex
        movl $second + 3, 0xfffff004
        movl $0x301003, 0xffc01000
        mov 0x400000, %eax
        call hex
        mov second, %eax
        call hex
        mov 0xfffff000, %eax
        sub $table, %eax
        call hex
        mov directory + 4092, %eax
        sub $directory, %eax
        call hex
        mov 0xfffff000 + 4092, %eax
        sub $directory, %eax
        call hex
        movl $0, 0xfffff004
        mov %cr3, %eax
        mov %eax, %cr3
        mov $0x400000, %ebx
        mov (%ebx), %eax
        jmp exit
"""

TWO_LEVELS = """
        # The directory is the page table of the third 4 MiB as well: its tables are read and written there.
        movl $directory + 3, directory + 8
        mov 0x800000 + 0xc00, %eax
        call hex
        movl $0x88, 0x302000
        mov 0x300000, %eax
        movl $0x302003, 0x800000 + 0xc00
        invlpg 0x300000
        mov 0x300000, %eax
        call hex
        mov table + 0xc00, %eax
        call hex
        mov directory + 8, %eax
        sub $directory, %eax
        call hex
        mov directory, %eax
        sub $table, %eax
        call hex
        jmp exit
"""

LARGE = """
        mov %cr4, %eax
        or $0x10, %eax
        mov %eax, %cr4
        movl $0x87, directory
        mov %cr3, %eax
        mov %eax, %cr3
        mov directory, %eax
        call hex
        movl $0x400087, directory + 8
        movl $0x99, 0x800000
        mov directory + 8, %eax
        call hex
        movl $0x400087, directory + 12
        mov 0xc00000, %eax
        call hex
        mov directory + 12, %eax
        call hex
        movl $0xaa, 0xa00000
        mov 0xe00000, %eax
        call hex
        # A page table within the large page, filled while it is in use.
        movl $second + 7, directory + 4
        mov $20, %ecx
        mov $second, %edi
        mov $0x300007, %eax
1:      mov %eax, (%edi)
        mov %edi, %ebx
        sub $second, %ebx
        shl $10, %ebx
        mov %ecx, 0x400000(%ebx)
        add $4, %edi
        add $4096, %eax
        loop 1b
        mov 0x300000, %eax
        call hex
        mov 0x313000, %eax
        call hex
        mov second, %eax
        call hex
        # The large page becomes read-only, and small ones.
        movl $0x400085, directory + 8
        invlpg 0x800000
        mov $0x900000, %ebx
        mov %eax, (%ebx)
        movl $second + 7, directory + 8
        invlpg 0x800000
        mov 0x801000, %eax
        call hex
        mov directory + 8, %eax
        sub $second, %eax
        call hex
        jmp exit
"""

MARKS = """
        mov 0x300000, %eax
        mov table + 0xc00, %eax
        call hex
        movl $1, 0x300000
        mov table + 0xc00, %eax
        call hex
        movl $0x300007, table + 0xc00
        invlpg 0x300000
        movl $2, 0x300000
        mov table + 0xc00, %eax
        call hex
        andl $~0x40, table + 0xc00
        invlpg 0x300000
        mov 0x300000, %eax
        mov table + 0xc00, %eax
        call hex
        lock btsl $6, table + 0xc00
        mov $0x300025, %eax
        xchg %eax, table + 0xc00
        call hex
        invlpg 0x300000
        mov $0x300000, %ebx
        mov %eax, (%ebx)
        mov table + 0xc00, %eax
        call hex
        movw $0, table + 0xc00
        invlpg 0x300000
        mov (%ebx), %eax
        mov table + 0xc00, %eax
        call hex
        mov directory, %eax
        sub $table, %eax
        call hex
        jmp exit
"""

UNPROTECTED = """
        # With CR0.WP clear ring 0 writes what is read-only; ring 3 does not.
        mov $call, %eax
        mov $0x40, %ecx
        mov $0xee, %dl
        call gate
        movl $0x300005, table + 0xc00
        mov %cr0, %eax
        and $~0x10000, %eax
        mov %eax, %cr0
        mov 0x300000, %eax
        movl $0x66, 0x300000
        push $0x23
        push $stack - 4096
        push $2
        push $0x1b
        push $user
        mov $0x23, %ax
        mov %ax, %ds
        iret
user:   mov $0x300000, %ebx
        mov %ebx, (%ebx)
        mov (%ebx), %eax
        int $0x40
        mov %ebx, (%ebx)
        int $0x41
call:   call hex
        movl $0x67, 0x300000
        mov %cr0, %eax
        or $0x10000, %eax
        mov %eax, %cr0
        mov $0x300000, %ebx
        mov %ebx, (%ebx)
        mov (%ebx), %eax
        call hex
        jmp exit
"""

# What stores to a table that is in use, each on its own: the entry for 0x400000, EAX and some flags after it,
# and what is at 0x400000 then.
_STORES = (
    "movl $0x301007, second",
    "mov %ecx, second",
    "mov $0x302007, %eax\n mov %eax, second",
    "orl $0x60, second",
    "andl $0xfffff0ff, second",
    "addl $0x1000, second",
    "subl %edx, second",
    "xorl $0x3000, second",
    "incl second",
    "decl second",
    "negl second\n negl second",
    "notl second\n notl second",
    "mov $0x303007, %eax\n xchg %eax, second",
    "mov $0x1000, %eax\n lock xaddl %eax, second",
    "mov second, %eax\n lock cmpxchg %ecx, second",
    "xor %eax, %eax\n lock cmpxchg %edx, second",
    "lock btsl $5, second",
    "btrl $6, second",
    "btcl $6, second",
    "cld\n mov $second, %edi\n mov %ecx, %eax\n stosl",
    "mov $second, %edi\n mov $entry, %esi\n movsl",
    "mov $second + 4, %edi\n mov $entry, %esi\n mov $2, %ecx\n rep movsl\n mov $0x301007, %ecx",
    "movw $0x2067, second",
    "movb $0x30, second + 2",
    "movl $0x00003030, second + 1",
    "movl $0, second + 4094",
    "push %ecx\n popl second",
    "mov %esp, %ebx\n mov $second + 4, %esp\n push %ecx\n mov %ebx, %esp",
    "mov %esp, %ebx\n mov $second + 32, %esp\n pusha\n mov %ebx, %esp\n mov %ecx, second",
    "movnti %ecx, second",
    "shll $4, second\n shrl $4, second",
    "fninit\n fld1\n fstps second + 8\n mov %ecx, second",
)

ONE_STORE = """
        movl $0x300007, second
        invlpg 0x400000
        mov 0x400000, %ebx
        mov $0x301007, %ecx
        mov $0x1000, %edx
        xor %eax, %eax
        {store}
        pushf
        call hex
        pop %eax
        and $0x41, %eax
        call hex
        mov second, %eax
        call hex
        mov second + 4, %eax
        call hex
        invlpg 0x400000
        mov 0x400000, %eax
        call hex
        mov %cr3, %eax
        mov %eax, %cr3
"""

STORES = f"""
        mov $8, %ecx
        mov $0x300000, %edi
1:      mov %edi, (%edi)
        add $4096, %edi
        loop 1b
        movl $second + 7, directory + 4
        {"".join(ONE_STORE.format(store=store) for store in _STORES)}
        jmp exit
        .data
entry:  .long 0x304007, 0x305007
        .text
"""

PAE = """
        mov %cr0, %eax
        and $0x7fffffff, %eax
        mov %eax, %cr0
        mov %cr4, %eax
        or $0x20, %eax
        mov %eax, %cr4
        movl $second + 1, fifth
        movl $third + 1, fifth + 8
        movl $0x87, second
        movl $0x200087, second + 8
        movl $fourth + 7, third
        movl $0x300007, fourth
        mov $fifth, %eax
        mov %eax, %cr3
        mov %cr0, %eax
        or $0x80000000, %eax
        mov %eax, %cr0
        movl $0xbb, 0x40000000
        mov 0x300000, %eax
        call hex
        mov fourth, %eax
        call hex
        mov second + 8, %eax
        call hex
        # An entry in two halves, and by one instruction.
        movl $0, fourth
        movl $0, fourth + 4
        movl $0x301007, fourth
        invlpg 0x40000000
        movl $0xcc, 0x40000000
        mov 0x301000, %eax
        call hex
        mov fourth, %eax
        mov fourth + 4, %edx
        mov $0x300067, %ebx
        xor %ecx, %ecx
        lock cmpxchg8b fourth
        invlpg 0x40000000
        mov 0x40000000, %eax
        call hex
        # Another directory for the second gigabyte, of large pages.
        movl $second + 1, fifth + 8
        mov %cr3, %eax
        mov %eax, %cr3
        mov 0x40301000, %eax
        call hex
        movl $0x200085, second + 8
        mov %cr3, %eax
        mov %eax, %cr3
        mov $0x40300000, %ebx
        mov %eax, (%ebx)
        mov $0xc0000000, %ebx
        mov (%ebx), %eax
        jmp exit
"""

KERNELS: Mapping[str, str] = {
    "copy on write": BEGIN + FORK + PAGES,
    "table becomes a stack": BEGIN + REUSED + SKIP + PAGES,
    "directory that is a table": BEGIN + RECURSIVE + SKIP + PAGES,
    "directory that is one more table": BEGIN + TWO_LEVELS + SKIP + PAGES,
    "large pages": BEGIN + LARGE + SKIP + PAGES,
    "accessed and dirty": BEGIN + MARKS + SKIP + PAGES,
    "no write protection": BEGIN + UNPROTECTED + SKIP + PAGES,
    "stores of all kinds": BEGIN + STORES + SKIP + PAGES,
    "PAE": BEGIN + PAE + SKIP + PAGES,
}


@pytest.mark.parametrize("name", KERNELS)
def test_page_tables_work_as_in_qemu(name: str, tmp_path: Path) -> None:
    console, status = on_qemu(kernel(KERNELS[name]), MEMORY, tmp_path)
    assert status == POWERED_OFF
    expected = console.decode().splitlines()
    assert expected
    for policy in Policy:
        assert lines_of(KERNELS[name], Sensitive.REWRITE, shadow=policy) == expected


def test_kernel_with_processes_ends_well_with_its_tables_protected() -> None:
    """Whose copies on write, address spaces and table updates are `twice`'s."""
    twice = guest_kernels.load("twice")
    image, written = build(twice.sources, defines={"BARE": 1}), list[bytes]()
    with BareMachine(image, twice.memory, sink=written.append, shadow=Policy.WP) as machine:
        machine.run(timeout=HOST_TIMEOUT)
        assert (machine.guest.failure, machine.guest.exit_code) == (None, 0)
        assert machine.audit() == []
    assert b"".join(written).decode() == twice.expected
