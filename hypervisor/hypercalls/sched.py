"""sched_op (public/sched.h) and its old form sched_op_compat: give up the processor, or the domain."""

from typing import TYPE_CHECKING, Annotated

from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.abi.sched import (
    SCHED_POLL,
    SCHED_REMOTE_SHUTDOWN,
    SCHED_SHUTDOWN,
    SCHED_WATCHDOG,
    SchedOp,
    SchedPoll,
    SchedRemoteShutdown,
    SchedShutdown,
    SchedWatchdog,
)
from paravane.hypercalls.table import In, Ptr, UInt, commands, hypercall
from paravane.refusal import Refusal
from paravane.time.timers import system_time

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

MAX_POLLED_PORTS = 128

sched = commands(Hypercall.sched_op, SchedOp)
sched_compat = commands(Hypercall.sched_op_compat, SchedOp)


@sched_compat(SchedOp.yield_)
@sched(SchedOp.yield_)
def yield_(caller: "Caller") -> int:
    caller.run_state.yield_()
    return 0


@sched_compat(SchedOp.block)
@sched(SchedOp.block)
def block(caller: "Caller") -> int:
    """Unmask upcalls and sleep until one is due, atomically: an event that is pending already wins."""
    caller.traps.unmask_upcalls()
    caller.run_state.block()
    return 0


@sched(SchedOp.shutdown)
def shutdown(caller: "Caller", arg: Annotated[SchedShutdown, In(SCHED_SHUTDOWN)]) -> int:
    caller.domain.shutdown(arg.reason & 0xFF, lambda: caller.domain.dump(caller.vcpu_id))
    return 0


@sched_compat(SchedOp.shutdown)
def shutdown_compat(caller: "Caller", reason: UInt) -> int:
    """The old form takes the reason itself instead of a pointer to it."""
    caller.domain.shutdown(reason & 0xFF, lambda: caller.domain.dump(caller.vcpu_id))
    return 0


@sched(SchedOp.shutdown_code)
def shutdown_code(caller: "Caller", arg: Annotated[SchedShutdown, In(SCHED_SHUTDOWN)]) -> int:
    """Say beforehand which reason a later shutdown is to report; the first one said stays."""
    caller.domain.set_shutdown_code(arg.reason & 0xFF)
    return 0


@sched(SchedOp.poll)
def poll(caller: "Caller", arg: Annotated[SchedPoll, In(SCHED_POLL)]) -> int:
    """Sleep until one of the ports is pending (masked or not), an upcall is due, or `timeout` has passed.

    As in Xen the list is read port by port, so that one that leads out of memory matters only when it is
    reached.
    """
    if arg.nr_ports > MAX_POLLED_PORTS:
        raise Refusal(Errno.EINVAL, f"{arg.nr_ports} ports to poll, at most {MAX_POLLED_PORTS} are allowed")
    addresses = (arg.ports + 4 * index & 0xFFFF_FFFF for index in range(arg.nr_ports))
    ports = (int.from_bytes(caller.copy_from_guest(address, 4), "little") for address in addresses)
    caller.run_state.poll(ports, system_time(arg.timeout))
    return 0


@sched(SchedOp.remote_shutdown)
def remote_shutdown(caller: "Caller", arg: Annotated[SchedRemoteShutdown, In(SCHED_REMOTE_SHUTDOWN)]) -> int:
    """Shut another domain down as if it had asked for it itself: for the control domain."""
    caller.platform.domains.by_id(arg.domain_id)
    domain = caller.control.guest(arg.domain_id)
    if domain is None or not caller.domain.privileged:
        raise Refusal(Errno.EPERM, f"domain {arg.domain_id} is not this domain's to shut down")
    domain.shutdown(arg.reason & 0xFF)
    return 0


@sched(SchedOp.watchdog)
def watchdog(caller: "Caller", arg: Annotated[SchedWatchdog, In(SCHED_WATCHDOG)]) -> int:
    """Arm (id 0: a free one, whose id is the result), push back or disarm (0 seconds) a watchdog."""
    return caller.domain.watchdogs.set(arg.id, arg.timeout)


@sched(SchedOp.pin_override)
def pin_override(caller: "Caller", arg: Ptr) -> int:
    raise Refusal(Errno.EPERM, "only the hardware domain pins vcpus to processors")


_HUGE_TIMEOUT = 1 << 50
_HUGE_TIMEOUT_DELAY = 100_000_000


@hypercall(Hypercall.set_timer_op)
def set_timer_op(caller: "Caller", low: UInt, high: UInt) -> int:
    """Raise VIRQ_TIMER once at an absolute system time; 0 stops the timer.

    A deadline in the past by sign or over 13 days away is a guest whose arithmetic wrapped: Xen fires after
    100 ms instead, early enough for a guest with work to do and late enough for one that meant "never".
    """
    deadline = high << 32 | low
    now, timer = caller.clock.now(), caller.time.single_shot
    if deadline == 0:
        timer.disarm()
    elif deadline >> 63 or deadline - now >= _HUGE_TIMEOUT:
        timer.arm(now + _HUGE_TIMEOUT_DELAY)
    else:
        timer.arm(deadline)
    return 0
