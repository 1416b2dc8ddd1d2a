"""Modelled TLBs and what several have: pages of other domains, and a TLB on each of several processors."""

from __future__ import annotations

import pytest

from paravane import DomainConfig, Machine, ShutdownReason, load_image
from paravane.tlb import TlbKind, TlbProcessor, TlbSpec
from paravane.x86 import PAGE_SHIFT
from tests.support.boot import HOST_TIMEOUT, kernel_image
from tests.support.small_machines import BLOCK, MEMORY, image
from tests.support.tlb_run import ASK, asked

LENT = """
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "grants.inc"
    XEN_NOTES lent
.equ OURSELVES, 1
.equ USER_VA, 0x400000
    .data
table:
    TRAP_GATE 14, 0, page_fault
    TRAP_TABLE_END
    .bss
    .balign PAGE_SIZE
level2: .skip PAGE_SIZE
level1: .skip PAGE_SIZE
lent:   .skip PAGE_SIZE
other:  .skip PAGE_SIZE
    .text
# EAX = a page of ours: an entry for it as a table, in EDX:EAX
table_entry:
    call va_to_mfn
    movl $PTE_TABLE, %edx
    jmp make_entry
main:
    movl $table, %eax
    call set_trap_table
    call map_shared_info
    call grants_init
    movl $level1, %eax
    call table_entry
    movl %eax, level2 + (USER_VA >> 21) * 8
    movl %edx, level2 + (USER_VA >> 21) * 8 + 4
    movl $level1, %eax
    call make_read_only
    movl $level2, %eax
    call make_read_only
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %eax
    call va_to_mfn
    movl %eax, %ebx
    movl $level2, %eax
    call va_to_mfn
    UPDATE_ENTRY %ebx, $0, %eax, $PTE_ROOT
    MUST mmu_update

    movl $lent, %eax
    movl $OURSELVES, %edx
    xorl %ecx, %ecx
    call grant_page
    movl $OURSELVES, %edx
    movl $USER_VA, %ecx
    call map_grant
    movl %eax, %esi
    movl $77, lent
    PRINT_DEC USER_VA
    movl $78, USER_VA
    PRINT " "
    PRINT_DEC lent
    PRINT " "
    movl %esi, %eax
    movl $USER_VA, %edx
    call unmap_grant
    MUST unmap_grant
    movl USER_VA, %eax
    PRINT "still there"
    ret
page_fault:
    PRINT "gone"
    call exit
"""


@pytest.mark.parametrize("kind", [TlbKind.hardware, TlbKind.tagged])
@pytest.mark.parametrize("entries", [1, 64])
def test_a_grant_that_user_space_maps_is_there_until_it_is_taken_away(kind: TlbKind, entries: int) -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        config = DomainConfig(memory=MEMORY, tlb=TlbSpec(kind, entries, min(entries, 4)))
        domain = machine.create(load_image(kernel_image(LENT)), config)
        machine.run(timeout=HOST_TIMEOUT)
        (vcpu,) = domain.vcpus
        assert (domain.console_output(), domain.reason) == (b"77 78 gone", ShutdownReason.poweroff)
        assert isinstance(vcpu.cpu, TlbProcessor)
        assert (vcpu.cpu.differences(), machine.audit()) == ([], [])
        assert vcpu.cpu.tlb.counts.misses > 0


def test_no_refill_maps_what_is_another_domains() -> None:
    """For reading neither: a TLB that the kernel refills has no grants."""
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        others = machine.create(image(BLOCK), DomainConfig(memory=MEMORY)).vcpus[0].cpu
        mfn = others.frame_at(0xC0000000)
        assert mfn is not None
        entry = mfn << PAGE_SHIFT
        refills = "".join(
            f"TLB_CALL refill, $0x400000, ${entry & 0xFFFFFFFF:#x} + {flags}, ${entry >> 32}\nTELL\n"
            for flags in ("PTE_DATA", "PTE_READ_ONLY")
        )
        body = f"{refills}\nret\n"
        config = DomainConfig(memory=MEMORY, tlb=TlbSpec(TlbKind.software))
        domain = machine.create(load_image(kernel_image(ASK + body)), config)
        machine.run(timeout=HOST_TIMEOUT)
        assert domain.console_output() == b"EINVAL EINVAL "
        assert domain.reason is ShutdownReason.poweroff
        assert machine.audit() == []


SECOND = """
    jmp first
    .include "vcpus.inc"
    .bss
    .balign PAGE_SIZE
stack1: .skip PAGE_SIZE
    .data
    .balign 4
turn: .long 0                       # what the second processor has done
    .text
second:
    REFILL_OWN $0x400000, $spare, $PTE_DATA
    MUST refill
    REFILL_OWN $0x401000, $other, $PTE_DATA
    MUST refill
    incl 0x401000
    incl 0x400000
    decl 0x400000                   # as an entry it maps nothing
    movl $1, turn
1:  call yield
    jmp 1b
pin:
    movl $spare, %eax
    call va_to_mfn
    MMUEXT PIN_L1_TABLE, %eax
    TELL
    ret
first:
    movl $1, %eax
    movl $second, %edx
    movl $stack1 + PAGE_SIZE, %ecx
    call start_vcpu
    MUST start_vcpu
1:  call yield
    cmpl $0, turn
    je 1b
    movl $spare, %eax
    call make_read_only
"""


@pytest.mark.parametrize(
    ("flush", "pinned", "left"),
    [
        ("MMUEXT TLB_FLUSH_LOCAL", "EINVAL", 2),
        ("MMUEXT INVLPG_LOCAL, $0x400000", "EINVAL", 2),
        ("MMUEXT INVLPG_ALL, $0x401000", "EINVAL", 1),
        ("MMUEXT INVLPG_ALL, $0x400000", "OK", 0),
        ("MMUEXT TLB_FLUSH_ALL", "OK", 0),
    ],
)
def test_a_flush_reaches_the_tlbs_that_it_is_for(flush: str, pinned: str, left: int) -> None:
    """What one processor could write to is no page table until it is flushed there. As it becomes one all
    is flushed everywhere."""
    body = f"{SECOND}call pin\n{flush}\nMUST flush\ncall pin\nPRINT_DEC other\nret\n"
    run = asked(body, TlbKind.software, vcpus=2)
    assert run.console.split() == ["EINVAL", pinned, "1"]
    assert run.reason is ShutdownReason.poweroff
    assert run.held == [0, left]
    assert (run.differences, run.audit, run.lost) == ([], [], 0)
