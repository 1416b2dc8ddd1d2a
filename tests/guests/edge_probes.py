"""Where two rules meet: stacks of 16 bits, returns to no task, the ends of memory and of pages. Probes for
`tests.support.probes`, by subject."""

from __future__ import annotations

from typing import Final

from tests.support.probes import Probe

_TO_RING_3: Final = "pushl ${ss}\npushl ${esp}\npushl $2\npushl $0x1b\npushl $%%user\niret\n%%user: "
_SMALL_STACK: Final = "movl $0x127000, task + 4\nmovw $0xe8, task + 8\n"
"""Of ring 0: of 16 bits, from linear 0 on."""

_SEEN_THERE: Final = (
    "movl %esp, %eax\nmovl $0x10, %ecx\nmovl %ecx, %ss\nmovl $probe_stack, %esp\n"
    "movl 0x6ff8, %ebx\nmovl 0x126ff8, %esi"
)


def small_stacks() -> list[Probe]:
    """Stack segments of 16 bits, entered from another ring and returned to."""
    entered = _SMALL_STACK + _TO_RING_3.format(ss="0x23", esp="scratch_end")
    return [
        Probe(
            "movl $%%handler, %eax\nmovw %ax, idt + 8 * 0x62\nshrl $16, %eax\nmovw %ax, idt + 8 * 0x62 + 6\n"
            f"{entered}int $0x62\n%%handler: {_SEEN_THERE}"
        ),
        Probe(
            "movw $%%there - 0x100000, gdt + 0x68\nmovw $0x10, gdt + 0x6e\n"
            f"{entered}lcall $0x68, $0\n%%there: {_SEEN_THERE}"
        ),
        Probe(
            f"movw $0x00f2, gdt + 0xe5\n{_TO_RING_3.format(ss='0xe3', esp='0x12345678')}"
            "movl %esp, %eax\nint $DONE"
        ),
    ]


def other_tasks() -> list[Probe]:
    """IRET with NT, which ring 3 may set, where the TSS names no task to return to."""
    links = (0, 7, 0x10, 0x2C, 0x88, 0x200)
    returned = "pushl $0x4002\npopfl\niret"
    return [
        *(Probe(returned, ring) for ring in (0, 3)),
        *(Probe(f"movw ${link}, task\n{returned}") for link in links),
        *(
            Probe(f"movw ${link}, task\n{_TO_RING_3.format(ss='0x23', esp='scratch_end')}{returned}")
            for link in links
        ),
        Probe(f"andb $0x7f, gdt + 0x95\nmovw $0x90, task\n{returned}"),
    ]
