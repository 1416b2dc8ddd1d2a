"""GNTTABOP_set_version: the same frames, read as entries of the other version from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.grant_table import GNTTAB_NR_RESERVED_ENTRIES
from paravane.grants.entries import PERMIT, READING, TRANSITIVE, TYPE_MASK, WRITING
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.grants.grant_table import GrantTable

_USES: Final = READING | WRITING
_RESERVED: Final = range(GNTTAB_NR_RESERVED_ENTRIES)

Kept = tuple[int, int, int]
"""An entry that survives: flags with those of its uses, domain, frame."""


def set_version(table: GrantTable, version: int) -> None:
    """Choose the version of entries. The first 8, which are the toolstack's, are kept and may be in use; all
    others are cleared.

    Raises Refusal, changing nothing: -EINVAL for what is no version, -ENOSYS above its limit, -EBUSY
    while another entry is in use or a status frame is mapped, -ERANGE for a kept entry that version 1 cannot
    say, -ENOMEM. (Xen's -EAGAIN is for copies that are under way; here a copy ends within its hypercall.)
    """
    if version not in (1, 2):
        raise Refusal(Errno.EINVAL, f"there is no grant table version {version}")
    if version > table.limits.version:
        raise Refusal(Errno.ENOSYS, f"d{table.domid} has grant tables of version {table.limits.version} only")
    if version == table.version:
        return
    busy = [ref for ref in table.state.active if ref not in _RESERVED]
    if busy:
        raise Refusal(Errno.EBUSY, f"grant {busy[0]} is in use, as are {len(busy) - 1} others")
    if version == 1:
        _check_representable(table)
        _check_unmapped(table)
    kept = [_read(table, ref) for ref in _RESERVED]
    try:
        table.use_version(version)
    except MemoryError as error:
        raise Refusal(Errno.ENOMEM, "no memory for frames of status words") from error
    for mfn in table.frames:
        table.memory.machine.ram.clear_frame(mfn)
    for ref, entry in zip(_RESERVED, kept, strict=True):
        _write(table, ref, entry)


def _check_representable(table: GrantTable) -> None:
    """Raises Refusal (-ERANGE) for a kept entry of version 2 that version 1 has no words for."""
    for ref in _RESERVED:
        kind = table.entries.header(ref) & TYPE_MASK
        if kind == TRANSITIVE or (kind == PERMIT and table.entries.frame(ref) >> 32):
            raise Refusal(Errno.ERANGE, f"grant {ref} cannot be said in version 1")


def _check_unmapped(table: GrantTable) -> None:
    """Raises Refusal (-EBUSY) while somebody still has a frame of status words mapped."""
    for mfn in table.status_frames:
        if table.memory.is_xen_frame_in_use(mfn):
            raise Refusal(Errno.EBUSY, f"{table.memory.machine.frames.describe(mfn)} is still mapped")


def _read(table: GrantTable, ref: int) -> Kept:
    """An entry to be kept: one that permits access. Others are empty afterwards."""
    entries = table.entries
    header = entries.header(ref)
    if table.version == 2 and header & TYPE_MASK != PERMIT:
        return 0, 0, 0
    return header & 0xFFFF | entries.uses(ref), header >> 16, entries.frame(ref)


def _write(table: GrantTable, ref: int, entry: Kept) -> None:
    flags, domid, frame = entry
    table.entries.set_header(ref, flags & ~_USES | domid << 16)
    table.entries.set_frame(ref, frame)
    table.entries.mark(ref, flags & _USES)
