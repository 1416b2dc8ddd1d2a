"""When interrupts and single steps come, with instructions around that are made to trap: probes for
`tests.support.probes`."""

from __future__ import annotations

from typing import Final

from tests.support.probes import Probe

_DEBUG: Final = 1
_SERIAL: Final = 0x24
_TF: Final = 0x100

# The serial port has nothing to send, and is to say so.
_ASK: Final = "movl $0x3f9, %edx\nmovb $2, %al\noutb %al, %dx\n"


def interrupts() -> list[Probe]:
    """An interrupt that is asked for while IF is clear, and what lets it come: between what two
    instructions."""
    codes = (
        "sti\nnop\ncli\nnop",
        "sti\ncli\nnop",
        "sti\nmov %cs, %ecx\nnop",
        "sti\nmov %ss, %eax\nmov %ax, %ss\nnop\nnop",
        "sti\nhlt\nnop",
        "pushl $0x202\npopf\nnop\nnop",
        "pushl $0x202\npopf\nmov %cs, %ecx\npushf\npopl %eax",
        "pushl $0x202\npush %cs\npush $%%there\niret\nnop\n%%there: nop\nnop",
        "pushl $0x202\npopf\npushf\npushf\npopl %ecx",
        "sti\nsti\nnop",
        "sti\nnop\nint3\nnop",
        "sti\nnop\nmov %cs, %ecx\nnop",
        "sti\nnop\npushf\ncli\npopl %ecx",
    )
    return [Probe(_ASK + code, 0, 2, (_SERIAL, 3)) for code in codes]


def single_steps() -> list[Probe]:
    """TF over instructions that trap, that are made to, and that do not."""
    codes = (
        "nop\nnop",
        "mov %cs, %ecx\nnop",
        "pushf\npopl %ecx\nnop",
        "mov %cr0, %eax\nnop",
        "cli\nnop",
        "push %ss\npop %ss\nnop\nnop",
        "mov %ds, %eax\nmov %ax, %ds\nnop",
        "movb $0, %al\noutb %al, $0x80\nnop",
        "smsw %ax\nsldt %cx\nnop",
    )
    return [Probe(f"pushl $0x102\npopf\n{code}\npushl $2\npopf\nnop", 0, 2, (_DEBUG,)) for code in codes] + [
        Probe(code, ring, _TF | 2, (_DEBUG,)) for code in codes[:3] for ring in (0, 3)
    ]


def prefixes() -> list[Probe]:
    """Sensitive instructions with prefixes, up to as many as an instruction has bytes, and beyond."""
    combinations = (
        *("f3", "66", "67", "2e", "66 66", "66 67", "f2 f3", "2e 36 3e 26"),
        *(" ".join(["3e"] * count) for count in (12, 13, 14, 15)),
        " ".join(["66"] * 13),
    )
    return [
        Probe(f".byte {', '.join(f'0x{byte}' for byte in f'{combination} {code}'.split())}\nnop", ring)
        for code in ("8c c9", "9c", "0e", "0f 01 e1", "0f 02 c8")
        for combination in combinations
        for ring in (0, 3)
    ]
