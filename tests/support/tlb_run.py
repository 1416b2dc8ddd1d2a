"""Kernels on processors with a modelled TLB, and what is left when they have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane import DomainConfig, Machine, ShutdownReason, load_image
from paravane.tlb import TlbProcessor, TlbSpec
from paravane.tlb.report import counts_of
from tests.support.boot import HOST_TIMEOUT, kernel_image

if TYPE_CHECKING:
    from paravane.abi.tlb import TlbKind

MEMORY = 16 << 20


class Run:
    """A domain that ran to its end on a machine of its own, which gave back all that it had."""

    def __init__(self, image: bytes, tlb: TlbSpec | None, *, vcpus: int = 1) -> None:
        with Machine(Machine.size_for(MEMORY)) as machine:
            memory = machine.platform.memory
            machine.destroy(machine.create(load_image(image), DomainConfig(memory=MEMORY, vcpus=vcpus)))
            free = memory.nr_free
            domain = machine.create(load_image(image), DomainConfig(memory=MEMORY, vcpus=vcpus, tlb=tlb))
            machine.run(timeout=HOST_TIMEOUT)
            self.console = domain.console_output().decode()
            self.reason, self.crash = domain.reason, domain.crash_report
            processors = [vcpu.cpu for vcpu in domain.vcpus]
            self.counts = counts_of(processors)
            self.differences = [
                line for one in processors if isinstance(one, TlbProcessor) for line in one.differences()
            ]
            self.held = [len(one.tlb) for one in processors if isinstance(one, TlbProcessor)]
            self.audit = machine.audit()
            machine.destroy(domain)
            self.audit += machine.audit()
            self.lost = free - memory.nr_free


def well(run: Run, console: str) -> Run:
    assert (run.reason, run.crash) == (ShutdownReason.poweroff, "")
    assert run.console == console
    assert (run.differences, run.audit, run.lost) == ([], [], 0)
    return run


ASK = """
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    XEN_NOTES ask
    .text
.macro TLB_CALL command, ecx=$0, edx=$0, esi=$0
    movl \\ecx, %ecx
    movl \\edx, %edx
    movl \\esi, %esi
    movl $TLBOP_\\command, %ebx
    call hypercall_page + TLB_OP * 32
.endm
.macro TELL
    call print_errno
    PRINT " "
.endm
# EDX:ESI = entry for our own page EAX with flags EDX
own_entry:
    pushl %edx
    call va_to_mfn
    popl %edx
    call make_entry
    movl %edx, %esi
    movl %eax, %edx
    ret
.macro REFILL_OWN va, page, flags
    movl \\page, %eax
    movl \\flags, %edx
    call own_entry
    TLB_CALL refill, \\va, %edx, %esi
.endm
    .bss
    .balign PAGE_SIZE
spare: .skip PAGE_SIZE
other: .skip PAGE_SIZE
    .text
main:
"""


def asked(body: str, kind: TlbKind | None, *, vcpus: int = 1, **spec: int) -> Run:
    """A kernel whose `main` is `body`, after which macros and pages of its own are there."""
    return Run(kernel_image(ASK + body), None if kind is None else TlbSpec(kind, **spec), vcpus=vcpus)
