"""What a backend of the host does with grants, besides keeping one mapped (`GrantTable.map_for_backend`).

    with map_grants(domain.grants, refs, writable=True) as pages:
        os.preadv(file, pages, offset)

It maps what it passes to the host's system calls. For bytes that it only moves, `read_grant` and
`write_grant` are the cheaper way, and the only one to those that version 2 grants as a part of a page.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from paravane.grants.copying import acquire, release
from paravane.registry import CONTROL_DOMID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paravane.grants.grant_table import GrantTable


@contextmanager
def map_grants(
    table: GrantTable, refs: Iterable[int], *, writable: bool, domid: int = CONTROL_DOMID
) -> Iterator[list[memoryview]]:
    """The frames of many grants, in order, mapped until the end of the block: all of them, or none. Raises
    GrantRefusal."""
    with ExitStack() as mapped:
        yield [
            mapped.enter_context(table.map_for_backend(ref, writable=writable, domid=domid)) for ref in refs
        ]


def read_grant(table: GrantTable, ref: int, offset: int, size: int, *, domid: int = CONTROL_DOMID) -> bytes:
    """`size` bytes of a granted frame from `offset` on, copied. Raises GrantRefusal: bad_copy_arg beyond the
    end of the frame, general_error for bytes that are not granted, and as `acquire` does."""
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
    found = acquire(table, ref, domid, writable=True)
    try:
        table.memory.machine.ram.write(found.address(offset, len(data)), data)
    finally:
        release(table, ref, writable=True)
