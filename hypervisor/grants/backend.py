"""What a backend of the host does with grants, besides keeping one mapped (`GrantTable.map_for_backend`).

    with map_grants(domain.grants, [(ref, 0, PAGE_SIZE) for ref in refs], writable=True) as pages:
        os.preadv(file, pages, offset)

It maps what it passes to the host's system calls. For bytes that it only moves, `read_grant` and
`write_grant` are the cheaper way, and the only one to those that version 2 grants as a part of a page.

All three end before any guest runs again, so most of them need no more than a look at the entry and at the
frame (`GrantTable.frame_for_now`): a request of a disk or a packet costs what its bytes cost, not what it
takes to count its pages in and out.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from paravane.grants.copying import acquire, release
from paravane.registry import CONTROL_DOMID
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paravane.grants.grant_table import GrantTable

    Part = tuple[int, int, int]
    """A grant reference, and from which byte to before which one of its frame, inside the frame."""


@contextmanager
def map_grants(
    table: GrantTable, parts: Sequence[Part], *, writable: bool, domid: int = CONTROL_DOMID
) -> Iterator[list[memoryview]]:
    """Parts of the frames of many grants, in order, mapped until the end of the block: all of them, or none.
    No guest may run in the block, nor any domain go. Raises GrantRefusal."""
    mfns = [table.frame_for_now(ref, domid, writable=writable) for ref, _, _ in parts]
    with ExitStack() as held:
        if -1 in mfns:
            mfns = [_map(table, ref, held, writable=writable, domid=domid) for ref, _, _ in parts]
        ram = table.memory.machine.ram
        whole = ram.bytes if writable else ram.bytes.toreadonly()
        pages = [
            whole[(mfn << PAGE_SHIFT) + start : (mfn << PAGE_SHIFT) + end]
            for mfn, (_, start, end) in zip(mfns, parts, strict=True)
        ]
        try:
            yield pages
        finally:
            for page in pages:
                page.release()
            if writable:
                for mfn in mfns:
                    ram.code_changed(mfn)


def _map(table: GrantTable, ref: int, held: ExitStack, *, writable: bool, domid: int) -> int:
    """Map a granted frame as long as `held` is. Raises GrantRefusal."""
    mapping = table.map_for_backend(ref, writable=writable, domid=domid)
    held.callback(mapping.close)
    return mapping.mfn


def read_grant(table: GrantTable, ref: int, offset: int, size: int, *, domid: int = CONTROL_DOMID) -> bytes:
    """`size` bytes of a granted frame from `offset` on, copied. Raises GrantRefusal: bad_copy_arg beyond the
    end of the frame, general_error for bytes that are not granted, and as `acquire` does."""
    mfn = table.frame_for_now(ref, domid, writable=False)
    if mfn >= 0 and 0 <= offset <= offset + size <= PAGE_SIZE:
        return table.memory.machine.ram.read((mfn << PAGE_SHIFT) + offset, size)
    found = acquire(table, ref, domid, writable=False)
    try:
        return table.memory.machine.ram.read(found.address(offset, size), size)
    finally:
        release(table, ref, writable=False)


def write_grant(
    table: GrantTable,
    ref: int,
    offset: int,
    data: bytes | bytearray | memoryview,
    *,
    domid: int = CONTROL_DOMID,
) -> None:
    """Copy `data` (a view: of bytes) into a granted frame, from `offset` on. Raises GrantRefusal as
    `read_grant` does."""
    mfn = table.frame_for_now(ref, domid, writable=True)
    if mfn >= 0 and 0 <= offset <= offset + len(data) <= PAGE_SIZE:
        table.memory.machine.ram.write((mfn << PAGE_SHIFT) + offset, data)
        return
    found = acquire(table, ref, domid, writable=True)
    try:
        table.memory.machine.ram.write(found.address(offset, len(data)), data)
    finally:
        release(table, ref, writable=True)
