"""grant_table_op (public/grant_table.h): grants of others in a guest's page tables, and frames given away."""

from functools import partial
from typing import TYPE_CHECKING

from paravane.abi.grant_table import (
    GNTTAB_MAP_GRANT_REF,
    GNTTAB_TRANSFER,
    GNTTAB_UNMAP_AND_REPLACE,
    GNTTAB_UNMAP_GRANT_REF,
    GnttabMapGrantRef,
    GnttabOp,
    GnttabUnmapAndReplace,
    GnttabUnmapGrantRef,
    GrantStatus,
)
from paravane.grants.mapping import GiverGoneError, map_grant, unmap_grant
from paravane.grants.transfer import transfer_frame
from paravane.grants.use import GrantRefusal
from paravane.hypercalls.grant_requests import NAME, Requests, each, grant, in_portions
from paravane.hypercalls.table import Ptr, UInt
from paravane.traps.crash import GuestCrash

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

_NATIVE_TRANSFER = 24
"""Bytes of Xen's own struct gnttab_transfer."""


@grant(GnttabOp.map_grant_ref)
def map_grant_ref(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """Map what others granted. Each struct is written back as a whole, with what a mapping is known by."""
    layout = GNTTAB_MAP_GRANT_REF
    for address in Requests(GnttabOp.map_grant_ref, uop, count, layout).addresses(caller):
        arg = layout.unpack(caller.copy_from_guest(address, layout.size))
        caller.copy_to_guest(address, layout.pack(_map(caller, arg)))
    return 0


def _map(caller: "Caller", arg: GnttabMapGrantRef) -> GnttabMapGrantRef:
    try:
        handle, bus_address = map_grant(caller.domain.grants, caller.paging, arg)
    except GrantRefusal as refusal:
        caller.refused(NAME, refusal)
        return arg._replace(status=refusal.status)
    return arg._replace(status=GrantStatus.okay, handle=handle, dev_bus_addr=bus_address)


@grant(GnttabOp.unmap_grant_ref)
def unmap_grant_ref(caller: "Caller", uop: Ptr, count: UInt) -> int:
    array = Requests(GnttabOp.unmap_grant_ref, uop, count, GNTTAB_UNMAP_GRANT_REF)
    return each(caller, array, partial(_unmap, caller))


def _unmap(caller: "Caller", arg: GnttabUnmapGrantRef) -> None:
    own, addresses = caller.domain.grants, (arg.host_addr, arg.dev_bus_addr)
    try:
        unmap_grant(own, caller.paging, arg.handle, *addresses)
    except GiverGoneError as gone:
        raise GuestCrash(str(gone)) from None


@grant(GnttabOp.unmap_and_replace)
def unmap_and_replace(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """Unmap, and move what is mapped at another address there."""
    array = Requests(GnttabOp.unmap_and_replace, uop, count, GNTTAB_UNMAP_AND_REPLACE)
    return each(caller, array, partial(_replace, caller))


def _replace(caller: "Caller", arg: GnttabUnmapAndReplace) -> None:
    own = caller.domain.grants
    try:
        unmap_grant(own, caller.paging, arg.handle, arg.host_addr, new_addr=arg.new_addr)
    except GiverGoneError as gone:
        raise GuestCrash(str(gone)) from None


@grant(GnttabOp.transfer)
def transfer(caller: "Caller", uop: Ptr, count: UInt) -> int:
    """Give frames to those who accept them."""
    array = Requests(GnttabOp.transfer, uop, count, GNTTAB_TRANSFER)
    return in_portions(caller, array, _NATIVE_TRANSFER, partial(transfer_frame, caller.domain.grants))
