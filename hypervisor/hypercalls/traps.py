"""Hypercalls about traps: trap table, callbacks, kernel stack, iret, FPU switching, debug registers, NMI."""

from itertools import count
from typing import TYPE_CHECKING, Annotated

from paravane.abi.callback import (
    CALLBACK_REGISTER,
    CALLBACK_UNREGISTER,
    CallbackOp,
    CallbackRegister,
    CallbackType,
    CallbackUnregister,
)
from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.abi.nmi import XENNMI_CALLBACK, NmiOp, XennmiCallback
from paravane.abi.trap import TRAP_INFO
from paravane.hypercalls.table import Hex, In, Ptr, UInt, commands, hypercall
from paravane.preemption import Preempted

if TYPE_CHECKING:
    from paravane.vcpu import Vcpu

_GATE_WORK = 4
"""Units of work to read one entry of a trap table and install its gate."""

callback = commands(Hypercall.callback_op, CallbackOp, unknown=Errno.EINVAL)
nmi = commands(Hypercall.nmi_op, NmiOp)


@hypercall(Hypercall.set_trap_table)
def set_trap_table(vcpu: "Vcpu", table: Ptr) -> int:
    """Register gates up to the entry whose address is 0; those before a bad pointer stay registered."""
    if table == 0:
        vcpu.traps.clear_traps()
        return 0
    for done in count():
        at = table + done * TRAP_INFO.size
        if done and not vcpu.work.left():
            raise Preempted(done, at)
        info = TRAP_INFO.unpack(vcpu.copy_from_guest(at, TRAP_INFO.size))
        if info.address == 0:
            break
        vcpu.traps.install_trap(info)
        vcpu.work.spend(_GATE_WORK)
    return 0


@hypercall(Hypercall.set_callbacks)
def set_callbacks(vcpu: "Vcpu", event_cs: Hex, event_eip: Hex, failsafe_cs: Hex, failsafe_eip: Hex) -> int:
    """The old way to register the event and the failsafe callback, neither with flags."""
    callbacks = vcpu.traps.state.callbacks
    callbacks.register(CallbackType.event, event_cs, event_eip, 0)
    callbacks.register(CallbackType.failsafe, failsafe_cs, failsafe_eip, 0)
    return 0


@callback(CallbackOp.register)
def register_callback(vcpu: "Vcpu", arg: Annotated[CallbackRegister, In(CALLBACK_REGISTER)]) -> int:
    if arg.type == CallbackType.nmi:
        vcpu.traps.register_nmi(arg.address.eip)
    else:
        vcpu.traps.state.callbacks.register(arg.type, arg.address.cs, arg.address.eip, arg.flags)
    return 0


@callback(CallbackOp.unregister)
def unregister_callback(vcpu: "Vcpu", arg: Annotated[CallbackUnregister, In(CALLBACK_UNREGISTER)]) -> int:
    if arg.type != CallbackType.nmi:
        vcpu.traps.state.callbacks.refuse_unregister(arg.type)
    vcpu.traps.unregister_nmi()
    return 0


@nmi(NmiOp.register_callback)
def register_nmi(vcpu: "Vcpu", arg: Annotated[XennmiCallback, In(XENNMI_CALLBACK)]) -> int:
    vcpu.traps.register_nmi(arg.handler_address)
    return 0


@nmi(NmiOp.unregister_callback)
def unregister_nmi(vcpu: "Vcpu") -> int:
    vcpu.traps.unregister_nmi()
    return 0


@hypercall(Hypercall.stack_switch)
def stack_switch(vcpu: "Vcpu", ss: Hex, esp: Hex) -> int:
    """The stack on which the kernel is entered from ring 2 and 3; checked when it is used."""
    vcpu.traps.switch_stack(ss, esp)
    return 0


@hypercall(Hypercall.fpu_taskswitch)
def fpu_taskswitch(vcpu: "Vcpu", on: UInt) -> int:
    """Set or clear CR0.TS, so that the next FPU instruction raises #NM or does not."""
    vcpu.traps.set_task_switched(on != 0)
    return 0


@hypercall(Hypercall.set_debugreg)
def set_debugreg(vcpu: "Vcpu", register: UInt, value: Hex) -> int:
    state = vcpu.traps.state
    state.debug.write(register, value, state.cr4, vcpu.cpu)
    return 0


@hypercall(Hypercall.get_debugreg)
def get_debugreg(vcpu: "Vcpu", register: UInt) -> int:
    """The value itself, or -ENODEV, which a guest cannot tell from a register that holds it."""
    state = vcpu.traps.state
    return state.debug.read(register, state.cr4)


@hypercall(Hypercall.iret)
def iret(vcpu: "Vcpu") -> None:
    """Return through the frame at ESP; every register, EAX too, is what the frame says."""
    vcpu.traps.iret()
