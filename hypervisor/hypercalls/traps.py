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
    from paravane.hypercalls.caller import Caller

_GATE_WORK = 4
"""Units of work to read one entry of a trap table and install its gate."""

callback = commands(Hypercall.callback_op, CallbackOp, unknown=Errno.EINVAL)
nmi = commands(Hypercall.nmi_op, NmiOp)


@hypercall(Hypercall.set_trap_table)
def set_trap_table(caller: "Caller", table: Ptr) -> int:
    """Register gates up to the entry whose address is 0; those before a bad pointer stay registered."""
    if table == 0:
        caller.traps.clear_traps()
        return 0
    for done in count():
        at = table + done * TRAP_INFO.size
        if done and not caller.budget.left():
            raise Preempted(done, at)
        info = TRAP_INFO.unpack(caller.copy_from_guest(at, TRAP_INFO.size))
        if info.address == 0:
            break
        caller.traps.install_trap(info)
        caller.budget.spend(_GATE_WORK)
    return 0


@hypercall(Hypercall.set_callbacks)
def set_callbacks(
    caller: "Caller", event_cs: Hex, event_eip: Hex, failsafe_cs: Hex, failsafe_eip: Hex
) -> int:
    """The old way to register the event and the failsafe callback, neither with flags."""
    callbacks = caller.traps.state.callbacks
    callbacks.register(CallbackType.event, event_cs, event_eip, 0)
    callbacks.register(CallbackType.failsafe, failsafe_cs, failsafe_eip, 0)
    return 0


@callback(CallbackOp.register)
def register_callback(caller: "Caller", arg: Annotated[CallbackRegister, In(CALLBACK_REGISTER)]) -> int:
    if arg.type == CallbackType.nmi:
        caller.traps.register_nmi(arg.address.eip)
    else:
        caller.traps.state.callbacks.register(arg.type, arg.address.cs, arg.address.eip, arg.flags)
    return 0


@callback(CallbackOp.unregister)
def unregister_callback(caller: "Caller", arg: Annotated[CallbackUnregister, In(CALLBACK_UNREGISTER)]) -> int:
    if arg.type != CallbackType.nmi:
        caller.traps.state.callbacks.refuse_unregister(arg.type)
    caller.traps.unregister_nmi()
    return 0


@nmi(NmiOp.register_callback)
def register_nmi(caller: "Caller", arg: Annotated[XennmiCallback, In(XENNMI_CALLBACK)]) -> int:
    caller.traps.register_nmi(arg.handler_address)
    return 0


@nmi(NmiOp.unregister_callback)
def unregister_nmi(caller: "Caller") -> int:
    caller.traps.unregister_nmi()
    return 0


@hypercall(Hypercall.stack_switch)
def stack_switch(caller: "Caller", ss: Hex, esp: Hex) -> int:
    """The stack on which the kernel is entered from ring 2 and 3; checked when it is used."""
    caller.traps.switch_stack(ss, esp)
    return 0


@hypercall(Hypercall.fpu_taskswitch)
def fpu_taskswitch(caller: "Caller", on: UInt) -> int:
    """Set or clear CR0.TS, so that the next FPU instruction raises #NM or does not."""
    caller.traps.set_task_switched(on != 0)
    return 0


@hypercall(Hypercall.set_debugreg)
def set_debugreg(caller: "Caller", register: UInt, value: Hex) -> int:
    state = caller.traps.state
    state.debug.write(register, value, state.cr4, caller.cpu)
    return 0


@hypercall(Hypercall.get_debugreg)
def get_debugreg(caller: "Caller", register: UInt) -> int:
    """The value itself, or -ENODEV, which a guest cannot tell from a register that holds it."""
    state = caller.traps.state
    return state.debug.read(register, state.cr4)


@hypercall(Hypercall.iret)
def iret(caller: "Caller") -> None:
    """Return through the frame at ESP, a `struct iret_frame`; every register, EAX too, is what it says."""
    caller.traps.iret()
