"""What a kernel on a bare PC leaves its processor for: each time counts once, by its reason, and is told."""

from __future__ import annotations

from paravane.full.exits import FILLED, INT, TABLE_STORE
from paravane.full.machine import BareMachine
from paravane.full.shadow import Policy
from tests.support.bare_pc import MEMORY, kernel

_BODY = """
        mov $handle, %eax
        mov $0x8e, %dl
        mov $0x20, %ecx
        call gate
        mov $skip, %eax
        mov $6, %ecx
        call gate
        pushf
        popf
        cpuid
        int $0x20
        int $0x20
        ud2
        mov %ds, %ax
        mov %cs, %ax
        movl $table + 3, directory
        mov $table, %edi
        mov $3, %eax
1:      stosl
        add $4096, %eax
        cmp $0x400003, %eax
        jb 1b
        mov $directory, %eax
        mov %eax, %cr3
        mov %cr0, %eax
        or $0x80000000, %eax
        mov %eax, %cr0
        movl $1, 0x300000
        movl $1, 0x300004
        invlpg 0x300000
        mov 0x300000, %eax
        jmp exit
handle: iret
skip:   addl $2, (%esp)
        iret
"""


def test_each_exit_counts_once_by_its_reason() -> None:
    told: list[str] = []
    with BareMachine(kernel(_BODY), MEMORY, sink=lambda data: None) as machine:
        vcpu = machine.guest.vcpus[0]
        vcpu.exits.observer = told.append
        machine.run(timeout=300)
        shadow = vcpu.exits.counts.pop(FILLED)
        assert machine.guest.exit_code == 0
        writes = machine.shadow.counts
    assert vcpu.exits.counts == {
        **{"lgdt": 1, "lidt": 1, "ltr": 1, "pushf": 1, "popf": 1, "cpuid": 1, INT: 2, "iret": 3, "#UD": 1},
        **{"mov from a segment": 1, "mov to cr": 2, "mov from cr": 1, "invlpg": 1, "port": 1},
    }
    assert len(told) == sum(vcpu.exits.counts.values()) + shadow
    assert vcpu.exits.instructions == len(told) - shadow - 3
    assert shadow == 3, "code, the page that is written, and that page again after INVLPG"
    assert writes.writes >= shadow
    assert (writes.flushes, writes.page_flushes) == (1, 1)


_STORES = """
        movl $table + 3, directory
        mov $table, %edi
        mov $0x63, %eax
1:      stosl
        add $4096, %eax
        cmp $0x400063, %eax
        jb 1b
        mov $directory, %eax
        mov %eax, %cr3
        mov %cr0, %eax
        or $0x80000000, %eax
        mov %eax, %cr0
        mov $PAIRS, %ecx
2:      movl $0x301063, table + 0xc00
        movl $0x302063, table + 0xc04
        mov 0x300000, %eax
        loop 2b
        mov %cr3, %eax
        mov %eax, %cr3
        mov 0x300000, %eax
        jmp exit
"""


def test_stores_to_page_tables_are_exits_where_these_are_protected() -> None:
    """All of five pairs trap. The first pair is followed by a fill, and of seven the ninth store after that
    has the table let go: it is filled in anew then, and after the load of CR3."""
    for policy, pairs, stores, fills in (
        (Policy.WP, 5, 10, 2),
        (Policy.WP, 7, 10, 5),
        (Policy.VTLB, 5, 0, 5),
        (Policy.VTLB, 7, 0, 5),
    ):
        body = _STORES.replace("PAIRS", str(pairs))
        with BareMachine(kernel(body), MEMORY, sink=lambda data: None, shadow=policy) as machine:
            counts = machine.guest.vcpus[0].exits.counts
            machine.run(timeout=300)
            assert machine.guest.exit_code == 0
            assert (machine.audit(), machine.shadow.counts.flushes) == ([], 2)
        assert (counts.get(TABLE_STORE, 0), counts[FILLED]) == (stores, fills)
