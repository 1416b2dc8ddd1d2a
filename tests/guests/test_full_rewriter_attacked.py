"""Guests that chase the rewriter of sensitive instructions: it stays bounded, which is counted and not timed,
and what the guest reads of its own code is what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import BareMachine, StopReason
from paravane.full.shadow import Policy
from tests.support.bare_pc import MEMORY, kernel
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.cpu.scanner import BlockScanner

pytestmark = pytest.mark.slow

ROUNDS = 100
SLICE = 100_000
# Interrupts from the timer, one in 168 us: were they more, a guest would have no time for anything else.
STORM = """
        mov $0x11, %al
        outb %al, $0x20
        mov $0x20, %al
        outb %al, $0x21
        mov $4, %al
        outb %al, $0x21
        mov $3, %al
        outb %al, $0x21
        mov $0xfe, %al
        outb %al, $0x21
        mov $0x34, %al
        outb %al, $0x43
        mov $200, %al
        outb %al, $0x40
        mov $0, %al
        outb %al, $0x40
        mov $tick, %eax
        mov $0x20, %ecx
        mov $0x8e, %dl
        call gate
        sti
"""
TICK = "tick: incl ticks\nmov %cs, %ss:code + 0x800\niret\n.data\nticks: .long 0\n.text\n"
# Each attack goes round %ebp times with code of its own, and ends with status 1 if it reads another byte than
# it has written, or its code does other than it says.
PLACE = ".align 4096\ncode: .skip 8192, 0x90\n"
ATTACKS = {
    # Two instructions in turn, in one place.
    "in turn": """
1:      movl $0x90c3c88c, code              # MOV from CS, RET
        call code
        cmp $8, %eax
        jne bad
        cmpl $0x90c3c88c, code
        jne bad
        movl $0x90c3d08c, code              # MOV from SS, RET
        call code
        cmp $16, %eax
        jne bad
        cmpl $0x90c3d08c, code
        jne bad
        dec %ebp
        jnz 1b
""",
    # A block of its own each time, of which there are more than anybody would remember.
    "new ones": """
        mov $code, %edi
1:      movl $0xc3c88c90, (%edi)
        call *%edi
        cmp $8, %eax
        jne bad
        cmpl $0xc3c88c90, (%edi)
        jne bad
        add $4, %edi
        cmp $code + 0x700, %edi
        jb 2f
        mov $code, %edi
2:      dec %ebp
        jnz 1b
""",
    # Across pages, both halves by turns.
    "page edge": """
1:      movb $0x8c, code + 0xfff
        movw $0xc3c8, code + 0x1000
        call code + 0xfff
        cmp $8, %eax
        jne bad
        movb $0xd0, code + 0x1000
        call code + 0xfff
        cmp $16, %eax
        jne bad
        movb $0x8b, code + 0xfff            # MOV from EAX to EDX
        call code + 0xfff
        cmpb $0x8b, code + 0xfff
        jne bad
        dec %ebp
        jnz 1b
""",
    # Into the middle of one that traps, and into it from its beginning.
    "middle": """
        movl $0x909c0f66, code              # what begins with 0x0f 0x9c is another one than 0x9c
        movl $0xc358c190, code + 3
        movl $0xc3589c90, code + 0x10
1:      call code + 0x11
        call code + 0x10
        xorb $1, code + 0x14
        cmpl $0xc3589c90, code + 0x10
        jne bad
        call code + 0x11
        dec %ebp
        jnz 1b
""",
}


class Counting:
    """A scanner that counts what the one it stands for does."""

    def __init__(self, scanner: BlockScanner) -> None:
        self._scanner = scanner
        self.blocks = self.stops = 0

    def translated(self) -> None:
        self._scanner.translated()

    def scan(self, va: int, code: bytes) -> Sequence[int]:
        changed = self._scanner.scan(va, code)
        self.blocks += 1
        self.stops += bool(changed)
        return changed


def attacked(
    name: str, policy: Policy, *, slice_instructions: int = 0
) -> tuple[Counting, tuple[object, ...]]:
    """Run one: the counts, and all that is a function of input alone."""
    ends = "jmp exit\nbad: mov $1, %al\noutb %al, $0xf4\n"
    body = f"{STORM}mov ${ROUNDS}, %ebp\n{ATTACKS[name]}{ends}{TICK}{PLACE}"
    with BareMachine(
        kernel(body), MEMORY, sink=lambda _: None, slice_instructions=slice_instructions, shadow=policy
    ) as machine:
        vcpu = machine.guest.vcpus[0]
        assert vcpu.cpu.scanner is not None
        counting = vcpu.cpu.scanner = Counting(vcpu.cpu.scanner)
        ending = machine.run(timeout=HOST_TIMEOUT)
        assert (machine.guest.failure, machine.guest.exit_code, ending.reason) == (None, 0, StopReason.DONE)
        assert machine.audit() == []
        told = machine.platform.clock.now(), machine.platform.traps, dict(vcpu.exits.counts)
        return counting, told


@pytest.mark.parametrize("policy", Policy, ids=lambda policy: policy.value)
@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_rewritten_each_time_costs_a_few_stops(name: str, policy: Policy) -> None:
    """Each round has two or three blocks with an instruction that traps, and the interrupts' handler has
    one."""
    counts, _ = attacked(name, policy)
    assert ROUNDS // 4 < counts.stops < 8 * ROUNDS
    assert counts.blocks < 24 * ROUNDS


@pytest.mark.parametrize("name", ATTACKS)
def test_in_counted_slices_it_is_a_function_of_its_input(name: str) -> None:
    """Time, exits and their reasons, whatever was translated when."""
    told = [attacked(name, Policy.VTLB, slice_instructions=SLICE)[1] for _ in range(2)]
    assert told[0] == told[1]
