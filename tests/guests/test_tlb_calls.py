"""What a kernel may ask of its TLB, and what it is told: refills of all kinds, hostile ones too."""

from __future__ import annotations

from paravane import ShutdownReason
from paravane.tlb import TlbKind
from tests.support.tlb_run import asked

EVERYTHING = """
    TLB_CALL describe, $spare
    TELL
    REFILL_OWN $0x400000, $spare, $PTE_DATA
    TELL
    TLB_CALL set_asn, $3
    TELL
    TLB_CALL flush_asn, $3
    TELL
    movl $99, %ebx
    call hypercall_page + TLB_OP * 32
    TELL
    ret
"""


def test_each_tlb_answers_for_what_it_can() -> None:
    assert {kind: asked(EVERYTHING, kind).console.split() for kind in (None, *TlbKind)} == {
        None: ["ENOSYS"] * 5,
        TlbKind.hardware: ["OK", "EOPNOTSUPP", "EOPNOTSUPP", "EOPNOTSUPP", "ENOSYS"],
        TlbKind.software: ["OK", "OK", "EOPNOTSUPP", "EOPNOTSUPP", "ENOSYS"],
        TlbKind.tagged: ["OK", "EOPNOTSUPP", "OK", "OK", "ENOSYS"],
    }


def test_address_spaces_beyond_the_last_are_refused() -> None:
    body = """
    TLB_CALL set_asn, $TLB_ASNS
    TELL
    TLB_CALL flush_asn, $-1
    TELL
    TLB_CALL set_asn, $TLB_ASNS-1
    TELL
    ret
"""
    assert asked(body, TlbKind.tagged).console.split() == ["EINVAL", "EINVAL", "OK"]


def test_what_a_refill_may_not_map() -> None:
    """The hypervisor's frames, none at all, page tables to write to, bits that a TLB does not have, and what
    is in the kernel's area. A table may be read, as through a page table."""
    body = """
    REFILL_OWN $0xC0000000, $spare, $PTE_DATA
    TELL
    TLB_CALL refill, $0x400000, $0x1067, $0
    TELL
    TLB_CALL refill, $0x400000, $0x00100067, $0
    TELL
    TLB_CALL refill, $0x400000, $0xFFFFF067, $0xFF
    TELL
    REFILL_OWN $0x400000, $spare, $PTE_DATA | _PAGE_GLOBAL
    TELL
    REFILL_OWN $0x400000, $spare, $PTE_DATA | _PAGE_PWT
    TELL
    call kernel_l2
    movl %eax, %edi
    REFILL_OWN $0x400000, %edi, $PTE_DATA
    TELL
    REFILL_OWN $0x400000, %edi, $PTE_READ_ONLY
    TELL
    ret
"""
    run = asked(body, TlbKind.software)
    assert run.console.split() == ["EINVAL"] * 7 + ["OK"]
    assert (run.differences, run.audit, run.lost) == ([], [], 0)


def test_a_page_that_the_tlb_can_write_to_becomes_no_table() -> None:
    """Nor does one that an entry could write to that has been evicted for another one meanwhile, or flushed,
    stay in use as that."""
    body = """
    REFILL_OWN $0x400000, $spare, $PTE_DATA
    TELL
    movl $spare, %eax
    call make_read_only
    movl $spare, %eax
    call va_to_mfn
    MMUEXT PIN_L1_TABLE, %eax
    TELL
    REFILL_OWN $0x401000, $other, $PTE_DATA
    TELL
    REFILL_OWN $0x402000, $other, $PTE_DATA
    TELL
    MMUEXT TLB_FLUSH_LOCAL
    TELL
    movl $spare, %eax
    call va_to_mfn
    MMUEXT PIN_L1_TABLE, %eax
    TELL
    REFILL_OWN $0x400000, $spare, $PTE_DATA
    TELL
    ret
"""
    run = asked(body, TlbKind.software, entries=2, ways=1)
    assert run.console.split() == ["OK", "EINVAL", "OK", "OK", "OK", "OK", "EINVAL"]
    assert (run.differences, run.audit, run.lost) == ([], [], 0)


def test_refills_without_end_cost_nobody_anything() -> None:
    body = """
    movl $3000, %edi
1:  movl %edi, %ebp
    shll $12, %ebp
    REFILL_OWN %ebp, $spare, $PTE_DATA
    MUST refill
    movl %edi, (%ebp)
    decl %edi
    jnz 1b
    PRINT_DEC spare
    ret
"""
    run = asked(body, TlbKind.software)
    assert (run.reason, run.console) == (ShutdownReason.poweroff, "1")
    assert run.counts["refills"] == 3000
    assert run.counts["evictions"] == 3000 - 64
    assert (run.differences, run.audit, run.lost) == ([], [], 0)


def test_a_miss_that_nobody_serves_ends_the_domain_in_a_sentence() -> None:
    run = asked("    movl 0x400000, %eax\n    ret\n", TlbKind.software)
    assert run.reason is ShutdownReason.crash
    assert run.crash.splitlines()[0].startswith("domain 2 (guest) crashed: #PF with error code 0x0")


def test_a_miss_in_the_handler_of_misses_ends_the_domain() -> None:
    body = """
    movl $table, %eax
    call set_trap_table
    call map_shared_info
    movl 0x400000, %eax
    ret
miss:
    movl 0x401000, %eax
    .data
table:
    TRAP_GATE 14, 0, miss
    TRAP_TABLE_END
"""
    run = asked(body, TlbKind.software)
    assert run.reason is ShutdownReason.crash
    assert run.counts["misses"] > 100
    assert (run.differences, run.audit, run.lost) == ([], [], 0)


def test_arguments_that_are_not_in_the_tlb_cannot_be_read() -> None:
    body = """
    TLB_CALL describe, $0x400000
    TELL
    REFILL_OWN $0x400000, $spare, $PTE_DATA
    TELL
    TLB_CALL describe, $0x400000
    TELL
    PRINT_DEC spare
    ret
"""
    assert asked(body, TlbKind.software).console.split() == ["EFAULT", "OK", "OK", "2"]
