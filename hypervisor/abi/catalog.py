"""Everything the ABI declares, for those who generate from it or check it."""

from collections.abc import Iterator
from enum import Enum, IntEnum
from types import ModuleType
from typing import Any

from paravane import x86
from paravane.abi import (
    arch,
    blkif,
    callback,
    console,
    control,
    domctl,
    domctl_domain,
    domctl_frames,
    domctl_sched,
    domctl_vcpu,
    domid,
    e820,
    elfnote,
    errno,
    event_channel,
    fbif,
    grant_table,
    hypercall,
    kbdif,
    memory,
    mmu,
    netif,
    nmi,
    physdev,
    pmu,
    ring,
    sched,
    shared_info,
    start_info,
    sysctl,
    tlb,
    trace,
    trap,
    vcpu,
    version,
    xenbus,
    xs_wire,
)
from paravane.abi.layout import Layout
from paravane.abi.names import C_NAMES, c_names

for _numbers, _prefix in (
    (x86.Vector, "X86_EXC_"),
    (x86.PageFaultCode, "PFEC_"),
    (x86.Eflags, "X86_EFLAGS_"),
    (x86.Cr0, "X86_CR0_"),
    (x86.Cr4, "X86_CR4_"),
    (x86.Pte, "_PAGE_"),
):
    c_names(_prefix)(_numbers)

MODULES: tuple[ModuleType, ...] = (
    hypercall,
    errno,
    domid,
    arch,
    x86,
    elfnote,
    version,
    start_info,
    shared_info,
    trap,
    callback,
    nmi,
    vcpu,
    sched,
    event_channel,
    mmu,
    memory,
    e820,
    grant_table,
    console,
    xs_wire,
    xenbus,
    ring,
    blkif,
    netif,
    fbif,
    kbdif,
    physdev,
    pmu,
    control,
    domctl,
    domctl_domain,
    domctl_frames,
    domctl_sched,
    domctl_vcpu,
    sysctl,
    tlb,
    trace,
)
"""Every module that declares something, in reading order; Intel's numbers are below the ABI, but guests'
include files hold them too."""


def declarations(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Public upper-case names of a module: layouts, constants and number sets, imported ones left out.

    Of Intel's number sets only those that guests' sources spell too.
    """
    for name, value in vars(module).items():
        if name[0] == "_" or not name[0].isupper():
            continue
        if isinstance(value, type):
            spelt = module is not x86 or value in C_NAMES
            if spelt and issubclass(value, Enum) and value.__module__ == module.__name__:
                yield name, value
        elif isinstance(value, (Layout, int, str, bytes)):
            yield name, value


def layouts(module: ModuleType) -> dict[str, Layout[Any]]:
    """Layouts a module declares, by Xen's struct name."""
    return {
        value.name: value
        for _, value in declarations(module)
        if isinstance(value, Layout) and value.type.__module__ == module.__name__
    }


def number_sets(module: ModuleType) -> list[type[IntEnum]]:
    """Number sets a module declares."""
    return [
        value for _, value in declarations(module) if isinstance(value, type) and issubclass(value, IntEnum)
    ]


def constants(module: ModuleType) -> dict[str, int]:
    """Single numbers in a module, by their C name."""
    return {name: value for name, value in declarations(module) if isinstance(value, int)}


def strings(module: ModuleType) -> dict[str, str]:
    """Single strings in a module, by name."""
    return {name: value for name, value in declarations(module) if isinstance(value, str)}
