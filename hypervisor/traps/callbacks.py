"""Callbacks a kernel registers: events, failsafe, NMI, sysenter and syscall (public/callback.h)."""

from __future__ import annotations

from array import array
from dataclasses import field, replace

from paravane.abi.arch import FlatSelector
from paravane.abi.callback import CallbackFlag, CallbackType
from paravane.abi.errno import Errno
from paravane.classes import dataclass
from paravane.refusal import Refusal
from paravane.traps.table import Gate, fix_selector, packed


@dataclass(slots=True)
class Callback:
    """A far pointer to a callback, and whether entering it masks event upcalls."""

    cs: int = 0
    eip: int = 0
    masks_events: bool = False

    @property
    def usable(self) -> bool:
        return self.cs & ~3 != 0


@dataclass(slots=True)
class Callbacks:
    """What a vcpu registered. Event upcalls always mask further ones; NMI lives in the trap table."""

    event: Callback = field(default_factory=lambda: Callback(masks_events=True))
    failsafe: Callback = field(default_factory=Callback)
    sysenter: Callback = field(default_factory=Callback)
    syscall32: Callback = field(default_factory=Callback)
    cell: array[int] = field(default_factory=lambda: array("Q", (0,)), compare=False, repr=False)
    """The event callback, `packed` as a gate, for native code."""

    def __post_init__(self) -> None:
        self._show()

    def register(self, kind: int, cs: int, eip: int, flags: int) -> None:
        """CALLBACKOP_register for every kind but NMI. Refusal(ENOSYS) for one a 32-bit guest does not
        have."""
        cs = fix_selector(cs)
        masks = bool(flags & CallbackFlag.mask_events)
        if kind == CallbackType.event:
            self.event = Callback(cs, eip, masks_events=True)
            self._show()
        elif kind == CallbackType.failsafe:
            self.failsafe = Callback(cs, eip, masks)
        elif kind == CallbackType.sysenter:
            self.sysenter = Callback(cs, eip, masks)
        elif kind == CallbackType.syscall32:
            self.syscall32 = Callback(cs, eip, masks)
        else:
            raise Refusal(Errno.ENOSYS, f"a 32-bit guest has no callback of type {kind}")

    def copy(self) -> Callbacks:
        """The same callbacks, registered apart from these."""
        copied = Callbacks()
        copied.become(self)
        return copied

    def become(self, other: Callbacks) -> None:
        """Have what `other` has, apart from it."""
        self.event, self.failsafe, self.sysenter, self.syscall32 = (replace(one) for one in other._all())
        self._show()

    def _all(self) -> tuple[Callback, ...]:
        return self.event, self.failsafe, self.sysenter, self.syscall32

    def _show(self) -> None:
        self.cell[0] = packed(self.event.cs, self.event.eip, masks_events=True)

    @staticmethod
    def refuse_unregister(kind: int) -> None:
        """CALLBACKOP_unregister for every kind but NMI: EINVAL for those that exist, else ENOSYS."""
        known = (CallbackType.event, CallbackType.failsafe, CallbackType.sysenter, CallbackType.syscall32)
        if kind in known:
            name = CallbackType(kind).name
            raise Refusal(Errno.EINVAL, f"the {name} callback can be replaced but not unregistered")
        raise Refusal(Errno.ENOSYS, f"a 32-bit guest has no callback of type {kind}")


def nmi_gate(eip: int) -> Gate:
    """The trap-table entry that an NMI callback stands for: Xen always enters it through its flat ring-1
    code."""
    return Gate(int(FlatSelector.KERNEL_CS), eip, 0, True)
