"""What a stream has of vcpus besides their contexts: sysenter and syscall callbacks, CPUID leaves."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from paravane.abi.callback import CallbackFlag, CallbackType

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.traps.emulate.cpuid import Leaf
    from paravane.vcpu import Vcpu

VCPU: Final = Struct("<II")
"""The number of a vcpu; 0."""

_EXTENDED: Final = Struct("<IIQQHHBBxxQQQQ")
"""struct xen_domctl_ext_vcpucontext (public/domctl.h): vcpu, size, EIPs and selectors of the syscall32 and
sysenter callbacks, whether they mask events, and the machine-check registers."""

_LEAF: Final = Struct("<6I")
"""struct xen_cpuid_leaf (public/arch-x86/xen.h)."""

_NO_SUBLEAF: Final = 0xFFFF_FFFF
_BASIC, _EXTENDED_LEAVES = 0, 0x8000_0000
_MOST_LEAVES: Final = 64
_FEATURES: Final = {
    (1, 2): "1.ECX",
    (1, 3): "1.EDX",
    (0x8000_0001, 2): "80000001.ECX",
    (0x8000_0001, 3): "80000001.EDX",
}


def extended(vcpu: Vcpu) -> bytes:
    """The callbacks that a vcpu's context leaves out."""
    callbacks = vcpu.traps.state.callbacks
    syscall, sysenter = callbacks.syscall32, callbacks.sysenter
    return _EXTENDED.pack(
        vcpu.vcpu_id,
        _EXTENDED.size,
        syscall.eip,
        sysenter.eip,
        syscall.cs,
        sysenter.cs,
        syscall.masks_events,
        sysenter.masks_events,
        *(0, 0, 0, 0),
    )


def load_extended(vcpu: Vcpu, data: bytes) -> None:
    """Register the callbacks of an `extended` record, as long as that of any release of Xen."""
    _, _, eip, other_eip, cs, other_cs, masks, other_masks, *_ = _EXTENDED.unpack(
        data[: _EXTENDED.size].ljust(_EXTENDED.size, b"\0")
    )
    callbacks = vcpu.traps.state.callbacks
    for kind, where, segment, masked in (
        (CallbackType.syscall32, eip, cs, masks),
        (CallbackType.sysenter, other_eip, other_cs, other_masks),
    ):
        if segment:
            flags = CallbackFlag.mask_events if masked else 0
            callbacks.register(kind, segment, where & 0xFFFF_FFFF, flags)


def cpuid_leaves(cpuid: Callable[[int, int], Leaf]) -> bytes:
    """The basic and the extended leaves of a processor."""
    leaves = []
    for base in (_BASIC, _EXTENDED_LEAVES):
        last = cpuid(base, 0)[0]
        leaves += [_LEAF.pack(leaf, _NO_SUBLEAF, *cpuid(leaf, 0)) for leaf in range(base, last + 1)]
    return b"".join(leaves)


def missing_features(data: bytes, cpuid: Callable[[int, int], Leaf]) -> list[str]:
    """Feature bits of a stream's leaves that this processor does not have, as in `1.ECX bit 20`. ValueError
    for what are no leaves."""
    if len(data) % _LEAF.size or len(data) > _MOST_LEAVES * _LEAF.size:
        raise ValueError(f"{len(data)} bytes are no CPUID leaves")
    missing = []
    for leaf, _, *registers in _LEAF.iter_unpack(data):
        for (number, register), name in _FEATURES.items():
            if leaf == number:
                lost = registers[register] & ~cpuid(leaf, 0)[register]
                missing += [f"{name} bit {bit}" for bit in range(32) if lost >> bit & 1]
    return missing
