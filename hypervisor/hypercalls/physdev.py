"""physdev_op and its old form physdev_op_compat: virtual I/O privileges, and no for hardware nobody has.

The structs are only read where Xen reads them before it says no: a domain that is not privileged gets -EFAULT
or -EPERM in the same cases.
"""

from typing import TYPE_CHECKING, Annotated, Any

from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.abi.physdev import (
    PHYSDEV_APIC,
    PHYSDEV_EOI,
    PHYSDEV_GET_FREE_PIRQ,
    PHYSDEV_IRQ,
    PHYSDEV_IRQ_STATUS_QUERY,
    PHYSDEV_MANAGE_PCI,
    PHYSDEV_MAP_PIRQ,
    PHYSDEV_PCI_DEVICE,
    PHYSDEV_PIRQ_EOI_GMFN,
    PHYSDEV_RESTORE_MSI,
    PHYSDEV_SET_IOBITMAP,
    PHYSDEV_SET_IOPL,
    PHYSDEV_SETUP_GSI,
    PHYSDEV_UNMAP_PIRQ,
    IrqStatus,
    MapPirqType,
    PhysdevEoi,
    PhysdevGetFreePirq,
    PhysdevIrqStatusQuery,
    PhysdevMapPirq,
    PhysdevOp,
    PhysdevPirqEoiGmfn,
    PhysdevRestoreMsi,
    PhysdevSetIobitmap,
    PhysdevSetIopl,
    PhysdevSetupGsi,
    PhysdevUnmapPirq,
)
from paravane.hypercalls.table import In, InOut, Ptr, commands, hypercall
from paravane.refusal import Refusal
from paravane.traps.peripherals import NR_GSIS

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

IO_BITMAP_BYTES = 65536 // 8
_COMPAT_ARGUMENT = 4

physdev = commands(Hypercall.physdev_op, PhysdevOp)


@hypercall(Hypercall.physdev_op_compat)
def physdev_op_compat(caller: "Caller", op: Ptr) -> int | None:
    """Command and argument in one struct; the same commands otherwise."""
    command = int.from_bytes(caller.copy_from_guest(op, _COMPAT_ARGUMENT), "little")
    return physdev.call(caller, (command, op + _COMPAT_ARGUMENT, 0, 0, 0, 0))


@physdev(PhysdevOp.set_iopl)
def set_iopl(caller: "Caller", arg: Annotated[PhysdevSetIopl, In(PHYSDEV_SET_IOPL)]) -> int:
    """The virtual I/O privilege level; the processor itself stays at 0."""
    if arg.iopl > 3:
        raise Refusal(Errno.EINVAL, f"I/O privilege level {arg.iopl} is not 0 to 3")
    caller.traps.set_iopl(arg.iopl)
    return 0


@physdev(PhysdevOp.set_iobitmap)
def set_iobitmap(caller: "Caller", arg: Annotated[PhysdevSetIobitmap, In(PHYSDEV_SET_IOBITMAP)]) -> int:
    """Where the guest keeps one bit per port that its applications may not use."""
    if arg.nr_ports > 65536:
        raise Refusal(Errno.EINVAL, f"an I/O bitmap for {arg.nr_ports} ports, there are 65536")
    if arg.bitmap + IO_BITMAP_BYTES > caller.domain.memory.space.hole:
        raise Refusal(Errno.EINVAL, f"an I/O bitmap at {arg.bitmap:#010x} reaches into the hypervisor's hole")
    caller.traps.set_io_bitmap(arg.bitmap, arg.nr_ports)
    return 0


@physdev(PhysdevOp.IRQ_UNMASK_NOTIFY)
def irq_unmask_notify(caller: "Caller") -> int:
    """All physical interrupts bound to the domain are looked at again: there are none."""
    return 0


@physdev(PhysdevOp.eoi)
def eoi(caller: "Caller", arg: Annotated[PhysdevEoi, In(PHYSDEV_EOI)]) -> int:
    caller.domain.peripherals.irqs.check(arg.irq)
    raise Refusal(Errno.EINVAL, f"physical interrupt {arg.irq} is not bound to the domain")


@physdev(PhysdevOp.irq_status_query)
def irq_status_query(
    caller: "Caller", arg: Annotated[PhysdevIrqStatusQuery, InOut(PHYSDEV_IRQ_STATUS_QUERY)]
) -> PhysdevIrqStatusQuery:
    """Every interrupt would need an EOI; none is shared."""
    caller.domain.peripherals.irqs.check(arg.irq)
    return arg._replace(flags=int(IrqStatus.needs_eoi))


@physdev(PhysdevOp.get_free_pirq)
def get_free_pirq(
    caller: "Caller", arg: Annotated[PhysdevGetFreePirq, InOut(PHYSDEV_GET_FREE_PIRQ)]
) -> PhysdevGetFreePirq:
    return arg._replace(pirq=caller.domain.peripherals.irqs.reserve(pin=arg.type == MapPirqType.GSI))


@physdev(PhysdevOp.pirq_eoi_gmfn_v1, PhysdevOp.pirq_eoi_gmfn_v2)
def pirq_eoi_gmfn(caller: "Caller", arg: Annotated[PhysdevPirqEoiGmfn, In(PHYSDEV_PIRQ_EOI_GMFN)]) -> int:
    """Held as Xen holds it, so that it stays a page of data, and never written: no interrupt will need its
    bit."""
    domain, machine = caller.domain, caller.domain.memory.machine
    machine.hold(arg.gmfn, domain.domid, writable=True)
    try:
        caller.domain.peripherals.irqs.set_eoi_map(arg.gmfn)
    except Refusal:
        machine.let_go(arg.gmfn, writable=True)
        raise
    domain.resources.callback(machine.let_go, arg.gmfn, writable=True)
    return 0


def _require_domain(caller: "Caller", domid: int) -> None:
    """Refusal(ESRCH) for a domain that is not there; nobody here may map interrupts even for itself."""
    caller.domain.is_named(domid)
    raise Refusal(Errno.EPERM, "only a device model or the control domain maps physical interrupts")


@physdev(PhysdevOp.map_pirq)
def map_pirq(caller: "Caller", arg: Annotated[PhysdevMapPirq, In(PHYSDEV_MAP_PIRQ)]) -> None:
    _require_domain(caller, arg.domid)


@physdev(PhysdevOp.unmap_pirq)
def unmap_pirq(caller: "Caller", arg: Annotated[PhysdevUnmapPirq, In(PHYSDEV_UNMAP_PIRQ)]) -> None:
    _require_domain(caller, arg.domid)


@physdev(PhysdevOp.setup_gsi)
def setup_gsi(caller: "Caller", arg: Annotated[PhysdevSetupGsi, In(PHYSDEV_SETUP_GSI)]) -> None:
    if not 0 <= arg.gsi < NR_GSIS:
        raise Refusal(Errno.EINVAL, f"interrupt pin {arg.gsi} does not exist, there are {NR_GSIS}")
    _privileged()


@physdev(PhysdevOp.restore_msi)
def restore_msi(caller: "Caller", arg: Annotated[PhysdevRestoreMsi, In(PHYSDEV_RESTORE_MSI)]) -> None:
    raise Refusal(Errno.ENODEV, f"there is no PCI device {arg.bus:02x}:{arg.devfn >> 3:02x}.{arg.devfn & 7}")


@physdev(PhysdevOp.restore_msi_ext)
def restore_msi_ext(caller: "Caller", arg: Annotated[Any, In(PHYSDEV_PCI_DEVICE)]) -> None:
    raise Refusal(Errno.ENODEV, f"there is no PCI device {arg.bus:02x}:{arg.devfn >> 3:02x}.{arg.devfn & 7}")


@physdev(PhysdevOp.apic_read, PhysdevOp.apic_write)
def apic(caller: "Caller", arg: Annotated[Any, In(PHYSDEV_APIC)]) -> None:
    _privileged()


@physdev(PhysdevOp.alloc_irq_vector)
def alloc_irq_vector(caller: "Caller", arg: Annotated[Any, In(PHYSDEV_IRQ)]) -> None:
    _privileged()


@physdev(PhysdevOp.manage_pci_add, PhysdevOp.manage_pci_remove)
def manage_pci(caller: "Caller", arg: Annotated[Any, In(PHYSDEV_MANAGE_PCI)]) -> None:
    _privileged()


@physdev(PhysdevOp.prepare_msix, PhysdevOp.release_msix, PhysdevOp.pci_device_remove)
def pci_device(caller: "Caller", arg: Annotated[Any, In(PHYSDEV_PCI_DEVICE)]) -> None:
    _privileged()


@physdev(
    PhysdevOp.manage_pci_add_ext, PhysdevOp.pci_device_add, PhysdevOp.pci_mmcfg_reserved, PhysdevOp.dbgp_op
)
def pci_setup(caller: "Caller", arg: Ptr) -> None:
    _privileged()


def _privileged() -> None:
    raise Refusal(Errno.EPERM, "only a domain that controls the hardware may ask for that")
