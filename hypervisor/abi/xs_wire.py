"""The xenstore protocol: messages and ring (public/io/xs_wire.h)."""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.errno import Errno
from paravane.abi.layout import U32, UINT32, Chars, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple


@c_names("XS_")
class XsMessage(IntEnum):
    """`xsd_sockmsg.type`."""

    CONTROL = 0
    DEBUG = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESET_WATCHES = 21
    DIRECTORY_PART = 22
    TYPE_COUNT = 23
    INVALID = 0xFFFF


XSD_ERRORS: Final = (
    Errno.EINVAL,
    Errno.EACCES,
    Errno.EEXIST,
    Errno.EISDIR,
    Errno.ENOENT,
    Errno.ENOMEM,
    Errno.ENOSPC,
    Errno.EIO,
    Errno.ENOTEMPTY,
    Errno.ENOSYS,
    Errno.EROFS,
    Errno.EBUSY,
    Errno.EAGAIN,
    Errno.EISCONN,
    Errno.E2BIG,
    Errno.EPERM,
)
"""Errors that an XS_ERROR reply may carry, as the NUL-terminated name."""


class XsdSockmsg(NamedTuple):
    """Header of every message; `len` bytes of payload follow."""

    type: Annotated[int, UINT32, XsMessage]
    req_id: U32
    tx_id: U32
    len: U32


XSD_SOCKMSG = Layout("xsd_sockmsg", XsdSockmsg)


@c_names("XS_WATCH_")
class XsWatchField(IntEnum):
    """Order of the two strings of an XS_WATCH_EVENT."""

    PATH = 0
    TOKEN = 1


XENSTORE_RING_SIZE: Final = 1024
XENSTORE_PAYLOAD_MAX: Final = 4096
XENSTORE_ABS_PATH_MAX: Final = 3072
XENSTORE_REL_PATH_MAX: Final = 2048


class XenstoreDomainInterface(NamedTuple):
    """The xenstore page. Indices run freely, modulo XENSTORE_RING_SIZE they are offsets."""

    req: Annotated[bytes, Chars(XENSTORE_RING_SIZE)]
    rsp: Annotated[bytes, Chars(XENSTORE_RING_SIZE)]
    req_cons: U32
    req_prod: U32
    rsp_cons: U32
    rsp_prod: U32
    server_features: U32
    connection: U32
    error: U32


XENSTORE_DOMAIN_INTERFACE = Layout("xenstore_domain_interface", XenstoreDomainInterface)


@c_names("XENSTORE_SERVER_FEATURE_")
class XenstoreFeature(IntEnum):
    """`server_features`: flags."""

    RECONNECTION = 1
    ERROR = 2


@c_names("XENSTORE_")
class XenstoreConnection(IntEnum):
    """`connection`."""

    CONNECTED = 0
    RECONNECT = 1


@c_names("XENSTORE_ERROR_")
class XenstoreError(IntEnum):
    """`error`: why the server stopped serving the ring."""

    NONE = 0
    COMM = 1
    RINGIDX = 2
    PROTO = 3
