"""A frontend's request, taken apart and checked: from here on it is the backend's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.blkif import (
    BLKIF_DISCARD_SECURE,
    BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST,
    BLKIF_MAX_SEGMENTS_PER_REQUEST,
    BLKIF_REQUEST,
    BLKIF_REQUEST_DISCARD,
    BLKIF_REQUEST_INDIRECT,
    BLKIF_REQUEST_SEGMENT,
    BLKIF_SECTOR_SIZE,
    BlkifOp,
    BlkifRsp,
)
from paravane.classes import NamedTuple
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_INDIRECT: Final = 256
"""Segments of an indirect request, as Linux's backend offers: 1 MiB."""

SEGMENTS_PER_PAGE: Final = PAGE_SIZE // BLKIF_REQUEST_SEGMENT.size
_SECTORS_PER_PAGE: Final = PAGE_SIZE // BLKIF_SECTOR_SIZE
_ID: Final = slice(BLKIF_REQUEST.offsets["id"], BLKIF_REQUEST.offsets["id"] + 8)
_INDIRECT_ID: Final = slice(BLKIF_REQUEST_INDIRECT.offsets["id"], BLKIF_REQUEST_INDIRECT.offsets["id"] + 8)
_SECTOR: Final = slice(BLKIF_REQUEST.offsets["sector_number"], BLKIF_REQUEST.offsets["sector_number"] + 8)
_NR_SEGMENTS: Final = BLKIF_REQUEST.offsets["nr_segments"]
_SEGMENTS: Final = BLKIF_REQUEST.offsets["seg"]
_FLUSHES: Final = frozenset({BlkifOp.WRITE_BARRIER, BlkifOp.FLUSH_DISKCACHE})
_SUPPORTED: Final = frozenset({BlkifOp.READ, BlkifOp.WRITE, *_FLUSHES, BlkifOp.DISCARD, BlkifOp.INDIRECT})


class Rejected(Exception):
    """A request cannot be carried out: what is answered, and a sentence for the log, of numbers only."""

    def __init__(self, status: BlkifRsp, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Piece(NamedTuple):
    """Bytes `start` to `end` of a granted page, whole sectors."""

    gref: int
    start: int
    end: int


class Request(NamedTuple):
    """`place` and `length` are bytes of the disk; `pieces` hold the data of a read or a write, in order.
    `operation` is what is to be done, `told` what its entry calls it: INDIRECT, or the same."""

    told: int
    id: bytes
    operation: BlkifOp
    place: int
    length: int
    pieces: tuple[Piece, ...] = ()
    secure: bool = False


class Geometry(NamedTuple):
    """What requests are checked against: bytes of the disk and of one of its sectors."""

    size: int
    sector: int
    read_only: bool


def check_request(request: Request, disk: Geometry) -> None:
    """Raises ValueError for one that `parse` cannot have made, for this disk."""
    pieces = request.pieces
    if len(request.id) != 8 or request.operation not in _SUPPORTED or len(pieces) > MOST_INDIRECT:
        raise ValueError("a disk was never asked for that")
    if not all(
        0 <= gref < 1 << 32 and 0 <= start < end <= PAGE_SIZE and not (start | end) % BLKIF_SECTOR_SIZE
        for gref, start, end in pieces
    ):
        raise ValueError("a piece of a page is none")
    if pieces and sum(piece.end - piece.start for piece in pieces) != request.length:
        raise ValueError("a request has another length than its pieces")
    if min(request.place, request.length) < 0:
        raise ValueError("a disk was never asked for that")
    try:
        _check(disk, request.place, request.length, writes=request.operation != BlkifOp.READ)
    except Rejected as error:
        raise ValueError(str(error)) from None


def identity(entry: bytes) -> tuple[int, bytes]:
    """What operation a ring entry is answered by, and its id as it stands. An indirect request is answered
    by what it does to its segments, as Linux's backend does: a frontend gives up a disk that does not."""
    if entry[0] == BlkifOp.INDIRECT:
        return entry[1], entry[_INDIRECT_ID]
    return entry[0], entry[_ID]


def parse(entry: bytes, disk: Geometry, indirect: Callable[[int], bytes]) -> Request:
    """The request in a ring entry. `indirect` gives a copy of the granted page with that reference. Raises
    Rejected, and what `indirect` raises."""
    told, (_, number) = entry[0], identity(entry)
    if told not in _SUPPORTED:
        raise Rejected(BlkifRsp.EOPNOTSUPP, f"there is no operation {told}")
    if told == BlkifOp.DISCARD:
        return _discard(entry, disk, number)
    if told == BlkifOp.INDIRECT:
        return _indirect(entry, disk, number, indirect)
    # Only the segments that there are: most requests have few, and this is the way of every one.
    nr_segments = entry[_NR_SEGMENTS]
    if nr_segments > BLKIF_MAX_SEGMENTS_PER_REQUEST:
        raise Rejected(BlkifRsp.ERROR, f"{nr_segments} segments in a request of up to 11")
    if not nr_segments and told in _FLUSHES:
        # As in Linux's backend it is a write of nothing: its place does not matter, that the disk may be
        # written does.
        _check(disk, 0, 0, writes=True)
        return Request(told, number, BlkifOp(told), 0, 0)
    if not nr_segments:
        raise Rejected(BlkifRsp.ERROR, "no segments to read or write")
    listed = entry[_SEGMENTS : _SEGMENTS + nr_segments * BLKIF_REQUEST_SEGMENT.size]
    return _transfer(told, number, BlkifOp(told), int.from_bytes(entry[_SECTOR], "little"), listed, disk)


def _discard(entry: bytes, disk: Geometry, number: bytes) -> Request:
    found = BLKIF_REQUEST_DISCARD.unpack(entry)
    place, length = found.sector_number * BLKIF_SECTOR_SIZE, found.nr_sectors * BLKIF_SECTOR_SIZE
    _check(disk, place, length, writes=True)
    secure = bool(found.flag & BLKIF_DISCARD_SECURE)
    return Request(BlkifOp.DISCARD, number, BlkifOp.DISCARD, place, length, secure=secure)


def _indirect(entry: bytes, disk: Geometry, number: bytes, indirect: Callable[[int], bytes]) -> Request:
    found = BLKIF_REQUEST_INDIRECT.unpack(entry)
    if found.indirect_op not in (BlkifOp.READ, BlkifOp.WRITE):
        # Not EOPNOTSUPP, by which a frontend would take it that indirect requests are not known at all.
        raise Rejected(BlkifRsp.ERROR, f"there is no indirect operation {found.indirect_op}")
    if not 0 < found.nr_segments <= MOST_INDIRECT:
        raise Rejected(
            BlkifRsp.ERROR, f"{found.nr_segments} segments in an indirect request of 1 to {MOST_INDIRECT}"
        )
    nr_pages = -(-found.nr_segments // SEGMENTS_PER_PAGE)
    assert nr_pages <= BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST
    pages = b"".join(indirect(gref) for gref in found.indirect_grefs[:nr_pages])
    listed = pages[: found.nr_segments * BLKIF_REQUEST_SEGMENT.size]
    return _transfer(BlkifOp.INDIRECT, number, BlkifOp(found.indirect_op), found.sector_number, listed, disk)


def _transfer(
    told: int,
    number: bytes,
    operation: BlkifOp,
    sector: int,
    listed: bytes,
    disk: Geometry,
) -> Request:
    """`listed` has the segments, one after the other."""
    pieces = []
    length = 0
    for gref, first, last in BLKIF_REQUEST_SEGMENT.struct.iter_unpack(listed):
        if not first <= last < _SECTORS_PER_PAGE:
            raise Rejected(BlkifRsp.ERROR, f"a segment from sector {first} to {last} of its page")
        piece = Piece(gref, first * BLKIF_SECTOR_SIZE, (last + 1) * BLKIF_SECTOR_SIZE)
        pieces.append(piece)
        length += piece.end - piece.start
    # A barrier without data has no place: Linux has it at sector -1.
    place = sector * BLKIF_SECTOR_SIZE if pieces else 0
    _check(disk, place, length, writes=operation != BlkifOp.READ)
    return Request(told, number, operation, place, length, tuple(pieces))


def _check(disk: Geometry, place: int, length: int, *, writes: bool) -> None:
    if writes and disk.read_only:
        raise Rejected(BlkifRsp.ERROR, "the disk is read-only")
    if place + length > disk.size:
        sector, count = place // BLKIF_SECTOR_SIZE, length // BLKIF_SECTOR_SIZE
        raise Rejected(
            BlkifRsp.ERROR,
            f"{count} sectors from {sector} on, of a disk of {disk.size // BLKIF_SECTOR_SIZE}",
        )
    if (place | length) % disk.sector:
        raise Rejected(
            BlkifRsp.ERROR, f"{length} bytes at {place} are not whole sectors of {disk.sector} bytes"
        )
