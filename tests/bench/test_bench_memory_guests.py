"""What page-table work costs a guest, from its instruction to the next one: hypercalls, stores, switches.

The figure is a whole run of the machine; `extra_info` has the time of one operation, with boot and end of the
domain taken away.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest

from paravane import DomainConfig, Machine, StopReason, load_image
from paravane.abi.sched import ShutdownReason
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from tests.support.work import lines_executed

MEMORY = 8 << 20
REQUESTS = 1024
LOOPS = 4
NO_SLICE = 100_000_000
"""Instructions: more than a guest executes here, so that no slice ends meanwhile."""
TWO_LEVEL = {"TWO_LEVEL": 1}

SOURCE = """
    .include "runtime.inc"
    .include "paging.inc"
    XEN_NOTES bench
.equ TABLE_VA, 0xD0000000
    .bss
    .balign PAGE_SIZE
table:  .skip PAGE_SIZE
spare:  .skip PAGE_SIZE
requests: .skip 1024 * MMU_UPDATE_sizeof
entry:  .skip 8
table_mfn: .skip 4
root_mfn: .skip 4
    .text
main:
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %eax
    call va_to_mfn
    movl %eax, root_mfn
    movl $table, %eax
    call make_read_only
    movl $table, %eax
    call va_to_mfn
    movl %eax, table_mfn
    call kernel_l2
    call va_to_mfn
    UPDATE_ENTRY %eax, $(TABLE_VA >> L2_SHIFT) & (ENTRIES - 1), table_mfn, $PTE_TABLE
    MUST mmu_update
    movl $spare, %eax
    call va_to_mfn
    movl $PTE_DATA, %edx
    call make_entry
    movl %eax, entry
    movl %edx, entry + 4
    movl $VMASST_CMD_enable, %ebx
    movl $VMASST_TYPE_writable_pagetables, %ecx
    HYPERCALL vm_assist
    xorl %ebx, %ebx                 # half the requests map the page, the other half take it away again
    movl $requests, %edi
1:  movl %ebx, %eax
    shrl $1, %eax
    andl $ENTRIES / 2 - 1, %eax
    movl table_mfn, %ecx
    shll $12, %ecx
    leal (%ecx,%eax,ENTRY_SIZE), %eax
    movl %eax, MMU_UPDATE_ptr(%edi)
    testl $1, %ebx
    jnz 2f
    movl entry, %eax
    movl %eax, MMU_UPDATE_val(%edi)
    movl entry + 4, %eax
    movl %eax, MMU_UPDATE_val + 4(%edi)
2:  addl $MMU_UPDATE_sizeof, %edi
    incl %ebx
    cmpl $1024, %ebx
    jb 1b
    movl $LOOPS, %ebp
    jmp 4f
3:  call once
    decl %ebp
4:  testl %ebp, %ebp
    jnz 3b
    ret
once:
"""

BATCH = """
    movl $requests, %esi
1:  movl %esi, %ebx
    movl ${size}, %ecx
    call mmu_update
    MUST mmu_update
    addl ${size} * MMU_UPDATE_sizeof, %esi
    cmpl $requests + 1024 * MMU_UPDATE_sizeof, %esi
    jb 1b
    ret
"""
VA_MAPPING = """
    movl $512, %esi
1:  movl $TABLE_VA, %eax
    movl entry, %edx
    movl entry + 4, %ecx
    call write_pte
    MUST update_va_mapping
    xorl %edx, %edx
    xorl %ecx, %ecx
    movl $TABLE_VA, %eax
    call write_pte
    decl %esi
    jnz 1b
    ret
"""
STORES = """
    movl $512, %esi
    movl entry, %eax
1:  movl %eax, table
    movl $0, table
    decl %esi
    jnz 1b
    ret
"""
SWITCH = """
    movl $256, %esi
1:  MMUEXT NEW_BASEPTR, root_mfn
    MUST NEW_BASEPTR
    decl %esi
    jnz 1b
    ret
"""
PIN = """
    movl $256, %esi
1:  MMUEXT PIN_L1_TABLE, table_mfn
    MUST PIN_L1_TABLE
    MMUEXT UNPIN_TABLE, table_mfn
    MUST UNPIN_TABLE
    decl %esi
    jnz 1b
    ret
"""

CASES = {
    "mmu_update, 1 a call": (BATCH.format(size=1), REQUESTS),
    "mmu_update, 16 a call": (BATCH.format(size=16), REQUESTS),
    "mmu_update, 128 a call": (BATCH.format(size=128), REQUESTS),
    "mmu_update, 1024 a call": (BATCH.format(size=1024), REQUESTS),
    "update_va_mapping with invlpg": (VA_MAPPING, 2 * 512),
    "store to a page table": (STORES, 2 * 512),
    "new base pointer": (SWITCH, 256),
    "pin or unpin of a table in use": (PIN, 2 * 256),
}
"""What the guest does in a loop, and how many operations that is."""


def image(case: str, loops: int, *, two_level: bool = False) -> bytes:
    defines = {"LOOPS": loops} | (TWO_LEVEL if two_level else {})
    return write_elf(assemble_text(SOURCE + CASES[case][0], defines=defines))


def run(kernel: bytes, *, slice_instructions: int = 0) -> float:
    """Host seconds of a domain's life."""
    with Machine(Machine.size_for(MEMORY), slice_instructions=slice_instructions) as machine:
        domain = machine.create(load_image(kernel), DomainConfig(memory=MEMORY))
        start = time.perf_counter()
        ending = machine.run(timeout=60).reason
        seconds = time.perf_counter() - start
        assert ending is StopReason.DONE
        assert domain.reason is ShutdownReason.poweroff, domain.console_output()
        assert machine.audit() == []
    return seconds


@pytest.mark.parametrize("two_level", [False, True], ids=["pae", "two-level"])
@pytest.mark.parametrize("case", CASES)
def test_page_table_work_of_a_guest(benchmark: Any, case: str, two_level: bool) -> None:
    busy = image(case, LOOPS, two_level=two_level)
    benchmark.pedantic(run, args=(busy,), rounds=3)
    if benchmark.stats is not None:
        idle = image(case, 0, two_level=two_level)
        spent = benchmark.stats.stats.min - min(run(idle) for _ in range(3))
        benchmark.extra_info["us an operation"] = round(spent / LOOPS / CASES[case][1] * 1e6, 2)


def test_batches_cost_less_an_update_than_single_calls() -> None:
    """What batches are for: in lines of Python, which no host changes."""

    def lines_of(case: str, loops: int) -> int:
        return lines_executed(partial(run, image(case, loops), slice_instructions=NO_SLICE))

    def lines_an_update(size: int) -> float:
        case = f"mmu_update, {size} a call"
        lines_of(case, 1)  # what is done once in a process is done now
        return (lines_of(case, 3) - lines_of(case, 1)) / 2 / CASES[case][1]

    assert lines_an_update(128) < lines_an_update(1) / 1.25
