"""physdev_op and its older form physdev_op_compat (public/physdev.h)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.domid import DOMID
from paravane.abi.layout import PTR, S32, U8, U16, U32, U64, UINT32, ULONG, Layout, Union
from paravane.abi.names import c_names
from paravane.classes import NamedTuple


@c_names("PHYSDEVOP_")
class PhysdevOp(IntEnum):
    """Commands of physdev_op. IRQ_UNMASK_NOTIFY exists in physdev_op_compat only."""

    IRQ_UNMASK_NOTIFY = 4
    irq_status_query = 5
    set_iopl = 6
    set_iobitmap = 7
    apic_read = 8
    apic_write = 9
    alloc_irq_vector = 10
    free_irq_vector = 11
    eoi = 12
    map_pirq = 13
    unmap_pirq = 14
    manage_pci_add = 15
    manage_pci_remove = 16
    pirq_eoi_gmfn_v1 = 17
    restore_msi = 19
    manage_pci_add_ext = 20
    setup_gsi = 21
    get_free_pirq = 23
    pci_mmcfg_reserved = 24
    pci_device_add = 25
    pci_device_remove = 26
    restore_msi_ext = 27
    pirq_eoi_gmfn_v2 = 28
    dbgp_op = 29
    prepare_msix = 30
    release_msix = 31


class PhysdevEoi(NamedTuple):
    """Argument of PHYSDEVOP_eoi."""

    irq: U32


PHYSDEV_EOI = Layout("physdev_eoi", PhysdevEoi)


class PhysdevPirqEoiGmfn(NamedTuple):
    """Frame for the bitmap of interrupts that need an EOI hypercall."""

    gmfn: ULONG


PHYSDEV_PIRQ_EOI_GMFN = Layout("physdev_pirq_eoi_gmfn", PhysdevPirqEoiGmfn)


@c_names("XENIRQSTAT_")
class IrqStatus(IntEnum):
    """`physdev_irq_status_query.flags`."""

    needs_eoi = 1 << 0
    shared = 1 << 1


class PhysdevIrqStatusQuery(NamedTuple):
    """`flags` is the answer."""

    irq: U32
    flags: U32


PHYSDEV_IRQ_STATUS_QUERY = Layout("physdev_irq_status_query", PhysdevIrqStatusQuery)


class PhysdevSetIopl(NamedTuple):
    """Virtual I/O privilege level, 0-3."""

    iopl: U32


PHYSDEV_SET_IOPL = Layout("physdev_set_iopl", PhysdevSetIopl)


class PhysdevSetIobitmap(NamedTuple):
    """One bit per port that ring 3 may not use."""

    bitmap: PTR
    nr_ports: U32


PHYSDEV_SET_IOBITMAP = Layout("physdev_set_iobitmap", PhysdevSetIobitmap)


class PhysdevApic(NamedTuple):
    """Argument of PHYSDEVOP_apic_read and PHYSDEVOP_apic_write."""

    apic_physbase: ULONG
    reg: U32
    value: U32


PHYSDEV_APIC = Layout("physdev_apic", PhysdevApic)


class PhysdevIrq(NamedTuple):
    """Argument of PHYSDEVOP_alloc_irq_vector."""

    irq: U32
    vector: U32


PHYSDEV_IRQ = Layout("physdev_irq", PhysdevIrq)


@c_names("MAP_PIRQ_TYPE_")
class MapPirqType(IntEnum):
    """`physdev_map_pirq.type`."""

    MSI = 0
    GSI = 1
    UNKNOWN = 2
    MSI_SEG = 3
    MULTI_MSI = 4


class PhysdevMapPirq(NamedTuple):
    """Argument of PHYSDEVOP_map_pirq."""

    domid: DOMID
    type: Annotated[S32, MapPirqType]
    index_: S32
    pirq: S32
    bus: S32
    devfn: S32
    entry_nr: S32
    table_base: U64


PHYSDEV_MAP_PIRQ = Layout("physdev_map_pirq", PhysdevMapPirq)


class PhysdevUnmapPirq(NamedTuple):
    """Argument of PHYSDEVOP_unmap_pirq."""

    domid: DOMID
    pirq: S32


PHYSDEV_UNMAP_PIRQ = Layout("physdev_unmap_pirq", PhysdevUnmapPirq)


class PhysdevManagePci(NamedTuple):
    """Argument of PHYSDEVOP_manage_pci_add and PHYSDEVOP_manage_pci_remove."""

    bus: U8
    devfn: U8


PHYSDEV_MANAGE_PCI = Layout("physdev_manage_pci", PhysdevManagePci)


class PhysdevRestoreMsi(NamedTuple):
    """Argument of PHYSDEVOP_restore_msi."""

    bus: U8
    devfn: U8


PHYSDEV_RESTORE_MSI = Layout("physdev_restore_msi", PhysdevRestoreMsi)


class PhysdevSetupGsi(NamedTuple):
    """Argument of PHYSDEVOP_setup_gsi."""

    gsi: S32
    triggering: U8
    polarity: U8


PHYSDEV_SETUP_GSI = Layout("physdev_setup_gsi", PhysdevSetupGsi)


class PhysdevGetFreePirq(NamedTuple):
    """`pirq` is the answer."""

    type: Annotated[S32, MapPirqType]
    pirq: U32


PHYSDEV_GET_FREE_PIRQ = Layout("physdev_get_free_pirq", PhysdevGetFreePirq)


class PhysdevPciMmcfgReserved(NamedTuple):
    """Argument of PHYSDEVOP_pci_mmcfg_reserved."""

    address: U64
    segment: U16
    start_bus: U8
    end_bus: U8
    flags: U32


PHYSDEV_PCI_MMCFG_RESERVED = Layout("physdev_pci_mmcfg_reserved", PhysdevPciMmcfgReserved)

XEN_PCI_MMCFG_RESERVED: Final = 1


class PhysdevPciDevice(NamedTuple):
    """A PCI device by its address."""

    seg: U16
    bus: U8
    devfn: U8


PHYSDEV_PCI_DEVICE = Layout("physdev_pci_device", PhysdevPciDevice)


class PhysdevDbgpOp(NamedTuple):
    """Argument of PHYSDEVOP_dbgp_op."""

    op: U8
    bus: U8
    u: Annotated[PhysdevPciDevice, Union({"pci": PHYSDEV_PCI_DEVICE})]


PHYSDEV_DBGP_OP = Layout("physdev_dbgp_op", PhysdevDbgpOp)


class PhysdevOpCompat(NamedTuple):
    """The only argument of physdev_op_compat (hypercall 19): command and its argument in one struct."""

    cmd: Annotated[int, UINT32, PhysdevOp]
    u: Annotated[
        bytes,
        Union(
            {
                "irq_status_query": PHYSDEV_IRQ_STATUS_QUERY,
                "set_iopl": PHYSDEV_SET_IOPL,
                "set_iobitmap": PHYSDEV_SET_IOBITMAP,
                "apic_op": PHYSDEV_APIC,
                "irq_op": PHYSDEV_IRQ,
            },
            raw=True,
        ),
    ]


PHYSDEV_OP = Layout("physdev_op", PhysdevOpCompat)
