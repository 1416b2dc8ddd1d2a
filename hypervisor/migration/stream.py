"""The framing of a saved domain: xl's file header, around libxl's records, around libxc's.

Sources: Xen 4.17's docs/specs/libxl-migration-stream.pandoc and libxc-migration-stream.pandoc (version 3 of
the latter), tools/xl/xl.h for the header. Little-endian but for the two image headers.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import IO, TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.traps.emulate.cpuid import XEN_VERSION
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

_XL_MAGIC: Final = b"Xen saved domain, xl format\n \0 \r"
_XL_HEADER: Final = Struct("<32s4I")
_XL_BYTE_ORDER: Final = 0x01020304
_XL_JSON, _XL_STREAM_V2 = 1 << 0, 1 << 1
_MOST_CONFIG: Final = 1 << 20

_LIBXL_HEADER: Final = Struct(">8sII")
_LIBXL_IDENT: Final = b"LibxlFmt"
_LIBXL_VERSION: Final = 2
_LIBXL_END, _LIBXL_LIBXC_CONTEXT = 0, 1

_LIBXC_HEADER: Final = Struct(">Q4sIHHI")
_LIBXC_MARKER: Final = (1 << 64) - 1
_LIBXC_IDENT: Final = b"XENF"
_LIBXC_VERSION: Final = 3
_DOMAIN_HEADER: Final = Struct("<IHHII")
_X86_PV: Final = 1
_BIG_ENDIAN: Final = 1

_RECORD: Final = Struct("<II")
_OPTIONAL: Final = 1 << 31

PAGES_OF_A_RECORD: Final = 1024
"""Pages that libxc puts into one PAGE_DATA record."""

_MOST_BODY: Final = PAGES_OF_A_RECORD * (PAGE_SIZE + 8) + 64


class StreamError(ValueError):
    """What is read is no domain that can be restored here; the message is one sentence."""


class RecordType(IntEnum):
    """Records of libxc's stream."""

    END = 0x00
    PAGE_DATA = 0x01
    X86_PV_INFO = 0x02
    X86_PV_P2M_FRAMES = 0x03
    X86_PV_VCPU_BASIC = 0x04
    X86_PV_VCPU_EXTENDED = 0x05
    X86_PV_VCPU_XSAVE = 0x06
    SHARED_INFO = 0x07
    X86_TSC_INFO = 0x08
    HVM_CONTEXT = 0x09
    HVM_PARAMS = 0x0A
    TOOLSTACK = 0x0B
    X86_PV_VCPU_MSRS = 0x0C
    VERIFY = 0x0D
    CHECKPOINT = 0x0E
    CHECKPOINT_DIRTY_PFN_LIST = 0x0F
    STATIC_DATA_END = 0x10
    X86_CPUID_POLICY = 0x11
    X86_MSR_POLICY = 0x12


class Record(NamedTuple):
    """One record without its padding."""

    kind: RecordType
    body: bytes


def head(config: str) -> bytes:
    """What comes before the first record, for a domain whose configuration is the JSON text `config`."""
    text = config.encode() + b"\0"
    options = len(text).to_bytes(4, "little") + text
    return b"".join(
        (
            _XL_HEADER.pack(_XL_MAGIC, _XL_BYTE_ORDER, _XL_JSON | _XL_STREAM_V2, 0, len(options)),
            options,
            _LIBXL_HEADER.pack(_LIBXL_IDENT, _LIBXL_VERSION, 0),
            _RECORD.pack(_LIBXL_LIBXC_CONTEXT, 0),
            _LIBXC_HEADER.pack(_LIBXC_MARKER, _LIBXC_IDENT, _LIBXC_VERSION, 0, 0, 0),
            _DOMAIN_HEADER.pack(_X86_PV, PAGE_SHIFT, 0, XEN_VERSION >> 16, XEN_VERSION & 0xFFFF),
        )
    )


def record(kind: RecordType, *body: bytes) -> bytes:
    """One record of the parts of its body, padded."""
    size = sum(map(len, body))
    return b"".join((_RECORD.pack(kind, size), *body, bytes(-size % 8)))


def tail() -> bytes:
    """The ends of both streams."""
    return record(RecordType.END) + _RECORD.pack(_LIBXL_END, 0)


def read_config(stream: IO[bytes]) -> str:
    """The JSON text at the beginning of a file of xl's. Raises StreamError."""
    magic = stream.read(len(_XL_MAGIC))
    if not magic or magic != _XL_MAGIC[: len(magic)]:
        raise StreamError("it is no saved domain")
    rest = _exactly(stream, _XL_HEADER.size - len(magic))
    _, order, mandatory, optional, size = _XL_HEADER.unpack(magic + rest)
    if order != _XL_BYTE_ORDER:
        raise StreamError("it was saved on a machine with another order of bytes")
    if mandatory != _XL_JSON | _XL_STREAM_V2 or optional:
        raise StreamError(f"its header asks for what is not known here ({mandatory:#x}, {optional:#x})")
    if not 4 < size <= _MOST_CONFIG:
        raise StreamError(f"a configuration of {size} bytes cannot be")
    options = _exactly(stream, size)
    length = int.from_bytes(options[:4], "little")
    try:
        return options[4 : 4 + length].rstrip(b"\0").decode()
    except UnicodeDecodeError:
        raise StreamError("its configuration is no text") from None


def read_records(stream: IO[bytes]) -> Iterator[Record]:
    """The records after the configuration, END excluded. Raises StreamError."""
    ident, version, options = _LIBXL_HEADER.unpack(_exactly(stream, _LIBXL_HEADER.size))
    if (ident, version, options) != (_LIBXL_IDENT, _LIBXL_VERSION, 0):
        raise StreamError("what follows its configuration is no stream of libxl's version 2")
    if _RECORD.unpack(_exactly(stream, _RECORD.size)) != (_LIBXL_LIBXC_CONTEXT, 0):
        raise StreamError("it does not begin with the domain's memory")
    _read_image_header(stream)
    while (found := _read_record(stream)) is None or found.kind is not RecordType.END:
        if found is not None:
            yield found
    if _RECORD.unpack(_exactly(stream, _RECORD.size)) != (_LIBXL_END, 0):
        raise StreamError("it holds more than a paravirtual domain has")


def _read_image_header(stream: IO[bytes]) -> None:
    marker, ident, version, options, *reserved = _LIBXC_HEADER.unpack(_exactly(stream, _LIBXC_HEADER.size))
    if marker != _LIBXC_MARKER or ident != _LIBXC_IDENT or any(reserved):
        raise StreamError("the image of its memory has no header")
    if version not in (2, _LIBXC_VERSION) or options & _BIG_ENDIAN:
        raise StreamError(f"the image of its memory is of version {version}, which is not known here")
    guest, shift, *_ = _DOMAIN_HEADER.unpack(_exactly(stream, _DOMAIN_HEADER.size))
    if guest != _X86_PV or shift != PAGE_SHIFT:
        raise StreamError("it is no paravirtual domain of an x86 machine")


def _read_record(stream: IO[bytes]) -> Record | None:
    """The next record; None for one that need not be known."""
    kind, size = _RECORD.unpack(_exactly(stream, _RECORD.size))
    if size > _MOST_BODY:
        raise StreamError(f"a record of {size} bytes cannot be")
    body = _exactly(stream, size)
    if any(_exactly(stream, -size % 8)):
        raise StreamError("it is damaged: what should be empty is not")
    if kind & _OPTIONAL:
        return None
    try:
        return Record(RecordType(kind), body)
    except ValueError:
        raise StreamError(f"it has a record of kind {kind:#x}, which is not known here") from None


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise StreamError("it ends too early")
    return data
