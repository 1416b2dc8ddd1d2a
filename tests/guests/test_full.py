"""Kernels for ring 0 of a bare PC, run in ring 1: what they see is what a PC shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import StopReason
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.full.machine import BareMachine
from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from tests.support.bare_pc import MEMORY, PAGING, TO_USER, kernel, lines_of

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow


_WAYS = {
    "rewrite": (Sensitive.REWRITE, Policy.VTLB),
    "state": (Sensitive.STATE, Policy.VTLB),
    "wp": (Sensitive.REWRITE, Policy.WP),
}


@pytest.fixture(params=_WAYS)
def run(request: pytest.FixtureRequest) -> Callable[[str], list[str]]:
    """Runs a kernel each way that shows it nothing of ring 1: see `lines_of`."""
    sensitive, shadow = _WAYS[request.param]
    return lambda body: lines_of(body, sensitive, shadow=shadow)


def test_loader_leaves_protected_mode_and_its_information(run: Callable[[str], list[str]]) -> None:
    assert run(
        "call hex\nmov %ebx, %eax\nmov 8(%eax), %eax\ncall hex\nmov %cr0, %eax\ncall hex\njmp exit"
    ) == [
        "00000028",  # LTR has used EAX
        f"{(MEMORY - (1 << 20)) >> 10:08x}",
        "00000011",
    ]


def test_segment_registers_read_back_as_of_ring_0(run: Callable[[str], list[str]]) -> None:
    assert run(
        "mov $0x10, %ax\nmov %ax, %fs\nmov %fs, %eax\ncall hex\nmov %cs, %eax\ncall hex\n"
        "lcall $8, $far\njmp exit\nfar: mov 4(%esp), %eax\ncall hex\nlret"
    ) == ["00000010", "00000008", "00000008"]


def test_interrupt_flag_is_the_guests_own(run: Callable[[str], list[str]]) -> None:
    body = "".join(
        f"{change}\npushf\npop %eax\nand $0x200, %eax\ncall hex\n"
        for change in ("sti", "cli", "push $0x202\npopf", "push $2\npopf")
    )
    assert run(body + "jmp exit") == ["00000200", "00000000", "00000200", "00000000"]


def test_timer_interrupts_a_halted_processor(run: Callable[[str], list[str]]) -> None:
    pic = "".join(
        f"mov ${value}, %al\noutb %al, ${port}\n"
        for port, value in ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 3), (0x21, 0xFE))
    )
    pit = "".join(
        f"mov ${value}, %al\noutb %al, ${port}\n" for port, value in ((0x43, 0x34), (0x40, 0), (0x40, 16))
    )
    assert run(
        "mov $tick, %eax\nmov $0x20, %ecx\nmov $0x8e, %dl\ncall gate\n"
        f"{pic}{pit}"
        "1: sti\nhlt\ncmp $5, %ebp\njb 1b\nmov %ebp, %eax\ncall hex\njmp exit\n"
        "tick: cmp $5, %ebp\nje 2f\ninc %ebp\n2: iret\n"  # one more may come before the last is printed
    ) == ["00000005"]


def test_exceptions_come_through_the_guests_table(run: Callable[[str], list[str]]) -> None:
    assert run(
        "mov $handler, %eax\nmov $6, %ecx\nmov $0x8e, %dl\ncall gate\n"
        "mov $refused, %eax\nmov $13, %ecx\ncall gate\n"
        "ud2\nmov $0x70, %eax\nmov %eax, %ds\njmp exit\n"
        "handler: mov 4(%esp), %eax\ncall hex\naddl $2, (%esp)\niret\n"
        "refused: pop %eax\ncall hex\naddl $2, (%esp)\niret\n"
    ) == ["00000008", "00000070"]


def test_ring_3_calls_ring_0_and_is_refused_what_is_privileged(run: Callable[[str], list[str]]) -> None:
    assert run(
        "mov $call, %eax\nmov $0x40, %ecx\nmov $0xee, %dl\ncall gate\n"
        "mov $refused, %eax\nmov $13, %ecx\nmov $0x8e, %dl\ncall gate\n"
        f"{TO_USER}"
        "user: mov %cs, %eax\nint $0x40\nhlt\ncli\nint $0x41\n"
        "call: call hex\nmov 4(%esp), %eax\ncall hex\n"
        "mov 12(%esp), %eax\nsub $stack - 4096, %eax\ncall hex\niret\n"
        "refused: pop %eax\ncall hex\nincl (%esp)\nincl count\ncmpl $3, count\nje exit\niret\n"
        ".data\ncount: .long 0\n.text\n"
    ) == ["0000001b", "0000001b", "00000000", "00000000", "00000000", "0000020a"]


def test_paging_faults_and_marks_what_was_used(run: Callable[[str], list[str]]) -> None:
    """An unmapped page faults with its address, and once it is mapped elsewhere reads what is there."""
    assert run(
        "mov $fault, %eax\nmov $14, %ecx\nmov $0x8e, %dl\ncall gate\n"
        f"{PAGING}"
        "movl $0x1234, 0x300000\nmov 0x400010, %eax\ncall hex\nmov 0x401000, %eax\ncall hex\n"
        "movl $0x5678, 0x401000\nmov 0x300000, %eax\ncall hex\nmov table + 0x300 * 4, %eax\nand $0x60, %eax\n"
        "call hex\njmp exit\n"
        "fault: call hex0\nmov %cr2, %eax\ncall hex\npop %eax\ncall hex\n"
        "movl $second + 3, directory + 4\nmovl $0x300000 + 3, second\nmovl $0x300000 + 3, second + 4\niret\n"
        "hex0: ret\n"
        ".bss\n.align 4096\nsecond: .skip 4096\n.text\n"
    ) == ["00400010", "00000000", "00000000", "00001234", "00005678", "00000060"]


def test_read_only_pages_hold_in_ring_0_only_with_write_protect(run: Callable[[str], list[str]]) -> None:
    assert run(
        "mov $fault, %eax\nmov $14, %ecx\nmov $0x8e, %dl\ncall gate\n"
        f"{PAGING}"
        "movl $0x300001, table + 0x300 * 4\ninvlpg 0x300000\nmovl $7, 0x300000\n"
        "mov 0x300000, %eax\ncall hex\n"
        "mov %cr0, %eax\nor $0x10000, %eax\nmov %eax, %cr0\nmovl $8, 0x300000\nmov 0x300000, %eax\ncall hex\n"
        "jmp exit\n"
        "fault: pop %eax\ncall hex\norl $2, table + 0x300 * 4\ninvlpg 0x300000\niret\n"
    ) == ["00000007", "00000003", "00000008"]


def test_a_kernel_finds_its_screen_by_the_loaders_information() -> None:
    """As a kernel does that can draw and write: by the kind of what the loader calls the framebuffer."""
    kernel = """
        .globl _start
        .align 4
        .long 0x1BADB002, 4, -0x1BADB006, 0, 0, 0, 0, 0, 1, 80, 25, 0
_start: testl $1 << 12, (%ebx)
        jz 1f
        cmpb $2, 109(%ebx)
        jne 1f
        mov 88(%ebx), %edi
        add 96(%ebx), %edi
        movw $0x0700 + 'B', (%edi)
1:      mov $0, %al
        outb %al, $0xf4
    """
    image = write_elf(assemble_text(kernel, base=0x100000))
    with BareMachine(image, MEMORY, sink=lambda data: None) as machine:
        machine.run(timeout=300)
        assert machine.guest.exit_code == 0
        assert machine.pc.screen.text().splitlines()[:2] == ["", "B"]


def test_beyond_memory_there_is_nothing(run: Callable[[str], list[str]]) -> None:
    assert run("movl $5, 0x40000000\nmov 0x40000000, %eax\ncall hex\njmp exit") == ["ffffffff"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("lidt nothing\nint $3\n.data\nnothing: .word 0\n.long 0\n.text", "triple fault"),
        ("mov %cr0, %eax\nand $~1, %eax\nmov %eax, %cr0", "leaves protected mode"),
        ("pushl $0x20002\npush $8\npush $0\niret", "virtual-8086"),
        ("mov $0x850000, %edi\nmov $9, %ecx\nrep stosl", "writes to physical address 0x850000"),
    ],
)
def test_what_has_no_answer_ends_the_guest_with_a_sentence(body: str, sentence: str) -> None:
    with BareMachine(kernel(body), MEMORY, sink=lambda data: None) as machine:
        machine.run(timeout=300)
        assert sentence in (machine.guest.failure or "")


def test_a_processor_that_halts_for_good_stalls_the_machine() -> None:
    with BareMachine(kernel("cli\nhlt"), MEMORY, sink=lambda data: None) as machine:
        assert machine.run(timeout=300).reason is StopReason.STALLED
