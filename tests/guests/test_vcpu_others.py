"""vcpu_op about another vcpu of the domain: taking it down and up, its run states, timers and records."""

from __future__ import annotations

from paravane.abi.errno import Errno
from paravane.abi.sched import ShutdownReason
from paravane.abi.vcpu import Runstate
from tests.support.boot import boot, finished
from tests.support.prelude import prelude

PRELUDE = (
    prelude("paging", "shared", "events", "vcpus")
    + """
.macro SHOW command, arg=$0             # about vcpu 1: prints the command and how it ended
    movl $VCPUOP_\\command, %eax
    movl $1, %edx
    movl \\arg, %ecx
    call vcpu_op
    SHOW_SIGNED "\\command "
.endm

.macro SHOW_STATE
    movl $VCPUOP_get_runstate_info, %eax
    movl $1, %edx
    movl $record, %ecx
    call vcpu_op
    MUST get_runstate_info
    movl record, %eax
    SHOW_SIGNED "state "
.endm

.macro WAIT_FOR value, place            # or more, by yielding
.Lwait\\@:
    call yield
    cmpl $\\value, \\place
    jb .Lwait\\@
.endm

.macro START where
    movl $1, %eax
    movl $\\where, %edx
    movl $other_stack, %ecx
    call start_vcpu
    MUST start_vcpu
.endm

    .bss
    .balign 4096
info_page: .skip 4096
    .skip 4096
other_stack:
record: .skip VCPU_RUNSTATE_INFO_sizeof
    .balign 4
count: .skip 4
port: .skip 4
    .text

counts:                                 # as long as it has a processor
1:  incl count
    call yield
    jmp 1b

sleeps:
    movl $1, count
    call block
    movl $2, count
2:  call yield
    jmp 2b
"""
)


def lines(body: str, reason: ShutdownReason = ShutdownReason.poweroff) -> list[str]:
    result = boot(PRELUDE + body, memory=4 << 20, vcpus=2, slice_instructions=1_000_000)
    return finished(result, reason).lines


def test_a_vcpu_that_another_takes_down_stands_still_and_goes_on_when_it_is_up_again() -> None:
    assert lines("""
main:
    SHOW_STATE                          # never started
    START counts
    WAIT_FOR 3, count
    SHOW_STATE
    SHOW down
    SHOW down
    SHOW is_up
    SHOW_STATE
    movl count, %esi
    movl $50, %edi
1:  call yield
    decl %edi
    jnz 1b
    subl count, %esi
    movl %esi, %eax
    SHOW_SIGNED "went on by "
    movl count, %esi
    SHOW up
2:  call yield
    cmpl count, %esi
    je 2b
    SHOW is_up
    ret
""") == [
        f"state {Runstate.offline}",
        f"state {Runstate.runnable}",
        "down 0",
        "down 0",
        "is_up 0",
        f"state {Runstate.offline}",
        "went on by 0",
        "up 0",
        "is_up 1",
    ]


def test_a_sleeper_that_is_taken_down_is_woken_but_does_not_run() -> None:
    """It is blocked until its event comes, then offline: what it waited for is not lost."""
    assert lines("""
main:
    call events_init
    movl $FLAT_KERNEL_CS, vcpu_context + VCPU_GUEST_CONTEXT_event_callback_cs
    movl $upcall_of_other, vcpu_context + VCPU_GUEST_CONTEXT_event_callback_eip
    movl $1, %eax
    call bind_ipi
    movl %eax, port
    lock btrl %eax, shared_info + SHARED_INFO_evtchn_mask
    START sleeps
    WAIT_FOR 1, count
    call yield
    SHOW_STATE
    SHOW down
    SHOW_STATE
    movl port, %eax
    call send_event
    MUST send
    SHOW_STATE
    movl count, %eax
    SHOW_SIGNED "count "
    SHOW up
    WAIT_FOR 2, count
    ret
upcall_of_other:
    movb $0, UPCALL_PENDING + VCPU_INFO_sizeof
    jmp hypercall_page + __HYPERVISOR_iret * 32
""") == [
        f"state {Runstate.blocked}",
        "down 0",
        f"state {Runstate.blocked}",
        f"state {Runstate.offline}",
        "count 1",
        "up 0",
    ]


def test_the_domain_powers_off_with_the_last_vcpu_that_goes_down() -> None:
    assert lines("""
main:
    START last
    movl $VCPUOP_down, %eax
    xorl %edx, %edx
    xorl %ecx, %ecx
    call vcpu_op
    PRINT "vcpu 0 came back\\n"
    ret
last:
    movl $VCPUOP_is_up, %eax
    xorl %edx, %edx
    call vcpu_op
    testl %eax, %eax
    jz 1f
    call yield
    jmp last
1:  PRINT "vcpu 0 is down\\n"
    call console_flush
    movl $VCPUOP_down, %eax
    movl $1, %edx
    xorl %ecx, %ecx
    call vcpu_op
    PRINT "vcpu 1 came back\\n"
""") == ["vcpu 0 is down"]


def test_any_vcpu_shuts_all_of_them_down() -> None:
    assert (
        lines(
            """
main:
    START ends
1:  jmp 1b                              # without giving way
ends:
    movl $SHUTDOWN_reboot, %eax
    jmp shutdown
""",
            ShutdownReason.reboot,
        )
        == []
    )


def test_what_belongs_to_another_vcpu_is_set_while_it_is_down_or_not_at_all() -> None:
    assert lines("""
main:
    call events_init
    movl $info_page, %eax
    call va_to_mfn
    movl %eax, where
    START counts
    WAIT_FOR 1, count
    SHOW register_vcpu_info, $where     # it is up
    SHOW set_singleshot_timer, $timer   # one's own only
    SHOW stop_singleshot_timer
    SHOW set_periodic_timer, $period
    SHOW stop_periodic_timer
    SHOW register_runstate_memory_area, $area
    SHOW down
    movb $0x55, UPCALL_MASK + VCPU_INFO_sizeof
    SHOW register_vcpu_info, $where
    SHOW register_vcpu_info, $where     # once and for good
    movzbl info_page + 64 + VCPU_INFO_evtchn_upcall_mask, %eax
    SHOW_HEX "its mask "
    movzbl info_page + 64 + VCPU_INFO_evtchn_upcall_pending, %eax
    SHOW_HEX "pending "
    movl record, %eax
    SHOW_SIGNED "its area says "
    ret
    .data
where:  .quad 0
        .long 64, 0
timer:  .quad 1, 0
period: .quad 1000000
area:   .long record, 0
""") == [
        f"register_vcpu_info {-Errno.EINVAL}",
        f"set_singleshot_timer {-Errno.EINVAL}",
        f"stop_singleshot_timer {-Errno.EINVAL}",
        "set_periodic_timer 0",
        "stop_periodic_timer 0",
        "register_runstate_memory_area 0",
        "down 0",
        "register_vcpu_info 0",
        f"register_vcpu_info {-Errno.EINVAL}",
        "its mask 0x00000055",
        "pending 0x00000001",
        f"its area says {Runstate.runnable}",
    ]


def test_an_nmi_for_a_vcpu_that_is_down_waits_for_it() -> None:
    assert lines("""
.equ NMI_GATE, vcpu_context + VCPU_GUEST_CONTEXT_trap_ctxt + 2 * TRAP_INFO_sizeof
main:
    movw $FLAT_KERNEL_CS, NMI_GATE + TRAP_INFO_cs
    movl $nmi, NMI_GATE + TRAP_INFO_address
    START counts
    WAIT_FOR 1, count
    SHOW down
    SHOW send_nmi
    SHOW send_nmi, $1
    movl taken, %eax
    SHOW_SIGNED "taken "
    SHOW up
    WAIT_FOR 1, taken
    ret
nmi:
    incl taken
    jmp hypercall_page + __HYPERVISOR_iret * 32
    .bss
taken: .skip 4
""") == ["down 0", "send_nmi 0", f"send_nmi {-Errno.EINVAL}", "taken 0", "up 0"]
