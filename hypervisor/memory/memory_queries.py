"""memory_op: the commands that ask about memory, and the way to those that change it (public/memory.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.e820 import E820ENTRY
from paravane.abi.errno import Errno
from paravane.abi.memory import (
    XEN_ADD_TO_PHYSMAP,
    XEN_ADD_TO_PHYSMAP_BATCH,
    XEN_FOREIGN_MEMORY_MAP,
    XEN_MACHPHYS_MAPPING,
    XEN_MACHPHYS_MFN_LIST,
    XEN_MEM_ACCESS_OP,
    XEN_MEM_ACQUIRE_RESOURCE,
    XEN_MEMORY_DOMAIN,
    XEN_MEMORY_MAP,
    XEN_POD_TARGET,
    XEN_REMOVE_FROM_PHYSMAP,
    XEN_VNUMA_TOPOLOGY_INFO,
    Mapspace,
    MemoryOp,
    XenMachphysMapping,
)
from paravane.cpu.faults import PageFault
from paravane.memory.address_space import M2P_END
from paravane.memory.exchange import exchange
from paravane.memory.guest import check_may_use, named_domain
from paravane.memory.reservation import CONTINUATION_SHIFT, change_reservation
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from paravane.abi.layout import Layout
    from paravane.memory.guest import Caller

E820_MAX: Final = 1024
_M2P_EXTENT_FRAMES: Final = 512
_RESERVATION: Final = frozenset(
    (MemoryOp.increase_reservation, MemoryOp.decrease_reservation, MemoryOp.populate_physmap)
)


def memory_op(caller: Caller, cmd: int, pointer: int, max_pfn: int) -> int:
    """Carry out a memory_op. Raises Refusal and Preempted.

    The bits of `cmd` above the command are the extent to go on from. `max_pfn` is what the guest's
    shared_info says (for maximum_gpfn).
    """
    op, start = cmd & (1 << CONTINUATION_SHIFT) - 1, cmd >> CONTINUATION_SHIFT
    if op in _RESERVATION:
        return change_reservation(caller, op, pointer, start)
    query = _QUERIES.get(op)
    if query is None:
        raise Refusal(Errno.ENOSYS, f"memory_op has no command {op} here")
    if start and op in _NO_CONTINUATION:
        raise Refusal(Errno.EINVAL, f"{MemoryOp(op).name} has no extents to go on from")
    try:
        return query(Query(caller, op, pointer, start, max_pfn))
    except PageFault as fault:
        raise Refusal(
            Errno.EFAULT, f"{MemoryOp(op).name}: the guest itself could not do that at {fault.va:#010x}"
        ) from None


class Query:
    """One command and its argument. The methods raise Refusal, and PageFault for a bad pointer."""

    def __init__(self, caller: Caller, op: int, pointer: int, start: int, max_pfn: int) -> None:
        self._caller = caller
        self._domain = caller.paging.domain
        self._machine = caller.paging.domain.machine
        self._op = op
        self._pointer = pointer
        self._start = start
        self._max_pfn = max_pfn

    def _argument(self, layout: Layout[Any]) -> Any:
        return layout.unpack(self._caller.copy_from_guest(self._pointer, layout.size))

    def exchange(self) -> int:
        exchange(self._caller, self._pointer)
        return 0

    def maximum_ram_page(self) -> int:
        return self._machine.frames.nr_frames

    def size(self) -> int:
        """current_reservation, maximum_reservation (both in frames) and maximum_gpfn."""
        domain = named_domain(self._domain, self._argument(XEN_MEMORY_DOMAIN).domid)
        check_may_use(self._domain, domain.domid)
        if self._op == MemoryOp.current_reservation:
            return domain.tot_pages
        if self._op == MemoryOp.maximum_reservation:
            return domain.max_pages
        return (self._max_pfn or 1) - 1

    def memory_map(self) -> int:
        e820 = self._domain.e820
        wanted = self._argument(XEN_MEMORY_MAP)
        if not e820:
            raise Refusal(Errno.ENOSYS, "this domain was given no memory map")
        shown = e820[: wanted.nr_entries]
        self._caller.budget.spend(len(shown))
        self._caller.copy_to_guest(wanted.buffer, b"".join(map(E820ENTRY.pack, shown)))
        self._caller.copy_to_guest(self._pointer, XEN_MEMORY_MAP.pack(wanted._replace(nr_entries=len(shown))))
        return 0

    def set_memory_map(self) -> int:
        wanted = self._argument(XEN_FOREIGN_MEMORY_MAP)
        if wanted.map.nr_entries > E820_MAX:
            raise Refusal(
                Errno.EINVAL, f"a memory map of {wanted.map.nr_entries} entries, at most {E820_MAX}"
            )
        domain = named_domain(self._domain, wanted.domid)
        check_may_use(self._domain, domain.domid)
        data = self._caller.copy_from_guest(wanted.map.buffer, wanted.map.nr_entries * E820ENTRY.size)
        self._caller.budget.spend(wanted.map.nr_entries)
        domain.e820 = list(E820ENTRY.iter_unpack(data))
        return 0

    def machine_memory_map(self) -> int:
        raise Refusal(Errno.EPERM, "only a privileged domain may see the machine's memory map")

    def machphys_mapping(self) -> int:
        start = self._domain.space.m2p_start
        end = M2P_END[self._domain.space.geometry.name]
        answer = XenMachphysMapping(start, end, (end - start) // 4 - 1)
        self._caller.copy_to_guest(self._pointer, XEN_MACHPHYS_MAPPING.pack(answer))
        return 0

    def machphys_mfn_list(self) -> int:
        wanted = self._argument(XEN_MACHPHYS_MFN_LIST)
        extents = self._machine.m2p_frames[::_M2P_EXTENT_FRAMES][: wanted.max_extents]
        self._caller.budget.spend(len(extents))
        for at, mfn in enumerate(extents):
            self._caller.copy_to_guest(wanted.extent_start + 4 * at, mfn.to_bytes(4, "little"))
        answer = wanted._replace(nr_extents=len(extents))
        self._caller.copy_to_guest(self._pointer, XEN_MACHPHYS_MFN_LIST.pack(answer))
        return 0

    def physmap(self) -> int:
        """add_to_physmap and remove_from_physmap: a paravirtual guest has no physmap to change."""
        remove = self._op == MemoryOp.remove_from_physmap
        wanted = self._argument(XEN_REMOVE_FROM_PHYSMAP if remove else XEN_ADD_TO_PHYSMAP)
        if not remove and wanted.space == Mapspace.gmfn_foreign:
            raise Refusal(Errno.ENOSYS, "foreign frames are added by the batch operation only")
        return self._no_physmap(wanted.domid)

    def physmap_batch(self) -> int:
        wanted = self._argument(XEN_ADD_TO_PHYSMAP_BATCH)
        if wanted.space == Mapspace.gmfn_range:
            raise Refusal(Errno.EOPNOTSUPP, "a batch has no ranges")
        return self._no_physmap(wanted.domid)

    def _no_physmap(self, domid: int) -> int:
        named_domain(self._domain, domid)
        raise Refusal(Errno.EACCES, "a paravirtual guest has no physmap")

    def pod_target(self) -> int:
        named_domain(self._domain, self._argument(XEN_POD_TARGET).domid)
        raise Refusal(Errno.EINVAL, "a paravirtual guest has no populate-on-demand memory")

    def shared_pages(self) -> int:
        """No memory is shared between domains by contents, so none is saved."""
        return 0

    def access(self) -> int:
        """What a monitor does to the HVM guest that it watches."""
        wanted = self._argument(XEN_MEM_ACCESS_OP)
        self._machine.domains.other(self._domain.domid, wanted.domid)
        raise Refusal(Errno.EINVAL, f"d{wanted.domid} is paravirtual: no access to its frames is watched")

    def acquire_resource(self) -> int:
        """What a device model maps of its guest."""
        wanted = self._argument(XEN_MEM_ACQUIRE_RESOURCE)
        if wanted.pad:
            raise Refusal(Errno.EINVAL, "padding must be zero")
        if wanted.frame + wanted.nr_frames >> 32:
            raise Refusal(Errno.EINVAL, f"{wanted.nr_frames} frames from {wanted.frame:#x} on: above 32 bits")
        self._machine.domains.other(self._domain.domid, wanted.domid)
        raise Refusal(Errno.EPERM, f"d{self._domain.domid} is no device model of d{wanted.domid}")

    def vnuma(self) -> int:
        wanted = self._argument(XEN_VNUMA_TOPOLOGY_INFO)
        if wanted.pad:
            raise Refusal(Errno.EINVAL, "padding must be zero")
        check_may_use(self._domain, named_domain(self._domain, wanted.domid).domid)
        raise Refusal(Errno.EOPNOTSUPP, "the domain has no virtual NUMA topology")


_QUERIES: Final[dict[int, Callable[[Query], int]]] = {
    MemoryOp.exchange: Query.exchange,
    MemoryOp.maximum_ram_page: Query.maximum_ram_page,
    MemoryOp.current_reservation: Query.size,
    MemoryOp.maximum_reservation: Query.size,
    MemoryOp.maximum_gpfn: Query.size,
    MemoryOp.memory_map: Query.memory_map,
    MemoryOp.set_memory_map: Query.set_memory_map,
    MemoryOp.machine_memory_map: Query.machine_memory_map,
    MemoryOp.machphys_mapping: Query.machphys_mapping,
    MemoryOp.machphys_mfn_list: Query.machphys_mfn_list,
    MemoryOp.machphys_compat_mfn_list: Query.machphys_mfn_list,
    MemoryOp.add_to_physmap: Query.physmap,
    MemoryOp.add_to_physmap_batch: Query.physmap_batch,
    MemoryOp.remove_from_physmap: Query.physmap,
    MemoryOp.set_pod_target: Query.pod_target,
    MemoryOp.get_pod_target: Query.pod_target,
    MemoryOp.get_sharing_freed_pages: Query.shared_pages,
    MemoryOp.get_sharing_shared_pages: Query.shared_pages,
    MemoryOp.access_op: Query.access,
    MemoryOp.acquire_resource: Query.acquire_resource,
    MemoryOp.get_vnumainfo: Query.vnuma,
}
_NO_CONTINUATION: Final = frozenset(
    (
        MemoryOp.exchange,
        MemoryOp.maximum_ram_page,
        MemoryOp.current_reservation,
        MemoryOp.maximum_reservation,
        MemoryOp.maximum_gpfn,
        MemoryOp.remove_from_physmap,
        MemoryOp.get_vnumainfo,
    )
)
