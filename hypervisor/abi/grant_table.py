"""Grant tables (public/grant_table.h)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.domid import DOMID
from paravane.abi.layout import PTR, S16, U16, U32, U64, UINT32, UINT64, ULONG, Array, Layout, Named, Union
from paravane.abi.names import c_names
from paravane.classes import NamedTuple

GRANT_REF = U32
GRANT_HANDLE = U32

GNTTAB_NR_RESERVED_ENTRIES: Final = 8
"""References the toolstack keeps for itself, at the start of a domain's table."""

GNTTAB_RESERVED_CONSOLE: Final = 0
GNTTAB_RESERVED_XENSTORE: Final = 1


@c_names("GTF_")
class GrantFlag(IntEnum):
    """`flags` of a grant entry; the two low bits (type_mask) are its type."""

    invalid = 0
    permit_access = 1
    accept_transfer = 2
    transitive = 3
    type_mask = 3
    readonly = 1 << 2
    reading = 1 << 3
    writing = 1 << 4
    PWT = 1 << 5
    PCD = 1 << 6
    PAT = 1 << 7
    sub_page = 1 << 8
    transfer_committed = 1 << 2
    transfer_completed = 1 << 3


class GrantEntryV1(NamedTuple):
    """Version 1 entry, 8 bytes: `frame` is shared with `domid`."""

    flags: U16
    domid: DOMID
    frame: U32


GRANT_ENTRY_V1 = Layout("grant_entry_v1", GrantEntryV1)


class GrantEntryHeader(NamedTuple):
    """First 4 bytes of every version 2 entry."""

    flags: U16
    domid: DOMID


GRANT_ENTRY_HEADER = Layout("grant_entry_header", GrantEntryHeader)


class GrantEntryV2FullPage(NamedTuple):
    """Version 2 entry that shares a whole frame."""

    hdr: Annotated[GrantEntryHeader, GRANT_ENTRY_HEADER]
    pad0: U32
    frame: U64


GRANT_ENTRY_V2_FULL_PAGE = Layout("grant_entry_v2.full_page", GrantEntryV2FullPage)


class GrantEntryV2SubPage(NamedTuple):
    """Version 2 entry that shares `length` bytes from `page_off`, for copies only."""

    hdr: Annotated[GrantEntryHeader, GRANT_ENTRY_HEADER]
    page_off: U16
    length: U16
    frame: U64


GRANT_ENTRY_V2_SUB_PAGE = Layout("grant_entry_v2.sub_page", GrantEntryV2SubPage)


class GrantEntryV2Transitive(NamedTuple):
    """Version 2 entry that passes on grant `gref` of `trans_domid`, for copies only."""

    hdr: Annotated[GrantEntryHeader, GRANT_ENTRY_HEADER]
    trans_domid: DOMID
    pad0: U16
    gref: GRANT_REF


GRANT_ENTRY_V2_TRANSITIVE = Layout("grant_entry_v2.transitive", GrantEntryV2Transitive)


class GrantEntryV2(NamedTuple):
    """Version 2 entry, 16 bytes, not yet told apart."""

    spacer: Annotated[tuple[int, ...], Array("I", 4), Named("__spacer")]


GRANT_ENTRY_V2 = Layout("grant_entry_v2", GrantEntryV2)


@c_names("GNTTABOP_")
class GnttabOp(IntEnum):
    """Commands of grant_table_op."""

    map_grant_ref = 0
    unmap_grant_ref = 1
    setup_table = 2
    dump_table = 3
    transfer = 4
    copy = 5
    query_size = 6
    unmap_and_replace = 7
    set_version = 8
    get_status_frames = 9
    get_version = 10
    swap_grant_ref = 11
    cache_flush = 12


@c_names("GNTST_")
class GrantStatus(IntEnum):
    """`status` of a grant operation."""

    okay = 0
    general_error = -1
    bad_domain = -2
    bad_gntref = -3
    bad_handle = -4
    bad_virt_addr = -5
    bad_dev_addr = -6
    no_device_space = -7
    permission_denied = -8
    bad_page = -9
    bad_copy_arg = -10
    address_too_big = -11
    eagain = -12
    no_space = -13


STATUS = Annotated[S16, GrantStatus]


@c_names("GNTMAP_")
class GrantMapFlag(IntEnum):
    """`gnttab_map_grant_ref.flags`."""

    device_map = 1 << 0
    host_map = 1 << 1
    readonly = 1 << 2
    application_map = 1 << 3
    contains_pte = 1 << 4
    guest_avail_mask = 0xFFFF0000


class GnttabMapGrantRef(NamedTuple):
    """`host_addr`: linear address, or machine address of the page-table entry with GNTMAP_contains_pte."""

    host_addr: U64
    flags: U32
    ref: GRANT_REF
    dom: DOMID
    status: STATUS
    handle: GRANT_HANDLE
    dev_bus_addr: U64


GNTTAB_MAP_GRANT_REF = Layout("gnttab_map_grant_ref", GnttabMapGrantRef)


class GnttabUnmapGrantRef(NamedTuple):
    """Addresses are those of the mapping; 0 leaves that side alone."""

    host_addr: U64
    dev_bus_addr: U64
    handle: GRANT_HANDLE
    status: STATUS


GNTTAB_UNMAP_GRANT_REF = Layout("gnttab_unmap_grant_ref", GnttabUnmapGrantRef)


class GnttabSetupTable(NamedTuple):
    """Grow the table of `dom` to `nr_frames` and write their frame numbers (32 bits each) to `frame_list`."""

    dom: DOMID
    nr_frames: U32
    status: STATUS
    frame_list: PTR


GNTTAB_SETUP_TABLE = Layout("gnttab_setup_table", GnttabSetupTable)


class GnttabDumpTable(NamedTuple):
    """Print the table of `dom` to the hypervisor's log."""

    dom: DOMID
    status: STATUS


GNTTAB_DUMP_TABLE = Layout("gnttab_dump_table", GnttabDumpTable)


class GnttabTransfer(NamedTuple):
    """Give frame `mfn` to `domid`, which accepts it in grant `ref`."""

    mfn: ULONG
    domid: DOMID
    ref: GRANT_REF
    status: STATUS


GNTTAB_TRANSFER = Layout("gnttab_transfer", GnttabTransfer)


@c_names("GNTCOPY_")
class GrantCopyFlag(IntEnum):
    """`gnttab_copy.flags`: which end is a grant reference (else a frame number)."""

    source_gref = 1 << 0
    dest_gref = 1 << 1


class GnttabCopyPtr(NamedTuple):
    """One end of a copy: grant reference or frame, and byte offset in it."""

    u: Annotated[int, Union({"ref": UINT32, "gmfn": UINT32})]
    domid: DOMID
    offset: U16


GNTTAB_COPY_PTR = Layout("gnttab_copy_ptr", GnttabCopyPtr)


class GnttabCopy(NamedTuple):
    """Copy `len` bytes."""

    source: Annotated[GnttabCopyPtr, GNTTAB_COPY_PTR]
    dest: Annotated[GnttabCopyPtr, GNTTAB_COPY_PTR]
    len: U16
    flags: U16
    status: STATUS


GNTTAB_COPY = Layout("gnttab_copy", GnttabCopy)


class GnttabQuerySize(NamedTuple):
    """Present and greatest number of frames of a table."""

    dom: DOMID
    nr_frames: U32
    max_nr_frames: U32
    status: STATUS


GNTTAB_QUERY_SIZE = Layout("gnttab_query_size", GnttabQuerySize)


class GnttabUnmapAndReplace(NamedTuple):
    """Unmap `host_addr` and put the entry that maps `new_addr` there, clearing the latter."""

    host_addr: U64
    new_addr: U64
    handle: GRANT_HANDLE
    status: STATUS


GNTTAB_UNMAP_AND_REPLACE = Layout("gnttab_unmap_and_replace", GnttabUnmapAndReplace)


class GnttabSetVersion(NamedTuple):
    """Ask for entry version 1 or 2; the version in force is written back."""

    version: U32


GNTTAB_SET_VERSION = Layout("gnttab_set_version", GnttabSetVersion)


class GnttabGetStatusFrames(NamedTuple):
    """Frame numbers (64 bits each) of the version 2 status table."""

    nr_frames: U32
    dom: DOMID
    status: STATUS
    frame_list: PTR


GNTTAB_GET_STATUS_FRAMES = Layout("gnttab_get_status_frames", GnttabGetStatusFrames)


class GnttabGetVersion(NamedTuple):
    """Entry version of `dom`."""

    dom: DOMID
    pad: U16
    version: U32


GNTTAB_GET_VERSION = Layout("gnttab_get_version", GnttabGetVersion)


class GnttabSwapGrantRef(NamedTuple):
    """Exchange two entries of the caller's table."""

    ref_a: GRANT_REF
    ref_b: GRANT_REF
    status: STATUS


GNTTAB_SWAP_GRANT_REF = Layout("gnttab_swap_grant_ref", GnttabSwapGrantRef)


@c_names("GNTTAB_CACHE_")
class GrantCacheOp(IntEnum):
    """`gnttab_cache_flush.op`."""

    CLEAN = 1 << 0
    INVAL = 1 << 1
    SOURCE_GREF = 1 << 31


class GnttabCacheFlush(NamedTuple):
    """`a` is a bus address, or a grant reference with SOURCE_GREF."""

    a: Annotated[int, Union({"dev_bus_addr": UINT64, "ref": UINT32})]
    offset: U16
    length: U16
    op: U32


GNTTAB_CACHE_FLUSH = Layout("gnttab_cache_flush", GnttabCacheFlush)
