"""vcpu_op as a guest sees it: errnos, the 100 Hz ticker, run states, and a vcpu_info on the move."""

from __future__ import annotations

import re

from paravane import DomainConfig, Machine, StopReason, load_image
from paravane.abi.errno import Errno
from tests.support.boot import HOST_TIMEOUT, Outcome, boot, kernel_image
from tests.support.prelude import prelude

PRELUDE = (
    prelude("paging", "shared")
    + """
.macro VCPU_OP command, vcpuid=$0, arg=$0
    movl $VCPUOP_\\command, %ebx
    movl \\vcpuid, %ecx
    movl \\arg, %edx
    HYPERCALL vcpu_op
.endm

.macro SHOW command, vcpuid=$0, arg=$0     # prints the command and how it ended
    VCPU_OP \\command, \\vcpuid, \\arg
    pushl %eax
    PRINT "\\command "
    popl %eax
    call print_result
    PRINT "\\n"
.endm

    .text
# Prints EAX as a signed number.
print_result:
    testl %eax, %eax
    jns print_dec
    pushl %eax
    PRINT "-"
    popl %eax
    negl %eax
    jmp print_dec

# Binds the timer interrupt; every port masked, so that it only shows as a pending bit.
bind_timer:
    call map_shared_info
    call mask_all_events
    movl $VIRQ_TIMER, bind + EVTCHN_BIND_VIRQ_virq
    movl $EVTCHNOP_bind_virq, %ebx
    movl $bind, %ecx
    HYPERCALL event_channel_op
    MUST bind_virq
    ret

# Yields EAX times, a millisecond each where nobody else runs. EAX: how often the timer interrupt came.
count_ticks:
    pushl %esi
    pushl %edi
    movl %eax, %esi
    xorl %edi, %edi
1:  call yield
    movl bind + EVTCHN_BIND_VIRQ_port, %eax
    btrl %eax, shared_info + SHARED_INFO_evtchn_pending
    adcl $0, %edi
    decl %esi
    jnz 1b
    movl %edi, %eax
    popl %edi
    popl %esi
    ret

# Sleeps until the timer interrupt comes.
sleep:
    movl bind + EVTCHN_BIND_VIRQ_port, %eax
    movl %eax, port
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    ret

    .data
    .balign 4
bind: .skip EVTCHN_BIND_VIRQ_sizeof
poll: .long port, 1
    .quad 0
port: .long 0
    .text
"""
)


def run(body: str) -> Outcome:
    """What came of a kernel whose time passes with its instructions: a loaded host ticks it no sooner."""
    return boot(PRELUDE + body, memory=4 << 20, slice_instructions=1_000_000)


def lines(body: str) -> list[str]:
    """The lines a kernel printed that powers off."""
    return run(body).ended().lines


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


def test_vcpu_info_moves_once_and_takes_its_contents_along() -> None:
    assert lines("""
main:
    call map_shared_info
    call mask_all_events
    movl $0x1234567, SHARED_CR2
    movl $info, %eax
    call va_to_mfn
    movl %eax, new
    movl $VCPU_INFO_sizeof - 1, new + VCPU_REGISTER_VCPU_INFO_offset
    notl new + VCPU_REGISTER_VCPU_INFO_offset
    SHOW register_vcpu_info, $0, $new
    movl $PAGE_SIZE - VCPU_INFO_sizeof + 4, new + VCPU_REGISTER_VCPU_INFO_offset
    SHOW register_vcpu_info, $0, $new
    movl $2, new + VCPU_REGISTER_VCPU_INFO_offset
    SHOW register_vcpu_info, $0, $new
    movl $64, new + VCPU_REGISTER_VCPU_INFO_offset
    movl $1, new + VCPU_REGISTER_VCPU_INFO_mfn + 4
    SHOW register_vcpu_info, $0, $new
    movl $0, new + VCPU_REGISTER_VCPU_INFO_mfn + 4
    SHOW register_vcpu_info, $0, $new
    SHOW register_vcpu_info, $0, $new
    PRINT_HEX info + 64 + VCPU_INFO_arch_cr2
    PRINT " mask "
    movzbl info + 64 + VCPU_INFO_evtchn_upcall_mask, %eax
    call print_dec
    PRINT " pending "
    movzbl info + 64 + VCPU_INFO_evtchn_upcall_pending, %eax
    call print_dec
    PRINT " "
    PRINT_HEX info + 64 + VCPU_INFO_evtchn_pending_sel
    PRINT "\\n"
    movl $FLAT_KERNEL_CS, %ebx
    movl $upcall, %ecx
    movl $FLAT_KERNEL_CS, %edx
    movl $upcall, %esi
    HYPERCALL set_callbacks
    movb $0, UPCALL_MASK                        # nobody looks there any more
    call yield
    PRINT "not yet\\n"
    movb $0, info + 64 + VCPU_INFO_evtchn_upcall_mask
    call yield
    ret
upcall:
    pushal
    PRINT "upcall, old mask "
    movzbl UPCALL_MASK, %eax
    call print_dec
    PRINT " new mask "
    movzbl info + 64 + VCPU_INFO_evtchn_upcall_mask, %eax
    call print_dec
    PRINT "\\n"
    movb $0, info + 64 + VCPU_INFO_evtchn_upcall_pending
    popal
    iret
    .bss
    .balign PAGE_SIZE
info: .skip PAGE_SIZE
    .data
    .balign 4
new: .skip VCPU_REGISTER_VCPU_INFO_sizeof
""") == [
        f"register_vcpu_info {-Errno.ENXIO}",
        f"register_vcpu_info {-Errno.ENXIO}",
        f"register_vcpu_info {-Errno.ENXIO}",
        f"register_vcpu_info {-Errno.EINVAL}",
        "register_vcpu_info 0",
        f"register_vcpu_info {-Errno.EINVAL}",
        "0x01234567 mask 1 pending 1 0xffffffff",
        "not yet",
        "upcall, old mask 0 new mask 1",
    ]


def test_a_vcpu_info_outlives_the_page_that_the_guest_gives_back() -> None:
    """The hypervisor keeps the frame for as long as it writes there, and no longer."""
    image = load_image(kernel_image(PRELUDE + GIVE_BACK))
    memory = 4 << 20
    with Machine(Machine.size_for(memory)) as machine:
        free = set[int]()
        for _ in range(3):
            domain = machine.create(image, DomainConfig(memory=memory))
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
            assert domain.console_output() == b"register_vcpu_info 0\nunmapped 0\ngiven back 1\nis_up 1\n"
            assert machine.audit() == []
            machine.destroy(domain)
            assert machine.audit() == []
            free.add(machine.platform.memory.nr_free)
        assert len(free) == 1


GIVE_BACK = """
main:
    movl $info, %eax
    call va_to_mfn
    movl %eax, new
    movl %eax, mfn
    SHOW register_vcpu_info, $0, $new
    PRINT "unmapped "
    movl $info, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $UVMF_INVLPG, %esi
    HYPERCALL update_va_mapping
    call print_result
    PRINT "\\ngiven back "
    movl $XENMEM_decrease_reservation, %ebx
    movl $reservation, %ecx
    HYPERCALL memory_op
    call print_result
    PRINT "\\n"
    call yield
    SHOW is_up
    ret
    .bss
    .balign PAGE_SIZE
info: .skip PAGE_SIZE
    .data
    .balign 4
new: .skip VCPU_REGISTER_VCPU_INFO_sizeof
mfn: .long 0
reservation: .long mfn, 1, 0, 0
    .word DOMID_SELF, 0
"""


def test_vcpu_info_does_not_move_onto_a_page_table() -> None:
    assert lines("""
main:
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %eax
    call va_to_mfn
    movl %eax, new
    SHOW register_vcpu_info, $0, $new
    ret
    .data
    .balign 4
new: .skip VCPU_REGISTER_VCPU_INFO_sizeof
""") == [f"register_vcpu_info {-Errno.EINVAL}"]


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
