"""The block protocol for x86_32 frontends (public/io/blkif.h)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.layout import S16, U8, U16, U32, U64, UINT8, Array, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple

BLKIF_SECTOR_SIZE: Final = 512
"""Bytes per unit of `sector_number`, `first_sect` and `last_sect`, whatever the disk's own sector size."""

BLKIF_MAX_SEGMENTS_PER_REQUEST: Final = 11
BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST: Final = 8


@c_names("BLKIF_OP_")
class BlkifOp(IntEnum):
    """`operation`."""

    READ = 0
    WRITE = 1
    WRITE_BARRIER = 2
    FLUSH_DISKCACHE = 3
    RESERVED_1 = 4
    DISCARD = 5
    INDIRECT = 6


@c_names("BLKIF_RSP_")
class BlkifRsp(IntEnum):
    """`blkif_response.status`."""

    OKAY = 0
    ERROR = -1
    EOPNOTSUPP = -2


@c_names("VDISK_")
class Vdisk(IntEnum):
    """Flags of the backend's `info` node."""

    CDROM = 1
    REMOVABLE = 2
    READONLY = 4


BLKIF_DISCARD_SECURE: Final = 1

BLKIF_FEATURES: Final = (
    "feature-barrier",
    "feature-flush-cache",
    "feature-discard",
    "feature-persistent",
    "feature-max-indirect-segments",
    "feature-large-sector-size",
)
"""Backend nodes by which optional operations are offered."""


class BlkifRequestSegment(NamedTuple):
    """Sectors `first_sect` to `last_sect` inclusive (0-7) of the granted page."""

    gref: U32
    first_sect: U8
    last_sect: U8


BLKIF_REQUEST_SEGMENT = Layout("blkif_request_segment", BlkifRequestSegment)

_OPERATION = Annotated[int, UINT8, BlkifOp]


class BlkifRequest(NamedTuple):
    """READ, WRITE, WRITE_BARRIER, FLUSH_DISKCACHE."""

    operation: _OPERATION
    nr_segments: U8
    handle: U16
    id: U64
    sector_number: U64
    seg: Annotated[
        tuple[BlkifRequestSegment, ...], Array(BLKIF_REQUEST_SEGMENT, BLKIF_MAX_SEGMENTS_PER_REQUEST)
    ]


BLKIF_REQUEST = Layout("blkif_request", BlkifRequest)


class BlkifRequestDiscard(NamedTuple):
    """DISCARD: `flag` is 0 or BLKIF_DISCARD_SECURE."""

    operation: _OPERATION
    flag: U8
    handle: U16
    id: U64
    sector_number: U64
    nr_sectors: U64


BLKIF_REQUEST_DISCARD = Layout("blkif_request_discard", BlkifRequestDiscard)


class BlkifRequestIndirect(NamedTuple):
    """INDIRECT: the segments are in granted pages, 512 in each."""

    operation: _OPERATION
    indirect_op: _OPERATION
    nr_segments: U16
    id: U64
    sector_number: U64
    handle: U16
    indirect_grefs: Annotated[tuple[int, ...], Array("I", BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST)]
    pad: U64


BLKIF_REQUEST_INDIRECT = Layout("blkif_request_indirect", BlkifRequestIndirect)


class BlkifResponse(NamedTuple):
    """`id` and `operation` are the request's."""

    id: U64
    operation: _OPERATION
    status: Annotated[S16, BlkifRsp]


BLKIF_RESPONSE = Layout("blkif_response", BlkifResponse)

BLKIF_RING_ENTRY_SIZE: Final = BLKIF_REQUEST.size
"""Bytes per ring entry: the union of request and response."""
