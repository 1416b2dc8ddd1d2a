"""memory_op (public/memory.h)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.domid import DOMID
from paravane.abi.layout import PTR, U8, U16, U32, U64, UINT16, UINT32, UINT64, ULONG, Layout, Union
from paravane.abi.names import c_names
from paravane.classes import NamedTuple


@c_names("XENMEM_")
class MemoryOp(IntEnum):
    """Commands of memory_op: the low 6 bits of the first argument (above them Xen keeps its continuation)."""

    increase_reservation = 0
    decrease_reservation = 1
    maximum_ram_page = 2
    current_reservation = 3
    maximum_reservation = 4
    machphys_mfn_list = 5
    populate_physmap = 6
    add_to_physmap = 7
    memory_map = 9
    machine_memory_map = 10
    exchange = 11
    machphys_mapping = 12
    set_memory_map = 13
    maximum_gpfn = 14
    remove_from_physmap = 15
    set_pod_target = 16
    get_pod_target = 17
    get_sharing_freed_pages = 18
    get_sharing_shared_pages = 19
    paging_op = 20
    access_op = 21
    sharing_op = 22
    add_to_physmap_batch = 23
    claim_pages = 24
    machphys_compat_mfn_list = 25
    get_vnumainfo = 26
    reserved_device_memory_map = 27
    acquire_resource = 28


@c_names("XENMEMF_")
class MemoryFlag(IntEnum):
    """`xen_memory_reservation.mem_flags`. The low 8 bits are the address width, bits 8-15 the node plus 1."""

    populate_on_demand = 1 << 16
    exact_node_request = 1 << 17
    vnode = 1 << 18


class XenMemoryReservation(NamedTuple):
    """`extent_start`: array of frame numbers, one per extent of 2**extent_order frames."""

    extent_start: PTR
    nr_extents: ULONG
    extent_order: U32
    mem_flags: U32
    domid: DOMID


XEN_MEMORY_RESERVATION = Layout("xen_memory_reservation", XenMemoryReservation)


class XenMemoryExchange(NamedTuple):
    """Give `in` extents back and get `out` extents of the same total size."""

    in_: Annotated[XenMemoryReservation, XEN_MEMORY_RESERVATION]
    out: Annotated[XenMemoryReservation, XEN_MEMORY_RESERVATION]
    nr_exchanged: ULONG


XEN_MEMORY_EXCHANGE = Layout("xen_memory_exchange", XenMemoryExchange)


class XenMemoryDomain(NamedTuple):
    """Argument of the commands that ask about one domain's memory."""

    domid: DOMID


XEN_MEMORY_DOMAIN = Layout("xen_memory_domain", XenMemoryDomain)


class XenMachphysMfnList(NamedTuple):
    """Where to write the frame numbers that hold the machine-to-phys table, one per 2 MiB of it."""

    max_extents: U32
    extent_start: PTR
    nr_extents: U32


XEN_MACHPHYS_MFN_LIST = Layout("xen_machphys_mfn_list", XenMachphysMfnList)


class XenMachphysMapping(NamedTuple):
    """Linear range of the machine-to-phys table and the last frame number it has room for."""

    v_start: ULONG
    v_end: ULONG
    max_mfn: ULONG


XEN_MACHPHYS_MAPPING = Layout("xen_machphys_mapping", XenMachphysMapping)


@c_names("XENMAPSPACE_")
class Mapspace(IntEnum):
    """`space` of add_to_physmap."""

    shared_info = 0
    grant_table = 1
    gmfn = 2
    gmfn_range = 3
    gmfn_foreign = 4
    dev_mmio = 5


XENMAPIDX_grant_table_status: Final = 0x80000000
"""In `xen_add_to_physmap.idx`: a status frame, not a frame of entries."""


class XenAddToPhysmap(NamedTuple):
    """Argument of XENMEM_add_to_physmap."""

    domid: DOMID
    size: U16
    space: Annotated[int, UINT32, Mapspace]
    idx: ULONG
    gpfn: ULONG


XEN_ADD_TO_PHYSMAP = Layout("xen_add_to_physmap", XenAddToPhysmap)


class XenAddToPhysmapBatch(NamedTuple):
    """Argument of XENMEM_add_to_physmap_batch."""

    domid: DOMID
    space: Annotated[int, UINT16, Mapspace]
    size: U16
    u: Annotated[int, Union({"foreign_domid": UINT16, "res0": UINT16})]
    idxs: PTR
    gpfns: PTR
    errs: PTR


XEN_ADD_TO_PHYSMAP_BATCH = Layout("xen_add_to_physmap_batch", XenAddToPhysmapBatch)


class XenRemoveFromPhysmap(NamedTuple):
    """Argument of XENMEM_remove_from_physmap."""

    domid: DOMID
    gpfn: ULONG


XEN_REMOVE_FROM_PHYSMAP = Layout("xen_remove_from_physmap", XenRemoveFromPhysmap)


class XenMemoryMap(NamedTuple):
    """Room for `nr_entries` e820 entries at `buffer`; the number written is the answer."""

    nr_entries: U32
    buffer: PTR


XEN_MEMORY_MAP = Layout("xen_memory_map", XenMemoryMap)


class XenForeignMemoryMap(NamedTuple):
    """Argument of XENMEM_set_memory_map."""

    domid: DOMID
    map: Annotated[XenMemoryMap, XEN_MEMORY_MAP]


XEN_FOREIGN_MEMORY_MAP = Layout("xen_foreign_memory_map", XenForeignMemoryMap)


class XenPodTarget(NamedTuple):
    """Argument of XENMEM_set_pod_target and XENMEM_get_pod_target."""

    target_pages: U64
    tot_pages: U64
    pod_cache_pages: U64
    pod_entries: U64
    domid: DOMID


XEN_POD_TARGET = Layout("xen_pod_target", XenPodTarget)


@c_names("XENMEM_resource_")
class MemoryResource(IntEnum):
    """`xen_mem_acquire_resource.type`."""

    ioreq_server = 0
    grant_table = 1
    vmtrace_buf = 2


XENMEM_resource_grant_table_id_shared: Final = 0
XENMEM_resource_grant_table_id_status: Final = 1


class XenMemAccessOp(NamedTuple):
    """Argument of XENMEM_access_op."""

    op: U8
    access: U8
    domid: DOMID
    nr: U32
    pfn: U64
    pfn_list: PTR
    access_list: PTR


XEN_MEM_ACCESS_OP = Layout("xen_mem_access_op", XenMemAccessOp)


class XenMemAcquireResource(NamedTuple):
    """Argument of XENMEM_acquire_resource."""

    domid: DOMID
    type: Annotated[int, UINT16, MemoryResource]
    id: U32
    nr_frames: U32
    pad: U32
    frame: U64
    frame_list: PTR


XEN_MEM_ACQUIRE_RESOURCE = Layout("xen_mem_acquire_resource", XenMemAcquireResource)


class XenVmemrange(NamedTuple):
    """One range of guest memory and its virtual NUMA node."""

    start: U64
    end: U64
    flags: U32
    nid: U32


XEN_VMEMRANGE = Layout("xen_vmemrange", XenVmemrange)

_HANDLE64 = Annotated[int, Union({"pad": UINT64, "h": UINT32})]


class XenVnumaTopologyInfo(NamedTuple):
    """Argument of XENMEM_get_vnumainfo."""

    domid: DOMID
    pad: U16
    nr_vnodes: U32
    nr_vcpus: U32
    nr_vmemranges: U32
    vdistance: _HANDLE64
    vcpu_to_vnode: _HANDLE64
    vmemrange: _HANDLE64


XEN_VNUMA_TOPOLOGY_INFO = Layout("xen_vnuma_topology_info", XenVnumaTopologyInfo)
