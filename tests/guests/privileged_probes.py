"""What a kernel does in ring 0, and what ring 3 must not do: probes for `tests.support.probes`, by subject.

The selectors are those of probes.S, and DS:EBX is 128 bytes of memory there.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from tests.support.probes import Probe

_RINGS: Final = (0, 3)
_SERIAL: Final = 0x24
"""The vector of the serial port's interrupt."""

# Loads of segment registers: each of these selectors, with every way to load one.
_SELECTORS: Final = (
    *(0x00, 0x03, 0x08, 0x10, 0x11, 0x13, 0x18, 0x1B, 0x20, 0x23, 0x28, 0x30, 0x38, 0x40, 0x48, 0x50, 0x53),
    *(0x58, 0x60, 0x63, 0x68, 0xA8, 0xB3, 0xB8, 0xD0, 0xD3, 0xD8, 0xDB, 0xE0, 0xE3, 0x100, 0xFFFF),
    *(0x04, 0x07, 0x0C, 0x14, 0x1C, 0x24, 0x27, 0x2C, 0x34, 0x37),
)
_LOADS: Final = {
    "mov ds": "mov ${0}, %eax\nmov %ax, %ds",
    "mov ss": "mov ${0}, %eax\nmov %ax, %ss",
    "pop es": "pushl ${0}\npop %es",
    "pop fs": "pushl ${0}\npop %fs",
    "pop ss": "pushl ${0}\npop %ss",
    "lgs": "movl $0x1234, (%ebx)\nmovw ${0}, 4(%ebx)\nlgs (%ebx), %ecx",
    "lss": "mov %esp, (%ebx)\nmovw ${0}, 4(%ebx)\nlss (%ebx), %esp",
}
_RESTORED: Final = "\nmov $0x10, %eax\nmov %ax, %ss"
"""A stack segment that ring 0's handlers can use."""

# Transfers to other code segments: by every way to get there, each of these.
_CODE_SELECTORS: Final = (
    *(
        0x00,
        0x03,
        0x08,
        0x0B,
        0x10,
        0x18,
        0x1B,
        0x38,
        0x40,
        0x43,
        0x48,
        0x4B,
        0x50,
        0x53,
        0xBB,
        0xB8,
        0x30,
        0x90,
    ),
    *(0x0C, 0x0F, 0x14, 0x1C, 0x24, 0x34, 0x100, 0xFFFF),
)
_GATES: Final = (0x68, 0x6B, 0x70, 0x73, 0x78, 0x7B, 0xF0, 0xF3, 0xF8, 0x2C, 0x2F)
_TRANSFERS: Final = {
    "ljmp": "ljmp ${0}, $%%there\nhlt\n%%there:",
    "lcall": "lcall ${0}, $%%there\nhlt\n%%there:",
    "ljmp m": "movl $%%there, (%ebx)\nmovw ${0}, 4(%ebx)\nljmp *(%ebx)\nhlt\n%%there:",
    "lcall m": "movl $%%there, (%ebx)\nmovw ${0}, 4(%ebx)\nlcall *(%ebx)\nhlt\n%%there:",
    "lret": "pushl ${0}\npushl $%%there\nlret\nhlt\n%%there:",
    "iret": "pushfl\npushl ${0}\npushl $%%there\niret\nhlt\n%%there:",
}
_STACK_SELECTORS: Final = (
    0x00,
    0x03,
    0x10,
    0x13,
    0x1B,
    0x20,
    0x23,
    0x3B,
    0x63,
    0xB3,
    0xD3,
    0xDB,
    0xE3,
    0x07,
    0x27,
)
_OUTWARD: Final = {
    "lret": "mov $0x10, %eax\nmov %eax, %fs\nmov $0x23, %eax\nmov %eax, %gs\n"
    "pushl ${0}\npushl $probe_stack\npushl $0x1B\npushl $%%there\nlret\nhlt\n%%there:",
    "lret n": "pushl ${0}\npushl $probe_stack\npushl $0\npushl $0x1B\npushl $%%there\nlret $4\nhlt\n%%there:",
    "iret": "mov $0x10, %eax\nmov %eax, %fs\nmov $0x23, %eax\nmov %eax, %gs\n"
    "pushl ${0}\npushl $probe_stack\npushl $0x3202\npushl $0x1B\npushl $%%there\niret\nhlt\n%%there:",
}


def _both(*codes: str) -> list[Probe]:
    return [Probe(code, ring) for code, ring in product(codes, _RINGS)]


def _written(register: str, *values: int) -> list[str]:
    return [f"mov ${value:#x}, %eax\nmov %eax, %{register}\nmov %{register}, %ecx" for value in values]


def segment_loads() -> list[Probe]:
    """Loads of segment registers. Ring 0 has its stack back before it ends."""
    return [
        Probe(code.format(hex(selector)) + (_RESTORED if "ss" in name and not ring else ""), ring)
        for (name, code), selector, ring in product(_LOADS.items(), _SELECTORS, _RINGS)
    ]


def far_transfers() -> list[Probe]:
    """Jumps, calls and returns between code segments."""
    direct = [
        Probe(code.format(hex(selector)), ring)
        for code, selector, ring in product(_TRANSFERS.values(), _CODE_SELECTORS, _RINGS)
        if ring or not selector & 3 or "ret" not in code
    ]
    outward = [
        Probe(code.format(hex(selector))) for code, selector in product(_OUTWARD.values(), _STACK_SELECTORS)
    ]
    return [*direct, *outward]


def call_gates() -> list[Probe]:
    """Through call gates, good and bad."""
    return [
        Probe(code.format(hex(selector)), ring)
        for code, selector, ring in product(list(_TRANSFERS.values())[:4], _GATES, _RINGS)
    ]


def control_registers() -> list[Probe]:
    """CR0 to CR4, and the debug registers."""
    return _both(
        *_written("cr0", 0x80010011, 0x8001003B, 0x80010033, 0x80000011, 0x80010001, 0xE0010011, 0xA0010011),
        *_written("cr0", 0x80050011, 0x80010015),
        *_written("cr2", 0, 0xDEADBEEF),
        *_written("cr4", 0, 4, 0x10, 0x80, 0x100, 0x200, 0x400),
        *_written("dr0", 0x1234),
        *_written("dr3", 0xFFFFFFFF),
        *_written("dr6", 0, 0xFFFFFFFF),
        *_written("dr7", 0x400, 0, 0xFFFF0000 & ~0xFFFF0000),
        *_written("dr4", 0xFFFF0FF0),
        *_written("dr5", 0x400),
        "mov %cr3, %eax\nmov %eax, %cr3",
        "mov %cr1, %eax",
        "mov %eax, %cr1",
        "mov %cr5, %eax",
        "mov %eax, %cr7",
        ".byte 0x0f, 0x20, 0x00",  # MOV from CR0 whose ModRM says memory
        "clts",
        "mov $0x8001001b, %eax\nmov %eax, %cr0\nclts",
        "mov $0xb, %eax\nlmsw %ax",
        "mov $0, %eax\nlmsw %ax",
        "movw $5, (%ebx)\nlmsw (%ebx)",
        "mov $0x8001001b, %eax\nmov %eax, %cr0\nfnop",
        "mov $0x80010015, %eax\nmov %eax, %cr0\nfnop",
        "mov $0x80010019, %eax\nmov %eax, %cr0\nfwait",
        "mov $0x8001001b, %eax\nmov %eax, %cr0\nfwait",
    )


def tables() -> list[Probe]:
    """LGDT, LIDT, LLDT, LTR, INVLPG."""
    loads = [
        f"mov ${selector:#x}, %eax\n{name} %ax"
        for name in ("lldt", "ltr")
        for selector in (
            0,
            3,
            0x08,
            0x28,
            0x2B,
            0x30,
            0x33,
            0x88,
            0x90,
            0x98,
            0xA0,
            0xA8,
            0x04,
            0x100,
            0xFFFF,
        )
    ]
    return _both(
        *loads,
        "mov $0x88, %eax\nltr %ax\nmov gdt + 0x8c, %eax",
        "lgdt gdtr",
        "lidt idtr",
        "lgdtw gdtr",
        ".byte 0x66\nlidt idtr",
        ".byte 0x0f, 0x01, 0xd0",
        "invlpg (%ebx)",
        "invlpg WINDOW",
        "invlpg ABSENT",
        ".byte 0x0f, 0x01, 0xf8 + 1",
        "lgdt ABSENT",
        "lldt ABSENT",
        "lgdt 0x403ffd",
    )


def small_gates() -> list[Probe]:
    """Gates of 16 bits: vector 0x65 is made one, with a segment of 32 bits that begins with the kernel."""
    made = (
        "movl $0x0000ffff, gdt + 0x40\nmovl $0x00cf9b10, gdt + 0x44\n"
        "movl $0x400000 + %%there - 0x100000, idt + 8 * 0x65\nmovl $0x{0}00, idt + 8 * 0x65 + 4\n"
    )
    ends = "\nhlt\n%%there: popw %ax\nmovzwl %ax, %eax\nsubl $probes, %eax\npopw %cx\npopw %dx\nint $DONE"
    return [
        Probe(made.format(access) + code + ends, eflags=eflags)
        for access in ("e6", "e7", "66")
        for code in ("int $0x65", "pushfl\nint $0x65")
        for eflags in (2, 0x202, 0x80202)
    ]


def others() -> list[Probe]:
    """Processor control that has no operands, and model-specific registers."""
    return [
        *_both("wbinvd", "invd", "clts", "cli", "sti", "rdtsc\nmov $0, %eax\nmov $0, %edx"),
        *_both("mov $4, %eax\nmov %eax, %cr4\nrdtsc\nmov $0, %eax\nmov $0, %edx"),
        *_both("sysenter", "sysexit", "ud2", ".byte 0x0f, 0xff", ".byte 0xf1\nnop", "rsm"),
        *(Probe(code, 3, eflags=0x3002) for code in ("cli", "sti", "hlt", "clts", "wbinvd")),
        *(Probe(code, ring, eflags=0x202) for code in ("cli", "sti") for ring in _RINGS),
        Probe("hlt", 3),
        Probe("int3", 0),
        Probe("int3", 3),
        Probe("int3\nnop", 3, resumed=(3,)),
        Probe(".byte 0xcd, 3\nnop", 3, resumed=(3,)),
        *(Probe("into\nnop", ring, eflags, (4,)) for ring in _RINGS for eflags in (2, 0x802)),
        *_both("movl $1, (%ebx)\nmovl $9, 4(%ebx)\nmov $5, %eax\nbound %eax, (%ebx)"),
        *_both("movl $1, (%ebx)\nmovl $9, 4(%ebx)\nmov $10, %eax\nbound %eax, (%ebx)"),
        *_both(
            *(f"int ${n:#x}" for n in (0x0, 0x1, 0x2, 0x5, 0x21, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67))
        ),
        *_both("int $0x70", "int $0x80", "int $0xff"),
        *_both("xor %ecx, %ecx\ndiv %ecx", "mov ABSENT, %eax", "mov %eax, READ_ONLY", "mov SUPERVISOR, %eax"),
        *_both(
            "mov %eax, SUPERVISOR", "push ABSENT", "pop ABSENT", "jmp *ABSENT", "mov $ABSENT, %eax\njmp *%eax"
        ),
        *_both("mov $0x80000011, %eax\nmov %eax, %cr0\nmov %eax, READ_ONLY"),
    ]


def input_output() -> list[Probe]:
    """Ports, by IOPL and by the TSS's map, in which ring 3 may use port 0x2E0 alone."""
    instructions = (
        *("in $0x80, %al", "out %al, $0x80", "in $0x80, %eax", "in %dx, %al", "outw %ax, %dx"),
        "mov $0x3ff, %edx\nmov $0x5a, %al\nout %al, %dx\nxor %eax, %eax\nin %dx, %al",
    )
    strings = (
        "mov $0x3ff, %edx\ninsb",
        "mov $0x3ff, %edx\nrep insb",
        "mov $0x2e0, %edx\nrep insw",
        "mov $0x3ff, %edx\nstd\nrep insb",
        "mov $0x2e0, %edx\nmov $0, %ecx\nrep insl",
        "mov $0x3ff, %edx\nmov $ABSENT - 3, %edi\nrep insb",
        "mov $0x2e0, %edx\nmov $ABSENT - 2, %edi\ninsl",
        "mov $0x3ff, %edx\nmov $READ_ONLY, %edi\ninsb",
        "mov $0x3ff, %edx\nmov $SUPERVISOR, %edi\ninsb",
        "mov $0x3ff, %edx\noutsb",
        "mov $0x3ff, %edx\nrep outsb",
        "mov $0x3ff, %edx\nmov $ABSENT - 3, %esi\nrep outsb",
        "mov $0x3ff, %edx\nmov $0x10000, %ecx\n.byte 0x67\nrep outsb",
        "mov $0x3ff, %edx\nmov $600, %ecx\nmov $WINDOW, %esi\nrep outsb",
    )
    here = [
        Probe(code, ring, eflags)
        for code in (*instructions, *strings)
        for ring, eflags in ((0, 2), (3, 2), (3, 0x3002), (3, 0x1002))
    ]
    by_map = [
        Probe(f"mov ${port:#x}, %edx\n{code}", 3)
        for port in (0x2DF, 0x2E0, 0x2E7, 0x2E8, 0x300, 0xFFFF)
        for code in ("in %dx, %al", "out %al, %dx", "in %dx, %ax", "in %dx, %eax", "insb", "rep outsb")
    ]
    return [*here, *by_map]
