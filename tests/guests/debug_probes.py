"""Breakpoints on data and ports that instructions hit which trap: probes for `tests.support.probes`."""

from __future__ import annotations

from typing import Final

from tests.support.probes import Probe

_DEBUG, _INVALID = 1, 6
_WRITES, _PORTS, _ACCESSES = 1, 2, 3
_SERIAL_SCRATCH: Final = 0x3FF
_DE: Final = "mov $8, %eax\nmov %eax, %cr4\n"


def _watched(address: str | int, kind: int, size: int, code: str) -> Probe:
    """`code` while breakpoint 0 is on so many bytes. It is off again as the probe's end pushes its frame:
    QEMU aborts where one hits."""
    dr7 = 1 | (kind | (size - 1) << 2) << 16
    arms = f"movl ${address}, %eax\nmov %eax, %dr0\nmovl ${dr7:#x}, %eax\nmov %eax, %dr7\n"
    off = "\nxorl %eax, %eax\nmov %eax, %dr7"
    return Probe(f"{arms}movl $0xa1b2c3d4, %eax\n{code}{off}", resumed=(_DEBUG, _INVALID))


def stores() -> list[Probe]:
    """What stores, of the instructions that are emulated."""
    whole = [
        _watched(at, _WRITES, 4, f"{code} (%ebx)\nnop")
        for at in ("scratch", "scratch + 4", "scratch + 8")
        for code in ("movl %eax,", "sgdt", "sidt", "smsw", "sldt", "str", "mov %cs,", "mov %ds,")
    ]
    near = [
        _watched("scratch + 1", kind, 1, f"{code} (%ebx)\nnop")
        for kind in (_WRITES, _ACCESSES)
        for code in ("sgdt", "smsw", "mov %ss,")
    ]
    stack = [
        _watched("probe_stack - 4", kind, 4, f"{code}\nnop")
        for kind in (_WRITES, _ACCESSES)
        for code in ("push %cs", "push %ss", "pushf", "lcall $8, $%%there\n%%there:")
    ]
    busy = [_watched("gdt + 0x8c", _WRITES, 4, "mov $0x88, %eax\nltr %ax\nnop")]
    return [*whole, *near, *stack, *busy]


def loads() -> list[Probe]:
    """What reads, and would not with a breakpoint on writes alone."""
    return [
        _watched(at, kind, 4, code)
        for kind in (_WRITES, _ACCESSES)
        for at, code in (
            ("gdtr", "lgdt gdtr\nnop"),
            ("idtr + 4", "lidt idtr\nnop"),
            ("scratch", "movl $0x10, (%ebx)\nmov (%ebx), %ds\nnop"),
            ("scratch + 4", "movl $0x10, 4(%ebx)\nlds (%ebx), %eax\nnop"),
            ("scratch + 4", "movl $%%there, (%ebx)\nmovl $8, 4(%ebx)\nljmp *(%ebx)\nnop\n%%there: nop"),
            ("scratch", "movl $1, (%ebx)\nlmsw (%ebx)\nnop"),
        )
    ]


def strings() -> list[Probe]:
    """Elements before and after one that is hit."""
    return [
        _watched(at, kind, size, f"movl $0x2e0, %edx\n{code}\nnop")
        for at, kind, size, code in (
            ("WINDOW", _WRITES, 1, "insb"),
            ("WINDOW + 1", _WRITES, 1, "insb"),
            ("WINDOW + 2", _WRITES, 1, "rep insb"),
            ("WINDOW + 6", _WRITES, 1, "rep insl"),
            ("WINDOW + 4", _WRITES, 4, "rep insw"),
            ("WINDOW", _WRITES, 1, "movl $WINDOW + 3, %edi\nstd\nrep insb\ncld"),
            ("scratch + 2", _ACCESSES, 1, "rep outsb"),
            ("scratch + 2", _WRITES, 1, "rep outsb"),
            ("scratch", _ACCESSES, 2, "rep outsw"),
            ("scratch", _ACCESSES, 1, "xorl %ecx, %ecx\nrep outsb"),
        )
    ]


def ports() -> list[Probe]:
    """Breakpoints on ports, which need CR4.DE; with it DR4 and DR5 are not there."""
    use = f"movl ${_SERIAL_SCRATCH}, %edx\n"
    codes = (
        *("outb %al, %dx", "inb %dx, %al", "decl %edx\noutb %al, %dx", "decl %edx\noutw %ax, %dx"),
        *("inb $0x80, %al", "insb", "outsb"),
    )
    return [
        _watched(at, _PORTS, size, f"{_DE}{use}{code}\nnop")
        for at, size in ((_SERIAL_SCRATCH, 1), (0x3FC, 4), (0x80, 1))
        for code in codes
    ] + [Probe(f"{_DE}mov %dr{number}, %eax", ring) for number in (4, 5) for ring in (0, 3)]


def resumed() -> list[Probe]:
    """Instructions with a breakpoint whose operands the shadow has yet to map: to hit that once is enough,
    each time that they are come to. The last of the single ones is a fault of the guest's own."""
    flushed = "movl %cr3, %eax\nmovl %eax, %cr3\n"
    armed = "movl $%%here, %eax\nmovl %eax, %dr0\nmovl $1, %eax\nmovl %eax, %dr7\n"
    codes = (
        "movl %ecx, CODE_ALIAS",
        "movl CODE_ALIAS, %ecx",
        "pushl CODE_ALIAS",
        "lgdt gdtr",
        "movl ABSENT, %ecx",
    )
    again = "movl $3, %ecx\n%%here: movl %eax, CODE_ALIAS(, %ecx, 4)\ndecl %ecx\njnz %%here\nnop"
    return [
        *(Probe(f"{armed}{flushed}%%here: {code}\nnop", resumed=(_DEBUG,)) for code in codes),
        Probe(f"{armed}{flushed}{again}", resumed=(_DEBUG,)),
    ]
