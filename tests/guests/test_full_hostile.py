"""Kernels of a bare PC that mean harm, or that are broken: the monitor and its host stay as they were.

Each ends, in a bounded number of traps, by its own exit or with a sentence; none writes a frame of the
monitor's, and nothing of ours raises.
"""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paravane import BareMachine, ImageError, Sensitive, StopReason
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.full.multiboot import INFO_ADDRESS
from tests.support.boot import HOST_TIMEOUT
from tests.support.hostile_bare import (
    EXITS,
    HEAD,
    MEMORY,
    SLICE,
    SLICES,
    TAIL,
    TRIPLE,
    end_after,
    end_of,
    guarded,
    kernel,
)

pytestmark = pytest.mark.slow

LOAD_IDT = "lidt where\njmp after\nwhere: .word 2047\n.long {}\nafter:\n"


@pytest.mark.parametrize(
    ("body", "end"),
    [
        pytest.param(LOAD_IDT.format("0xfffffc00") + "int $3", TRIPLE, id="idt wraps around 4 GiB"),
        pytest.param(LOAD_IDT.format("0x40000000") + "ud2", TRIPLE, id="idt where no memory is"),
        pytest.param(LOAD_IDT.format(MEMORY - 4) + "ud2", TRIPLE, id="idt cut by the end of memory"),
        pytest.param("xor %esp, %esp\npush %eax", "where it has no memory", id="stack wraps around 0"),
        pytest.param(
            "mov $2, %esp\npushal", "where it has no memory", id="stack across 4 GiB and the end of memory"
        ),
        pytest.param(
            "cld\nmov $0x1f0, %edx\nmov $-1, %ecx\nmov $0x1f0000, %edi\nrep insb", "TRAPS", id="rep insb"
        ),
        pytest.param("mov $-1, %ecx\nmov $0x3f9, %edx\nrep outsl", "TRAPS", id="rep outsl"),
        pytest.param(
            "mov $-1, %ecx\nmov $0x100000, %esi\nmov $0x1ff000, %edi\nrep movsb",
            "where it has no memory",
            id="rep movsb beyond memory",
        ),
        pytest.param("movl %eax, 0xf0000000\njmp exit", EXITS, id="first of all a store where no memory is"),
        pytest.param("1: jmp 1b - 0x40000000", TRIPLE, id="jump to where no memory is"),
        pytest.param("lgdt w\nmov $0x10, %eax\nmov %eax, %ds\nw: .word 0\n.long 0", TRIPLE, id="no gdt"),
        pytest.param(
            "lgdt w\nmov $0x28, %eax\nltr %ax\njmp exit\nw: .word 0x2f\n.long 0xfffffff0",
            TRIPLE,
            id="gdt wraps around 4 GiB",
        ),
        pytest.param("lgdt w\nljmp $8, $exit\nw: .word 0xb\n.long gdt", TRIPLE, id="gdt limit cuts an entry"),
        pytest.param("mov $0x34, %al\noutb %al, $0x43\nmov $1, %al\noutb %al, $0x40\nmov $0, %al\n"
                     "outb %al, $0x40\nmov $8, %ecx\n1: inb $0x40, %al\nloop 1b\njmp exit", EXITS,
                     id="timer that counts one"),
        pytest.param("1: pushl $2\npopfl\npushfl\npopl %eax\nloop 1b\njmp 1b", "TRAPS", id="endless flags"),
        pytest.param(
            "mov $0x200000 - 2, %edi\nmovw $0x9090, (%edi)\njmp *%edi", TRIPLE, id="code at the end of memory"
        ),
        pytest.param("cli\nhlt", "STALLED", id="halts for good"),
    ],
)  # fmt: skip
def test_hostile_kernel_comes_to_an_end(body: str, end: str) -> None:
    assert end in end_of(kernel(body))


# The GDT at 0x120000, and once more at 0x400000, where it is read-only; a TSS at 0x140000. All vectors lead
# to the exit.
LOCKED_GDT = """
        movl $0x87, 0x110000
        movl $0x113007, 0x110004
        movl $0x120025, 0x113000
        mov $0x110000, %eax
        mov %eax, %cr3
        mov $0x10, %eax
        mov %eax, %cr4
        mov $gdt, %esi
        mov $0x120000, %edi
        mov $12, %ecx
        rep movsl
        movb $0x9b, 0x12000d
        movb $0xfb, 0x12001d
        movb $0xf3, 0x120025
        movl $0x67, 0x120028
        movl $0x8914, 0x12002c
        movl $0x90000, 0x140004
        movl $0x10, 0x140008
        xor %ecx, %ecx
1:      movl $0x80000 + exit - 0x100000, idt(, %ecx, 8)
        movl $0x0010ee00, idt + 4(, %ecx, 8)
        inc %ecx
        cmp $32, %ecx
        jb 1b
        lidt i
        lgdt first
        mov $0x28, %eax
        ltr %ax
        mov $0x80010011, %eax
        mov %eax, %cr0
        lgdt second
        pushl $0x23
        pushl $0x80000
        pushl $2
        pushl $0x1b
        pushl $user
        iret
user:   int $3
i:      .word 0x7ff
        .long idt
first:  .word 0x2f
        .long 0x120000
second: .word 0x2f
        .long 0x400000
"""


@pytest.mark.parametrize(("access", "end"), [(0x92, TRIPLE), (0x93, EXITS)])
def test_ring_0_is_not_entered_by_a_descriptor_that_cannot_be_marked(access: int, end: str) -> None:
    """Its stack segment is not accessed yet, and to mark it is a page fault, whose handler would be called
    in ring 0 with the stack of ring 3."""
    assert end in end_of(
        kernel(LOCKED_GDT.replace("movb $0x9b", f"movb ${access:#x}, 0x120015\nmovb $0x9b")), 60
    )


SELF_MAP = """
        mov $0x110000, %edi                 # a directory that is its own table, and maps 4 MiB
        movl $0x83, (%edi)
        movl $0x110003, 0xffc(%edi)
        mov %edi, %cr3
        mov %cr4, %eax
        or $0x10, %eax
        mov %eax, %cr4
        mov %cr0, %eax
        or $0x80000000, %eax
        mov %eax, %cr0
"""


def test_directory_that_is_its_own_table_reaches_only_the_guest() -> None:
    """Each page that it can be made to map is tried, the monitor's frames too."""
    body = SELF_MAP + (
        "mov $0x200000, %ebx\n"
        "1: lea 0x3(%ebx), %eax\nmov %eax, 0xfffffff8\nmov %cr3, %eax\nmov %eax, %cr3\n"
        "mov %ebx, %eax\nmov 0xffffe000, %ecx\nmov %ecx, 0x120000\nmovl $0xdead, 0xffffe000\n"
        "add $0x1000, %ebx\ncmp $0x300000, %ebx\njb 1b\njmp exit"
    )
    assert end_of(kernel(body), 20_000) == EXITS


def test_directory_as_its_own_stack_and_idt() -> None:
    body = SELF_MAP + "lidt w\nmov $0xfffff010, %esp\nint $3\nw: .word 0xffff\n.long 0xfffff000"
    assert TRIPLE in end_of(kernel(body))


@pytest.mark.parametrize("esp", [0, 1, 4, 0x1FFFFF, 0x200001, 0xFFFFFFFF])
def test_chain_of_returns_with_a_broken_stack(esp: int) -> None:
    assert end_of(kernel(f"mov ${esp}, %esp\niret")) != EXITS


@pytest.mark.parametrize("base", [MEMORY - 8, 0xFFFFFFFC, 0x40000000, 0])
def test_task_state_at_the_edge_of_memory(base: int) -> None:
    """Ring 3 faults, and the stack of ring 0 is not to be had."""
    low, middle, high = base & 0xFFFF, base >> 16 & 0xFF, base >> 24
    body = (
        f"movw ${low}, gdt + 0x2a\nmovb ${middle}, gdt + 0x2c\nmovb ${high}, gdt + 0x2f\n"
        "movw $0x67, gdt + 0x28\nmovb $0x89, gdt + 0x2d\nlgdt w\nmov $0x28, %eax\nltr %ax\n"
        "pushl $0x23\npushl $0x90000\npushl $2\npushl $0x1b\npushl $user\niret\n"
        "user: ud2\nw: .word 0x2f\n.long gdt"
    )
    assert TRIPLE in end_of(kernel(body))


@settings(max_examples=300, deadline=None)
@given(header=st.binary(min_size=0, max_size=48), cut=st.integers(0, 100))
def test_damaged_multiboot_header_is_a_sentence(header: bytes, cut: int) -> None:
    flags = int.from_bytes(header[:4].ljust(4, b"\0"), "little")
    head = struct.pack("<3I", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF)
    image = (head + header[4:] + b"\xf4" * 64)[: 100 - cut or None]
    _loads_or_says_why(image)


_SOUND = kernel("jmp exit")


def _loads_or_says_why(image: bytes) -> None:
    refusal = "no refusal"
    try:
        with BareMachine(image, MEMORY, sink=lambda data: None, slice_instructions=SLICE) as machine:
            end_after(SLICES, machine)
            ending = machine.run(timeout=HOST_TIMEOUT, max_traps=50)
            assert ending.reason is not StopReason.TIMEOUT
    except ImageError as error:
        refusal = str(error)
    assert refusal
    assert "\n" not in refusal


PRIVILEGED = (
    *(b"\x0f\x01", b"\x0f\x00", b"\x0f\x20", b"\x0f\x22", b"\x0f\x21", b"\x0f\x23", b"\x0f\x06", b"\x0f\x30"),
    *(b"\xcf", b"\xcb", b"\xea", b"\x9a", b"\xff", b"\x8e", b"\x8c", b"\x1f", b"\x07", b"\x17", b"\x9c"),
    *(b"\x9d", b"\xfa", b"\xfb", b"\xf4", b"\xcc", b"\xcd", b"\xce", b"\x6c", b"\x6e", b"\xf3\x6d"),
    *(b"\xf3\x6f", b"\xe4", b"\xe6", b"\xec", b"\xee", b"\x0f\xb2", b"\x0f\xa1", b"\x0f\x02", b"\x66"),
)  # fmt: skip
RUNS, PER_RUN = 6, 60


@pytest.mark.parametrize("sensitive", Sensitive, ids=lambda mode: mode.value)
@pytest.mark.parametrize("paged", [False, True], ids=["unpaged", "paged"])
def test_random_code_of_ring_0_changes_nothing_of_the_monitors(sensitive: Sensitive, paged: bool) -> None:
    """Half of it are beginnings of instructions that trap. Handlers skip a byte and go on."""
    handlers = "".join(
        f"movl $0x00080000 + (skip{'e' * (vector in (8, 10, 11, 12, 13, 14, 17))} - 0x100000), "
        f"idt + {vector * 8}\nmovl $0x00108e00, idt + {vector * 8 + 4}\n"
        for vector in range(32)
    )
    body = (
        f"{handlers}lgdt g\nlidt i\n{SELF_MAP if paged else ''}"
        "mov $0x150000, %eax\nmov %eax, %ebx\nmov %eax, %edx\nmov %eax, %esi\nmov %eax, %edi\n"
        "mov %eax, %ebp\nmov $16, %ecx\njmp noise\ng: .word 0x2f\n.long gdt\ni: .word 0x7ff\n.long idt\n"
        "skipe: add $4, %esp\nskip: incl (%esp)\niret\n"
        "noise: .skip 4096, 0x90\n"
    )
    program = assemble_text(HEAD + body + TAIL, base=0x100000)
    noise = next(symbol.value for symbol in program.symbols if symbol.name == "noise")
    image = write_elf(program)
    chance = random.Random(f"{sensitive.value} {paged}")
    for _ in range(RUNS):
        with guarded(image, sensitive) as machine:
            code = b""
            while len(code) < 4096:
                known = chance.choice(PRIVILEGED) if chance.random() < 0.5 else b""
                code += known + chance.randbytes(chance.randrange(4))
            machine.platform.ram.write(noise, code[:4096])
            end_after(SLICES, machine)
            ending = machine.run(timeout=HOST_TIMEOUT, max_traps=PER_RUN)
            assert ending.reason is not StopReason.TIMEOUT


def test_loader_of_the_smallest_machine_leaves_its_words_below_the_screen() -> None:
    with BareMachine(_SOUND, 1 << 21, sink=lambda data: None) as machine:
        ram = machine.platform.ram
        assert ram.bytes[0x413:0x415].tobytes() == b"\x80\x02"
        assert ram.bytes[0xB8000:0xB8002].tobytes() == b" \x07"
        assert ram.bytes[INFO_ADDRESS] & 1
