"""GNTTABOP_map_grant_ref and its end: frames of one domain in the page tables of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.grant_table import GrantMapFlag, GrantStatus
from paravane.grants import host_mapping
from paravane.grants.maptrack import MappedGrant
from paravane.grants.use import DEVICE_READ, DEVICE_WRITE, HOST_READ, HOST_WRITE, GrantRefusal
from paravane.memory.frames import WRITABLE
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from paravane.abi.grant_table import GnttabMapGrantRef
    from paravane.grants.grant_table import GrantTable
    from paravane.memory import VcpuPaging

_HOST: Final = int(GrantMapFlag.host_map)
_DEVICE: Final = int(GrantMapFlag.device_map)
_READONLY: Final = int(GrantMapFlag.readonly)
_KEPT: Final = 0xFFFF
"""Of the flags of a mapping, those that are remembered."""


class GiverGoneError(Exception):
    """A handle of a domain of which nothing is left, which Xen answers by crashing who has it: it overwrote
    the mapping itself, or the domain would still be there."""


def map_grant(own: GrantTable, paging: VcpuPaging, request: GnttabMapGrantRef) -> tuple[int, int]:
    """Map a grant for the domain of `own`, in the tables that its vcpu runs on: the handle, and the machine
    address of the frame.

    A device mapping is remembered and shows no frame to anybody, as in Xen without an IOMMU. Raises
    GrantRefusal, changing nothing: bad_gntref, bad_domain, no_space, general_error, bad_page.
    """
    flags = request.flags
    uses = uses_of(flags)
    if not uses:
        raise GrantRefusal(GrantStatus.bad_gntref, f"mapping flags {flags:#x} map nothing")
    giver = own.tables.by_id(request.dom)
    exhausted = own.tables.exhausted
    handle = None if exhausted is not None and exhausted(own.domid, "handle") else own.maptrack.take()
    if handle is None:
        sentence = f"d{own.domid} has all handles that {own.maptrack.max_frames} frames hold"
        raise GrantRefusal(GrantStatus.no_space, sentence)
    writable = not flags & _READONLY
    try:
        active = giver.begin_mapping(request.ref, own.domid, uses, writable=writable)
        try:
            _take_frame(giver, paging, request, active.mfn)
        except GrantRefusal:
            giver.unpin(request.ref, uses, writable=writable)
            raise
    except GrantRefusal:
        own.maptrack.give_back(handle)
        raise
    own.maptrack.enter(handle, MappedGrant(giver.domid, giver.state, request.ref, flags & _KEPT))
    giver.observe("map", request.ref, own.domid, active.mfn, writable=writable)
    return handle, active.mfn << PAGE_SHIFT


def unmap_grant(
    own: GrantTable,
    paging: VcpuPaging,
    handle: int,
    host_addr: int,
    dev_bus_addr: int = 0,
    new_addr: int = 0,
) -> None:
    """End what addresses other than 0 name of the mapping `handle`; with `new_addr`, what is mapped there
    moves to `host_addr`. Raises GrantRefusal: bad_handle, bad_dev_addr, general_error. Raises GiverGoneError.
    """
    mapped = own.maptrack.find(handle)
    if mapped is None:
        raise GrantRefusal(GrantStatus.bad_handle, f"handle {handle:#x} maps nothing")
    giver = giver_of(own, mapped)
    if giver is None:
        raise GiverGoneError(f"it unmaps a grant of domain {mapped.domid}, of which nothing is left")
    mfn, flags = giver.state.active[mapped.ref].mfn, mapped.flags
    ended = flags & (_HOST if host_addr else 0) | flags & (_DEVICE if dev_bus_addr else 0)
    if ended & _DEVICE and dev_bus_addr != mfn << PAGE_SHIFT:
        sentence = f"bus address {dev_bus_addr:#x} of a grant of {mfn << PAGE_SHIFT:#x}"
        raise GrantRefusal(GrantStatus.bad_dev_addr, sentence)
    if ended & _HOST:
        host_mapping.replace(paging, host_addr, mfn, flags, new_addr)
        if giver is not own:
            _no_longer_lent(own, mfn)
    mapped.flags &= ~ended
    if not mapped.flags & (_HOST | _DEVICE):
        own.maptrack.give_back(handle)
    if ended:
        _let_go(giver, mapped.ref, mfn, ended | flags & _READONLY)


def release_mappings(own: GrantTable) -> None:
    """The domain of `own` goes: end everything that it has mapped of others. The references of its page
    tables to their frames go with those."""
    for mapped in own.maptrack.drain():
        mfn, writable = mapped.giver.active[mapped.ref].mfn, not mapped.flags & _READONLY
        if mapped.flags & _HOST and mapped.giver is not own.state:
            _no_longer_lent(own, mfn)
        giver = giver_of(own, mapped)
        if giver is None:
            continue
        if mapped.flags & _DEVICE:
            giver.memory.machine.let_go(mfn, writable=writable)
        giver.unpin(mapped.ref, uses_of(mapped.flags), writable=writable)
        giver.observe("release", mapped.ref, own.domid, mfn, writable=writable)


def uses_of(flags: int) -> int:
    """What a mapping with these flags counts as."""
    host, device = (HOST_READ, DEVICE_READ) if flags & _READONLY else (HOST_WRITE, DEVICE_WRITE)
    return (host if flags & _HOST else 0) + (device if flags & _DEVICE else 0)


def giver_of(own: GrantTable, mapped: MappedGrant) -> GrantTable | None:
    """The table of the domain that granted it; None when nothing is left of that domain, whoever may have its
    number by now."""
    table = own.tables.table_of(mapped.domid)
    return table if table is not None and table.state is mapped.giver else None


def _take_frame(giver: GrantTable, paging: VcpuPaging, request: GnttabMapGrantRef, mfn: int) -> None:
    """Take what a mapping holds, and make its entry. Raises GrantRefusal(general_error), taking nothing."""
    machine, flags = giver.memory.machine, request.flags
    writable = not flags & _READONLY
    try:
        if flags & _DEVICE:
            machine.hold(mfn, giver.domid, writable=writable)
        try:
            if flags & _HOST:
                _map_for_host(giver, paging, request, mfn)
        except Refusal:
            if flags & _DEVICE:
                machine.let_go(mfn, writable=writable)
            raise
    except GrantRefusal:
        raise
    except Refusal as refusal:
        raise GrantRefusal(GrantStatus.general_error, refusal.sentence) from refusal


def _map_for_host(giver: GrantTable, paging: VcpuPaging, request: GnttabMapGrantRef, mfn: int) -> None:
    """Raises Refusal."""
    types, writable = giver.memory.machine.types, not request.flags & _READONLY
    if writable:
        types.get_page_and_type(mfn, giver.domid, WRITABLE)
    elif not types.get_page(mfn, giver.domid):
        sentence = f"{giver.memory.machine.frames.describe(mfn)} is not domain {giver.domid}'s any more"
        raise GrantRefusal(GrantStatus.general_error, sentence)
    try:
        host_mapping.create(paging, request.host_addr, mfn, request.flags)
    except GrantRefusal:
        _put(giver, mfn, writable=writable)
        raise
    if paging.domain is not giver.memory:
        giver.memory.machine.ram.lent[mfn] += 1


def _no_longer_lent(own: GrantTable, mfn: int) -> None:
    """A mapping of a frame of another domain has ended. What was stored there by it may be code, which no
    engine looks at for changes any more."""
    ram = own.memory.machine.ram
    ram.code_changed(mfn)
    ram.lent[mfn] -= 1
    if not ram.lent[mfn]:
        del ram.lent[mfn]


def _let_go(giver: GrantTable, ref: int, mfn: int, ended: int) -> None:
    """Give back what the ended parts of a mapping held. Its domain forgets the translation before it executes
    anything more."""
    writable = not ended & _READONLY
    if ended & _DEVICE:
        giver.memory.machine.let_go(mfn, writable=writable)
    if ended & _HOST:
        _put(giver, mfn, writable=writable)
    by = giver.state.active[ref].domid
    giver.unpin(ref, uses_of(ended), writable=writable)
    giver.observe("release", ref, by, mfn, writable=writable)


def _put(giver: GrantTable, mfn: int, *, writable: bool) -> None:
    types = giver.memory.machine.types
    if writable:
        types.put_page_and_type(mfn)
    else:
        types.put_page(mfn)
