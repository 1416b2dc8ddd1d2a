"""The guests of the benches: those that behave well, and those that do not."""

from __future__ import annotations

from functools import cache
from typing import Final

from paravane import Image, guest_kernels, load_image
from paravane.asm import assemble, assemble_text
from paravane.asm.elf_writer import write_elf

_HEAD: Final = """
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "events.inc"
    XEN_NOTES bench
    .text
    .type main, @function
main:
    movl $VCPUOP_stop_periodic_timer, %ebx
    xorl %ecx, %ecx
    HYPERCALL vcpu_op
"""

WORKER: Final = """
    xorl %esi, %esi                 # what it has done
1:  incl %esi
    jmp 1b
"""

CALLER: Final = """
    xorl %esi, %esi                 # what it has done
1:  movl $10000, %ecx
2:  decl %ecx
    jnz 2b
    xorl %ebx, %ebx
    HYPERCALL xen_version
    incl %esi
    jmp 1b
"""

_SLEEP: Final = """
    movl shared_info + SHARED_INFO_vcpu_info_time_system_time, %eax
    movl shared_info + SHARED_INFO_vcpu_info_time_system_time + 4, %edx
    addl $7000000, %eax
    adcl $0, %edx
    movl %eax, poll + SCHED_POLL_timeout
    movl %edx, poll + SCHED_POLL_timeout + 4
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    jmp 1b
    .data
    .balign 8
poll: .skip SCHED_POLL_sizeof
"""
"""Sleeps for 7 ms from when it began to run, and goes on."""

SLEEPER: Final = f"""
    call map_shared_info
1:
{_SLEEP}
"""

CLOCK: Final = f"""
    call map_shared_info
    xorl %esi, %esi                 # how often it was woken
    decl %esi
1:  incl %esi
{_SLEEP}
"""

IDLER: Final = """
1:  movl $SCHEDOP_block, %ebx
    HYPERCALL sched_op
    jmp 1b
"""

VICTIM: Final = """
    call events_init
    movl ${peer}, %eax
    call alloc_unbound              # its first port is 3
    call unmask_port
    movb $0, UPCALL_MASK
    xorl %esi, %esi
1:  incl %esi
    jmp 1b
"""
"""Works, and lets domain `peer` interrupt it."""

_EVENTS: Final = """
1:  movl ${peer}, %eax
    movl $3, %edx
    call bind_interdomain
    testl %eax, %eax
    jg 2f
    movl $SCHEDOP_yield, %ebx       # it does not offer the port yet
    HYPERCALL sched_op
    jmp 1b
2:  movl %eax, %esi
3:  movl %esi, %eax
    call send_event
    jmp 3b
"""

_FAULTS: Final = """
    movl $table, %ebx
    HYPERCALL set_trap_table
    MUST set_trap_table
    movl %ebx, 0x1000               # nothing is mapped there
fault:
    addl $4, %esp                   # the error code
    iret                            # to the same instruction
    .data
    .balign 4
table:
    TRAP_GATE 14, 0, fault
    TRAP_TABLE_END
"""

_TABLES: Final = """
1:  movl $page, %eax
    call make_read_only
    movl $page, %eax
    call make_writable
    jmp 1b
    .bss
    .balign PAGE_SIZE
page: .skip PAGE_SIZE
"""

_CONSOLE: Final = """
1:  PRINT "more of what nobody wants to read, and more, and more, and more\\n"
    jmp 1b
"""

HOSTILE: Final = {
    "computes": WORKER,
    "storms events": _EVENTS,
    "storms faults": _FAULTS,
    "flaps page tables": _TABLES,
    "floods its console": _CONSOLE,
}
"""What a guest does to its neighbours -> how."""


@cache
def image(body: str, peer: int = 0) -> Image:
    """A kernel that does `body`; `peer` is the domain it deals with, if with one."""
    return load_image(write_elf(assemble_text(_HEAD + body.replace("{peer}", str(peer)))))


@cache
def pingpong() -> Image:
    """The kernel `pingpong`, which without a peer plays both sides itself."""
    return load_image(write_elf(assemble(guest_kernels.load("pingpong").sources)))
