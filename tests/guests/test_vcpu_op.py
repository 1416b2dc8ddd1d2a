"""vcpu_op as a guest sees it: errnos, the 100 Hz ticker, run states, NMIs, and the end of the last vcpu."""

from __future__ import annotations

import re

import pytest

from paravane import StopReason
from paravane.abi.errno import Errno
from tests.support.vcpu_op import lines, run


def test_every_command_answers_with_the_errno_of_xen() -> None:
    assert lines("""
main:
    SHOW is_up
    SHOW is_up, $1
    SHOW get_physid
    SHOW initialise, $0, $0xF5000000
    SHOW initialise, $0, $context
    SHOW up
    SHOW get_runstate_info, $0, $0xF5000000
    SHOW register_runstate_memory_area, $0, $in_the_hole
    SHOW register_runstate_memory_area, $1, $0
    SHOW set_periodic_timer, $0, $too_often
    SHOW set_periodic_timer, $0, $too_seldom
    SHOW set_periodic_timer, $0, $often
    SHOW stop_periodic_timer
    SHOW set_singleshot_timer, $0, $0xF5000000
    SHOW set_singleshot_timer, $0, $past
    SHOW stop_singleshot_timer
    SHOW send_nmi, $0, $1
    movl $99, %ebx
    xorl %ecx, %ecx
    HYPERCALL vcpu_op
    call print_result
    PRINT " "
    movl $99, %ebx
    movl $7, %ecx
    HYPERCALL vcpu_op
    call print_result
    PRINT "\\n"
    ret
    .data
too_often: .quad 999999
too_seldom: .quad 0x4000000000000000
often: .quad 1000000
in_the_hole: .long 0xF5800000 - VCPU_RUNSTATE_INFO_sizeof + 1
past: .quad 0
    .long VCPU_SSHOTTMR_future
context: .skip VCPU_GUEST_CONTEXT_sizeof
""") == [
        "is_up 1",
        f"is_up {-Errno.ENOENT}",
        f"get_physid {-Errno.EINVAL}",
        f"initialise {-Errno.EFAULT}",
        f"initialise {-Errno.EEXIST}",
        "up 0",
        f"get_runstate_info {-Errno.EFAULT}",
        f"register_runstate_memory_area {-Errno.EFAULT}",
        f"register_runstate_memory_area {-Errno.ENOENT}",
        f"set_periodic_timer {-Errno.EINVAL}",
        f"set_periodic_timer {-Errno.EINVAL}",
        "set_periodic_timer 0",
        "stop_periodic_timer 0",
        f"set_singleshot_timer {-Errno.EFAULT}",
        "set_singleshot_timer 0",
        "stop_singleshot_timer 0",
        f"send_nmi {-Errno.EINVAL}",
        f"{-Errno.ENOSYS} {-Errno.ENOENT}",
    ]


def test_a_vcpu_is_ticked_a_hundred_times_a_second_until_it_asks_for_another_rate() -> None:
    ticks = lines("""
.macro COUNT
    movl $200, %eax
    call count_ticks
    call print_dec
    PRINT "\\n"
.endm
main:
    call bind_timer
    COUNT
    VCPU_OP set_periodic_timer, $0, $often
    COUNT
    VCPU_OP stop_periodic_timer
    call yield
    movl bind + EVTCHN_BIND_VIRQ_port, %eax
    btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    COUNT
    ret
    .data
often: .quad 4000000
""")
    default, often, stopped = map(int, ticks)
    assert default in (20, 21)
    assert often in (50, 51)
    assert stopped == 0


def test_a_ticker_does_not_wake_a_vcpu_that_sleeps() -> None:
    outcome = run("""
main:
    call bind_timer
    call sleep
    PRINT "woken\\n"
    ret
""")
    assert outcome.ending is StopReason.STALLED
    assert outcome.console == ""


@pytest.mark.parametrize("flags", [0, "VCPU_SSHOTTMR_future"])
def test_a_time_that_has_passed_fires_at_once_whatever_the_flags(flags: int | str) -> None:
    """Xen 4.17 looks at no flag: it raises the interrupt, and forgets the time that was set before."""
    assert lines(f"""
main:
    call bind_timer
    VCPU_OP stop_periodic_timer
    addl shared_info + SHARED_INFO_vcpu_info_time_system_time, %eax
    addl $5000000, %eax
    movl %eax, ahead
    SHOW set_singleshot_timer, $0, $ahead
    SHOW set_singleshot_timer, $0, $past
    movl bind + EVTCHN_BIND_VIRQ_port, %ecx
    xorl %eax, %eax
    btrl %ecx, shared_info + SHARED_INFO_evtchn_pending
    adcl $0, %eax
    call print_dec
    PRINT "\\n"
    movl $20, %eax
    call count_ticks
    call print_dec
    PRINT "\\n"
    ret
    .data
    .balign 8
ahead: .quad 0
    .long {flags}
past: .quad 1
    .long {flags}
""") == ["set_singleshot_timer 0", "set_singleshot_timer 0", "1", "0"]


def test_nobody_waits_for_the_end_of_time() -> None:
    """A timeout of 2**63 has passed long ago, a timer set to one less never comes, and no clock breaks."""
    outcome = run("""
main:
    call bind_timer
    movl $0x80000000, poll + SCHED_POLL_timeout + 4
    call sleep
    PRINT "not asleep\\n"
    movl $0, poll + SCHED_POLL_timeout + 4
    VCPU_OP set_singleshot_timer, $0, $last
    MUST set_singleshot_timer
    call sleep
    PRINT "woken\\n"
    ret
    .data
    .balign 4
last: .quad 0x7FFFFFFFFFFFFFFF
    .long 0
""")
    assert outcome.ending is StopReason.STALLED
    assert outcome.console == "not asleep\n"


def test_a_sleep_shows_in_the_run_states() -> None:
    """Three seconds asleep are blocked time, in the registered area and in the answer to the call."""
    console = lines("""
main:
    call bind_timer
    VCPU_OP stop_periodic_timer
    VCPU_OP register_runstate_memory_area, $0, $area_at
    MUST register_runstate_memory_area
    call print_area
    movl shared_info + VCPU_INFO_time_system_time, %eax
    movl shared_info + VCPU_INFO_time_system_time + 4, %edx
    addl $3000000000, %eax
    adcl $0, %edx
    movl %eax, deadline
    movl %edx, deadline + 4
    VCPU_OP set_singleshot_timer, $0, $deadline
    MUST set_singleshot_timer
    call sleep
    call print_area
    VCPU_OP get_runstate_info, $0, $area
    MUST get_runstate_info
    call print_area
    ret
print_area:
    PRINT_DEC area + VCPU_RUNSTATE_INFO_state
    PRINT " blocked "
    movl area + VCPU_RUNSTATE_INFO_time + 8 * RUNSTATE_blocked, %eax
    movl area + VCPU_RUNSTATE_INFO_time + 8 * RUNSTATE_blocked + 4, %edx
    movl $1000000, %ecx
    divl %ecx
    call print_dec
    PRINT " ms\\n"
    ret
    .data
    .balign 4
deadline: .skip VCPU_SET_SINGLESHOT_TIMER_sizeof
area_at: .long area
area: .skip VCPU_RUNSTATE_INFO_sizeof
""")
    assert console[0] == "0 blocked 0 ms"
    assert re.fullmatch(r"0 blocked (299\d|300\d) ms", console[1])
    assert console[2] == console[1]


def test_an_nmi_that_a_vcpu_sends_itself_arrives_at_its_callback() -> None:
    assert lines("""
main:
    movl $CALLBACKOP_register, %ebx
    movl $callback, %ecx
    HYPERCALL callback_op
    MUST callback
    VCPU_OP send_nmi
    PRINT "sent\\n"
    ret
nmi:
    pushal
    PRINT "NMI\\n"
    popal
    iret
    .data
    .balign 4
callback:
    .word CALLBACKTYPE_nmi, 0
    .long FLAT_KERNEL_CS, nmi
""") == ["NMI", "sent"]


def test_the_last_vcpu_that_goes_down_powers_the_domain_off() -> None:
    assert lines("""
main:
    PRINT "down\\n"
    call console_flush
    VCPU_OP down
    PANIC "still there"
""") == ["down"]
