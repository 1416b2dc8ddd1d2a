"""GNTTABOP_transfer: a frame that becomes another domain's, by an entry in which that domain accepts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.grant_table import GrantFlag, GrantStatus
from paravane.grants.use import GrantRefusal
from paravane.memory.exchange import steal
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.abi.grant_table import GnttabTransfer
    from paravane.grants.grant_table import GrantTable

_ACCEPT: Final = int(GrantFlag.accept_transfer)
_COMMITTED: Final = int(GrantFlag.transfer_committed)
_COMPLETED: Final = int(GrantFlag.transfer_completed)


def transfer_frame(own: GrantTable, request: GnttabTransfer) -> None:
    """Give a frame of the domain of `own` away, with what it holds. Raises GrantRefusal: bad_page for one
    that it cannot give, which it keeps; bad_domain or general_error when nobody takes it: it is lost then, as
    in Xen.
    """
    memory, mfn = own.memory, request.mfn
    try:
        steal(memory.machine, memory, mfn)
    except Refusal as refusal:
        raise GrantRefusal(GrantStatus.bad_page, refusal.sentence) from refusal
    try:
        taker = own.tables.by_id(request.domid)
        _accept(taker, own, request.ref)
    except GrantRefusal:
        memory.free_stolen(mfn)
        raise
    taker.memory.adopt(memory, mfn, pfn=taker.entries.frame(request.ref) & 0xFFFF_FFFF)
    taker.entries.set_frame(request.ref, mfn)
    header = taker.entries.header(request.ref)
    taker.entries.set_header(request.ref, header | _COMPLETED)


def _accept(taker: GrantTable, giver: GrantTable, ref: int) -> None:
    """Have entry `ref` say that a frame of `giver` comes. Raises GrantRefusal(general_error)."""
    pages = taker.memory.tot_pages - (taker is giver)
    if taker.state.closed or pages >= taker.memory.max_pages:
        sentence = f"d{taker.domid} goes, or has no room beyond {pages} pages"
        raise GrantRefusal(GrantStatus.general_error, sentence)
    if ref >= taker.nr_entries:
        raise GrantRefusal(GrantStatus.general_error, f"domain {taker.domid} has no grant reference {ref:#x}")
    header = taker.entries.header(ref)
    if header != _ACCEPT | giver.domid << 16:
        sentence = f"grant {ref} has header {header:#010x} and accepts no frame of domain {giver.domid}"
        raise GrantRefusal(GrantStatus.general_error, sentence)
    taker.entries.set_header(ref, header | _COMMITTED)
