"""vcpu_op (public/vcpu.h): timers and run states of vcpus, where their records are, and which of them run.

The first argument of a command is the vcpu it is about, the second a pointer whose struct depends on the
command. A 32-bit guest's two `register_*_memory_area` structs are read as one word, their 32-bit address:
what follows it may be in no page at all.
"""

from typing import TYPE_CHECKING, Annotated

from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.abi.sched import ShutdownReason
from paravane.abi.shared_info import VCPU_INFO, VCPU_TIME_INFO
from paravane.abi.vcpu import (
    VCPU_GUEST_CONTEXT,
    VCPU_REGISTER_VCPU_INFO,
    VCPU_RUNSTATE_INFO,
    VCPU_SET_PERIODIC_TIMER,
    VCPU_SET_SINGLESHOT_TIMER,
    VcpuGuestContext,
    VcpuOp,
    VcpuRegisterVcpuInfo,
    VcpuSetPeriodicTimer,
    VcpuSetSingleshotTimer,
)
from paravane.hypercalls.table import Arguments, In, Ptr, UInt, commands
from paravane.refusal import Refusal
from paravane.time.timers import system_time
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller
    from paravane.vcpu import Vcpu

SHORTEST_PERIOD = 1_000_000
LONGEST_PERIOD = 2**62 - 1
"""Nanoseconds: bounds of a periodic timer (Xen's STIME_DELTA_MAX above)."""


def _check(caller: "Caller", arguments: Arguments) -> Arguments:
    """Whether there is such a vcpu is looked at before whether there is such a command."""
    _target(caller, arguments[1])
    return arguments


vcpu_op = commands(Hypercall.vcpu_op, VcpuOp, check=_check)


@vcpu_op(VcpuOp.initialise)
def initialise(
    caller: "Caller", vcpuid: UInt, arg: Annotated[VcpuGuestContext, In(VCPU_GUEST_CONTEXT)]
) -> int:
    """Give a vcpu its first context, from which it starts with VCPUOP_up."""
    _target(caller, vcpuid).initialise(arg)
    return 0


@vcpu_op(VcpuOp.up)
def up(caller: "Caller", vcpuid: UInt) -> int:
    _target(caller, vcpuid).run_state.bring_up()
    return 0


@vcpu_op(VcpuOp.down)
def down(caller: "Caller", vcpuid: UInt) -> int:
    """Stop a vcpu until VCPUOP_up. With the last one the domain powers off."""
    target = _target(caller, vcpuid)
    if all(other.run_state.down for other in caller.domain.vcpus if other is not target):
        caller.domain.shutdown(ShutdownReason.poweroff)
    else:
        target.run_state.take_down()
    return 0


@vcpu_op(VcpuOp.is_up)
def is_up(caller: "Caller", vcpuid: UInt) -> int:
    return int(not _target(caller, vcpuid).run_state.down)


@vcpu_op(VcpuOp.get_runstate_info)
def get_runstate_info(caller: "Caller", vcpuid: UInt, arg: Ptr) -> int:
    caller.copy_to_guest(arg, VCPU_RUNSTATE_INFO.pack(_target(caller, vcpuid).time.run_states()))
    return 0


@vcpu_op(VcpuOp.register_runstate_memory_area)
def register_runstate_memory_area(caller: "Caller", vcpuid: UInt, arg: Ptr) -> int:
    """Have the run states written to a linear address at every switch; -EFAULT for the hypervisor's."""
    _target(caller, vcpuid).time.register_run_states(_area(caller, arg, VCPU_RUNSTATE_INFO.size))
    return 0


@vcpu_op(VcpuOp.register_vcpu_time_memory_area)
def register_vcpu_time_memory_area(caller: "Caller", vcpuid: UInt, arg: Ptr) -> int:
    """Have the time record of vcpu_info written to a second place, one that applications can read."""
    _target(caller, vcpuid).time.register_time(_area(caller, arg, VCPU_TIME_INFO.size))
    return 0


@vcpu_op(VcpuOp.register_vcpu_info)
def register_vcpu_info(
    caller: "Caller", vcpuid: UInt, arg: Annotated[VcpuRegisterVcpuInfo, In(VCPU_REGISTER_VCPU_INFO)]
) -> int:
    """Move a vcpu_info out of shared_info, once and for good."""
    target = _target(caller, vcpuid)
    if arg.offset > PAGE_SIZE - VCPU_INFO.size or arg.offset & 3:
        raise Refusal(Errno.ENXIO, f"a vcpu_info cannot be at offset {arg.offset:#x} of a page")
    if target.info_moved:
        raise Refusal(Errno.EINVAL, f"the vcpu_info of vcpu {vcpuid} has been moved already")
    if target is not caller.vcpu and not target.run_state.down:
        raise Refusal(Errno.EINVAL, f"the vcpu_info of vcpu {vcpuid} cannot move while that vcpu is up")
    target.move_info(arg.mfn, arg.offset)
    return 0


@vcpu_op(VcpuOp.set_periodic_timer)
def set_periodic_timer(
    caller: "Caller", vcpuid: UInt, arg: Annotated[VcpuSetPeriodicTimer, In(VCPU_SET_PERIODIC_TIMER)]
) -> int:
    if not SHORTEST_PERIOD <= arg.period_ns <= LONGEST_PERIOD:
        raise Refusal(Errno.EINVAL, f"a periodic timer cannot have a period of {arg.period_ns} ns")
    _target(caller, vcpuid).time.ticker.set(arg.period_ns)
    return 0


@vcpu_op(VcpuOp.stop_periodic_timer)
def stop_periodic_timer(caller: "Caller", vcpuid: UInt) -> int:
    _target(caller, vcpuid).time.ticker.set(0)
    return 0


@vcpu_op(VcpuOp.set_singleshot_timer)
def set_singleshot_timer(
    caller: "Caller", vcpuid: UInt, arg: Annotated[VcpuSetSingleshotTimer, In(VCPU_SET_SINGLESHOT_TIMER)]
) -> int:
    """Raise VIRQ_TIMER once at an absolute system time, at once when that has passed, whatever the flags."""
    timer = _own(caller, vcpuid).time.single_shot
    if arg.timeout_abs_ns < caller.clock.now():
        timer.disarm()
        timer.fired()
    else:
        timer.arm(system_time(arg.timeout_abs_ns))
    return 0


@vcpu_op(VcpuOp.stop_singleshot_timer)
def stop_singleshot_timer(caller: "Caller", vcpuid: UInt) -> int:
    _own(caller, vcpuid).time.single_shot.disarm()
    return 0


@vcpu_op(VcpuOp.send_nmi)
def send_nmi(caller: "Caller", vcpuid: UInt, arg: Ptr) -> int:
    if arg:
        raise Refusal(Errno.EINVAL, "an NMI is sent without an argument")
    target = _target(caller, vcpuid)
    target.traps.raise_nmi()
    target.run_state.wake()
    target.run_state.kick()
    return 0


@vcpu_op(VcpuOp.get_physid)
def get_physid(caller: "Caller", vcpuid: UInt, arg: Ptr) -> int:
    raise Refusal(Errno.EINVAL, f"vcpu {vcpuid} is not pinned to a physical processor")


def _target(caller: "Caller", vcpuid: int) -> "Vcpu":
    """The vcpu of the caller's domain that a command names."""
    vcpus = caller.domain.vcpus
    if vcpuid >= len(vcpus):
        raise Refusal(Errno.ENOENT, f"d{caller.domain.domid} has no vcpu {vcpuid}")
    return vcpus[vcpuid]


def _own(caller: "Caller", vcpuid: int) -> "Vcpu":
    """The caller, which alone may set its one-shot timer."""
    if vcpuid != caller.vcpu_id:
        raise Refusal(Errno.EINVAL, f"the one-shot timer of vcpu {vcpuid} is set by that vcpu only")
    return caller.vcpu


def _area(caller: "Caller", arg: int, size: int) -> int:
    """The linear address at `arg` of a record of `size` bytes that is the guest's to have written."""
    va = int.from_bytes(caller.copy_from_guest(arg, 4), "little")
    if va + size > caller.domain.memory.space.hole:
        raise Refusal(Errno.EFAULT, f"{size} bytes at {va:#010x} are the hypervisor's")
    return va
