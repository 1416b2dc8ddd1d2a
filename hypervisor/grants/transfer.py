"""Frames that become another domain's, by an entry in which that domain accepts one: those of
GNTTABOP_transfer, and those that backends give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.grant_table import GrantFlag, GrantStatus
from paravane.grants.use import GrantRefusal
from paravane.memory.exchange import steal
from paravane.memory.reservation import allocate_extent, set_pfns
from paravane.refusal import Refusal
from paravane.registry import CONTROL_DOMID
from paravane.x86 import PAGE_SHIFT

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
        # A domain that gives to itself has a frame less by now.
        _accept(taker, request.ref, own.domid, pages=taker.memory.tot_pages - (taker is own))
    except GrantRefusal:
        memory.free_stolen(mfn)
        raise
    taker.memory.adopt(memory, mfn, pfn=_pfn(taker, request.ref))
    _complete(taker, request.ref, mfn, own.domid)


def give_frame(taker: GrantTable, ref: int, data: bytes, *, domid: int = CONTROL_DOMID) -> None:
    """Give a domain a frame of the host's by entry `ref`, which accepts one from a backend in domain `domid`.
    The frame begins with `data`, and has nothing of anybody's after it. Raises GrantRefusal(general_error),
    changing nothing: also when the machine has no free frame, or the domain may have no more.
    """
    memory = taker.memory
    machine = memory.machine
    # Before the entry says that a frame comes: a guest that has seen that waits until it is there.
    if not machine.nr_free:
        raise GrantRefusal(GrantStatus.general_error, "the machine has no free frame")
    _accept(taker, ref, domid, pages=memory.tot_pages)
    run = allocate_extent(machine, memory, 0, machine.frames.nr_frames)
    assert run is not None, "a frame within the domain's limit, of those that are free"
    # Free frames are empty: each was erased when it was given back.
    machine.ram.write(run.start << PAGE_SHIFT, data)
    set_pfns(machine, run, _pfn(taker, ref))
    _complete(taker, ref, run.start, domid)


def _accept(taker: GrantTable, ref: int, giver: int, *, pages: int) -> None:
    """Have entry `ref` of a domain that has so many pages say that a frame of domain `giver` comes. Raises
    GrantRefusal(general_error)."""
    if taker.state.closed or pages >= taker.memory.max_pages:
        sentence = f"d{taker.domid} goes, or has no room beyond {pages} pages"
        raise GrantRefusal(GrantStatus.general_error, sentence)
    if ref >= taker.nr_entries:
        raise GrantRefusal(GrantStatus.general_error, f"domain {taker.domid} has no grant reference {ref:#x}")
    header = taker.entries.header(ref)
    if header != _ACCEPT | giver << 16:
        sentence = f"grant {ref} has header {header:#010x} and accepts no frame of domain {giver}"
        raise GrantRefusal(GrantStatus.general_error, sentence)
    taker.entries.set_header(ref, header | _COMMITTED)


def _pfn(taker: GrantTable, ref: int) -> int:
    """Where in its memory the domain wants the frame, as far as a machine-to-phys entry can tell."""
    return taker.entries.frame(ref) & 0xFFFF_FFFF


def _complete(taker: GrantTable, ref: int, mfn: int, giver: int) -> None:
    """Say which frame has come, to the guest and to who listens."""
    taker.observe("transfer", ref, giver, mfn, writable=True)
    taker.entries.set_frame(ref, mfn)
    taker.entries.set_header(ref, taker.entries.header(ref) | _COMPLETED)
