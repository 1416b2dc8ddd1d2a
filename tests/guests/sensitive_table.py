"""Instructions that do not trap in ring 1, and what each shows a guest: on bare hardware, and where nothing
is done about it.

The selectors are those of probes.S. EBX is memory there that is filled with 0x5A, ECX is 5 before.
"""

from __future__ import annotations

from typing import NamedTuple


class Shown(NamedTuple):
    """`code` leaves in ECX what the instruction shows; `bare` and `ignored` are that in ring 0 and in ring
    3, the latter with `--sensitive ignore`."""

    instruction: str
    code: str
    bare: tuple[int, int]
    ignored: tuple[int, int]


SHOWN = (
    Shown("PUSHF", "pushfl; popl %ecx", (0x2, 0x2), (0x202, 0x202)),
    Shown("PUSHF", "pushfw; movzwl (%esp), %ecx", (0x2, 0x2), (0x202, 0x202)),
    Shown("POPF", "pushl $0x202; popfl; pushfl; popl %ecx", (0x202, 0x2), (0x202, 0x202)),
    Shown("POPF", "pushl $0x3002; popfl; pushfl; popl %ecx", (0x3002, 0x2), (0x202, 0x202)),
    Shown("POPF", "pushl $0x3202; popfl; pushfl; popl %ecx", (0x3202, 0x2), (0x202, 0x202)),
    Shown("POPF", "pushl $0x4002; popfl; pushfl; popl %ecx", (0x4002, 0x4002), (0x4202, 0x4202)),
    Shown("POPF", "pushl $0x40002; popfl; pushfl; popl %ecx", (0x40002, 0x40002), (0x40202, 0x40202)),
    Shown("POPF", "pushl $0x200002; popfl; pushfl; popl %ecx", (0x200002, 0x200002), (0x200202, 0x200202)),
    Shown("POPF", "pushl $0x10002; popfl; pushfl; popl %ecx", (0x2, 0x2), (0x202, 0x202)),
    Shown("POPF", "pushl $0x180002; popfl; pushfl; popl %ecx", (0x2, 0x2), (0x202, 0x202)),
    Shown("POPF", "pushl $0x8d7; popfl; pushfl; popl %ecx", (0x8D7, 0x8D7), (0xAD7, 0xAD7)),
    Shown("POPF", "pushw $0x3202; popfw; pushfl; popl %ecx", (0x3202, 0x2), (0x202, 0x202)),
    Shown("MOV from CS", "mov %cs, %ecx", (0x8, 0x1B), (0x9, 0x1B)),
    Shown("MOV from CS", "mov %cs, %cx", (0x8, 0x1B), (0x9, 0x1B)),
    Shown(
        "MOV from CS",
        "mov %cs, (%ebx); movl (%ebx), %ecx",
        (0x5A5A0008, 0x5A5A001B),
        (0x5A5A0009, 0x5A5A001B),
    ),
    Shown(
        "MOV from CS",
        "movl $scratch, %ebx; .byte 0x8c, 0x4b, 0x04; movl 4(%ebx), %ecx",
        (0x5A5A0008, 0x5A5A001B),
        (0x5A5A0009, 0x5A5A001B),
    ),
    Shown("MOV from CS", ".byte 0x67, 0x8c, 0xc9", (0x8, 0x1B), (0x9, 0x1B)),
    Shown("MOV from SS", "mov %ss, %ecx", (0x10, 0x23), (0x11, 0x23)),
    Shown("MOV from SS", "mov %ss, %cx", (0x10, 0x23), (0x11, 0x23)),
    Shown(
        "MOV from SS",
        "mov %ss, (%ebx); movl (%ebx), %ecx",
        (0x5A5A0010, 0x5A5A0023),
        (0x5A5A0011, 0x5A5A0023),
    ),
    Shown("MOV from DS", "mov %ds, %ecx", (0x10, 0x23), (0x10, 0x23)),
    Shown(
        "MOV from DS",
        "mov %ds, (%ebx); movl (%ebx), %ecx",
        (0x5A5A0010, 0x5A5A0023),
        (0x5A5A0010, 0x5A5A0023),
    ),
    Shown("MOV from ES", "mov %es, %ecx", (0x10, 0x23), (0x10, 0x23)),
    Shown("MOV from FS, GS", "mov $0x23, %eax; mov %eax, %fs; mov %fs, %ecx", (0x23, 0x23), (0x23, 0x23)),
    Shown(
        "MOV from FS, GS", "mov $0x23, %eax; mov %eax, %gs; push %gs; pop %ecx", (0x23, 0x23), (0x23, 0x23)
    ),
    Shown("PUSH CS", "push %cs; popl %ecx", (0x8, 0x1B), (0x9, 0x1B)),
    Shown("PUSH CS", ".byte 0x66, 0x0e; movzwl (%esp), %ecx", (0x8, 0x1B), (0x9, 0x1B)),
    Shown("PUSH SS", "push %ss; popl %ecx", (0x10, 0x23), (0x11, 0x23)),
    Shown("PUSH SS", ".byte 0x66, 0x16; movzwl (%esp), %ecx", (0x10, 0x23), (0x11, 0x23)),
    Shown("PUSH DS", "push %ds; popl %ecx", (0x10, 0x23), (0x10, 0x23)),
    Shown("SMSW", "smsw %ecx", (0x80010011, 0x80010011), (0x33, 0x33)),
    Shown("SMSW", "smsw %cx", (0x11, 0x11), (0x33, 0x33)),
    Shown("SMSW", "smsw (%ebx); movl (%ebx), %ecx", (0x5A5A0011, 0x5A5A0011), (0x5A5A0033, 0x5A5A0033)),
    Shown("SGDT", "sgdt (%ebx); movzwl (%ebx), %ecx", (0xFF, 0xFF), (0x0, 0x0)),
    Shown("SGDT", "sgdt (%ebx); cmpl $gdt, 2(%ebx); setz %cl; movzbl %cl, %ecx", (0x1, 0x1), (0x0, 0x0)),
    Shown(
        "SGDT",
        ".byte 0x66; sgdt (%ebx); cmpl $gdt, 2(%ebx); setz %cl; movzbl %cl, %ecx",
        (0x1, 0x1),
        (0x0, 0x0),
    ),
    Shown("SIDT", "sidt (%ebx); movzwl (%ebx), %ecx", (0x37F, 0x37F), (0x0, 0x0)),
    Shown("SIDT", "sidt (%ebx); cmpl $idt, 2(%ebx); setz %cl; movzbl %cl, %ecx", (0x1, 0x1), (0x0, 0x0)),
    Shown("SLDT", "sldt %ecx", (0x30, 0x30), (0x0, 0x0)),
    Shown("SLDT", "sldt %cx", (0x30, 0x30), (0x0, 0x0)),
    Shown("SLDT", "sldt (%ebx); movl (%ebx), %ecx", (0x5A5A0030, 0x5A5A0030), (0x5A5A0000, 0x5A5A0000)),
    Shown("STR", "str %ecx", (0x28, 0x28), (0x0, 0x0)),
    Shown("STR", "str %cx", (0x28, 0x28), (0x0, 0x0)),
    Shown("STR", "str (%ebx); movl (%ebx), %ecx", (0x5A5A0028, 0x5A5A0028), (0x5A5A0000, 0x5A5A0000)),
    Shown("LAR", "movl $0x0, %eax; lar %eax, %ecx", (0x5, 0x5), (0x5, 0x5)),
    Shown("LAR", "movl $0x8, %eax; lar %eax, %ecx", (0xC09B00, 0x5), (0x5, 0x5)),
    Shown("LAR", "movl $0x10, %eax; lar %eax, %ecx", (0xC09300, 0x5), (0x5, 0x5)),
    Shown("LAR", "movl $0x1b, %eax; lar %eax, %ecx", (0xC0FB00, 0xC0FB00), (0x5, 0x5)),
    Shown("LAR", "movl $0x23, %eax; lar %eax, %ecx", (0xC0F200, 0xC0F300), (0x5, 0x5)),
    Shown("LAR", "movl $0x28, %eax; lar %eax, %ecx", (0x8B00, 0x5), (0x5, 0x5)),
    Shown("LAR", "movl $0x30, %eax; lar %eax, %ecx", (0x8200, 0x5), (0x5, 0x5)),
    Shown("LAR", "movl $0x38, %eax; lar %eax, %ecx", (0xC01200, 0x5), (0x5, 0x5)),
    Shown("LAR", "movl $0x50, %eax; lar %eax, %ecx", (0xC09F00, 0xC09F00), (0x5, 0x5)),
    Shown("LAR", "movl $0x68, %eax; lar %eax, %ecx", (0x10EC00, 0x10EC00), (0x5, 0x5)),
    Shown("LAR", "movl $0xa8, %eax; lar %eax, %ecx", (0xE500, 0xE500), (0x5, 0x5)),
    Shown("LAR", "movl $0xb3, %eax; lar %eax, %ecx", (0x40F200, 0x40F200), (0x5, 0x5)),
    Shown("LAR", "movl $0xf, %eax; lar %eax, %ecx", (0xC0FB00, 0xC0FB00), (0x5, 0x5)),
    Shown("LAR", "movl $0x14, %eax; lar %eax, %ecx", (0xC09B00, 0x5), (0x5, 0x5)),
    Shown("LAR", "movl $0x34, %eax; lar %eax, %ecx", (0x5, 0x5), (0x5, 0x5)),
    Shown("LAR", "movl $0x100, %eax; lar %eax, %ecx", (0x5, 0x5), (0x5, 0x5)),
    Shown("LAR", "movl $0x1b, %eax; lar %ax, %cx", (0xFB00, 0xFB00), (0x5, 0x5)),
    Shown("LAR", "movl $0x1b, (%ebx); lar (%ebx), %ecx", (0xC0FB00, 0xC0FB00), (0x5, 0x5)),
    Shown("LSL", "movl $0x0, %eax; lsl %eax, %ecx", (0x5, 0x5), (0x5, 0x5)),
    Shown("LSL", "movl $0x8, %eax; lsl %eax, %ecx", (0xFFFFFFFF, 0x5), (0x5, 0x5)),
    Shown("LSL", "movl $0x10, %eax; lsl %eax, %ecx", (0xFFFFFFFF, 0x5), (0x5, 0x5)),
    Shown("LSL", "movl $0x1b, %eax; lsl %eax, %ecx", (0xFFFFFFFF, 0xFFFFFFFF), (0x5, 0x5)),
    Shown("LSL", "movl $0x23, %eax; lsl %eax, %ecx", (0xFFFFFFFF, 0xFFFFFFFF), (0x5, 0x5)),
    Shown("LSL", "movl $0x28, %eax; lsl %eax, %ecx", (0xCB, 0x5), (0x5, 0x5)),
    Shown("LSL", "movl $0x30, %eax; lsl %eax, %ecx", (0x2F, 0x5), (0x5, 0x5)),
    Shown("LSL", "movl $0x38, %eax; lsl %eax, %ecx", (0xFFFFFFFF, 0x5), (0x5, 0x5)),
    Shown("LSL", "movl $0x50, %eax; lsl %eax, %ecx", (0xFFFFFFFF, 0xFFFFFFFF), (0x5, 0x5)),
    Shown("LSL", "movl $0x68, %eax; lsl %eax, %ecx", (0x5, 0x5), (0x5, 0x5)),
    Shown("LSL", "movl $0xa8, %eax; lsl %eax, %ecx", (0x5, 0x5), (0x5, 0x5)),
    Shown("LSL", "movl $0xb3, %eax; lsl %eax, %ecx", (0x3F, 0x3F), (0x5, 0x5)),
    Shown("LSL", "movl $0xf, %eax; lsl %eax, %ecx", (0xFFFFFFFF, 0xFFFFFFFF), (0x5, 0x5)),
    Shown("LSL", "movl $0x14, %eax; lsl %eax, %ecx", (0xFFFFFFFF, 0x5), (0x5, 0x5)),
    Shown("LSL", "movl $0x34, %eax; lsl %eax, %ecx", (0x5, 0x5), (0x5, 0x5)),
    Shown("LSL", "movl $0x100, %eax; lsl %eax, %ecx", (0x5, 0x5), (0x5, 0x5)),
    Shown("LSL", "movl $0x1b, %eax; lsl %ax, %cx", (0xFFFF, 0xFFFF), (0x5, 0x5)),
    Shown("LSL", "movl $0x1b, (%ebx); lsl (%ebx), %ecx", (0xFFFFFFFF, 0xFFFFFFFF), (0x5, 0x5)),
    Shown("VERR", "movl $0x0, %eax; verr %ax; setz %cl; movzbl %cl, %ecx", (0x0, 0x0), (0x0, 0x0)),
    Shown("VERR", "movl $0x8, %eax; verr %ax; setz %cl; movzbl %cl, %ecx", (0x1, 0x0), (0x0, 0x0)),
    Shown("VERR", "movl $0x10, %eax; verr %ax; setz %cl; movzbl %cl, %ecx", (0x1, 0x0), (0x0, 0x0)),
    Shown("VERR", "movl $0x1b, %eax; verr %ax; setz %cl; movzbl %cl, %ecx", (0x1, 0x1), (0x0, 0x0)),
    Shown("VERR", "movl $0x23, %eax; verr %ax; setz %cl; movzbl %cl, %ecx", (0x1, 0x1), (0x0, 0x0)),
    Shown("VERR", "movl $0x28, %eax; verr %ax; setz %cl; movzbl %cl, %ecx", (0x0, 0x0), (0x0, 0x0)),
    Shown("VERR", "movl $0x38, %eax; verr %ax; setz %cl; movzbl %cl, %ecx", (0x1, 0x0), (0x0, 0x0)),
    Shown("VERR", "movl $0x48, %eax; verr %ax; setz %cl; movzbl %cl, %ecx", (0x0, 0x0), (0x0, 0x0)),
    Shown("VERR", "movl $0x58, %eax; verr %ax; setz %cl; movzbl %cl, %ecx", (0x1, 0x0), (0x0, 0x0)),
    Shown("VERR", "movl $0xdb, %eax; verr %ax; setz %cl; movzbl %cl, %ecx", (0x1, 0x1), (0x0, 0x0)),
    Shown("VERR", "movl $0x7, %eax; verr %ax; setz %cl; movzbl %cl, %ecx", (0x1, 0x1), (0x0, 0x0)),
    Shown("VERR", "movl $0x100, %eax; verr %ax; setz %cl; movzbl %cl, %ecx", (0x0, 0x0), (0x0, 0x0)),
    Shown("VERW", "movl $0x0, %eax; verw %ax; setz %cl; movzbl %cl, %ecx", (0x0, 0x0), (0x0, 0x0)),
    Shown("VERW", "movl $0x8, %eax; verw %ax; setz %cl; movzbl %cl, %ecx", (0x0, 0x0), (0x0, 0x0)),
    Shown("VERW", "movl $0x10, %eax; verw %ax; setz %cl; movzbl %cl, %ecx", (0x1, 0x0), (0x0, 0x0)),
    Shown("VERW", "movl $0x1b, %eax; verw %ax; setz %cl; movzbl %cl, %ecx", (0x0, 0x0), (0x0, 0x0)),
    Shown("VERW", "movl $0x23, %eax; verw %ax; setz %cl; movzbl %cl, %ecx", (0x1, 0x1), (0x0, 0x0)),
    Shown("VERW", "movl $0x28, %eax; verw %ax; setz %cl; movzbl %cl, %ecx", (0x0, 0x0), (0x0, 0x0)),
    Shown("VERW", "movl $0x38, %eax; verw %ax; setz %cl; movzbl %cl, %ecx", (0x1, 0x0), (0x0, 0x0)),
    Shown("VERW", "movl $0x48, %eax; verw %ax; setz %cl; movzbl %cl, %ecx", (0x0, 0x0), (0x0, 0x0)),
    Shown("VERW", "movl $0x58, %eax; verw %ax; setz %cl; movzbl %cl, %ecx", (0x0, 0x0), (0x0, 0x0)),
    Shown("VERW", "movl $0xdb, %eax; verw %ax; setz %cl; movzbl %cl, %ecx", (0x0, 0x0), (0x0, 0x0)),
    Shown("VERW", "movl $0x7, %eax; verw %ax; setz %cl; movzbl %cl, %ecx", (0x1, 0x1), (0x0, 0x0)),
    Shown("VERW", "movl $0x100, %eax; verw %ax; setz %cl; movzbl %cl, %ecx", (0x0, 0x0), (0x0, 0x0)),
)
