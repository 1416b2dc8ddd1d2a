"""The codec behind hypervisor/abi: packing, unpacking, offsets and trace text of C structs."""

import json
import struct
from enum import IntEnum
from typing import Annotated, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paravane.abi import catalog
from paravane.abi.blkif import BLKIF_REQUEST, BlkifRequest, BlkifRequestSegment
from paravane.abi.event_channel import EVTCHN_ALLOC_UNBOUND, EVTCHN_OP, EvtchnOp
from paravane.abi.hypercall import MULTICALL_ENTRY, Hypercall, MulticallEntry
from paravane.abi.layout import (
    S16,
    U8,
    U64,
    U64_ALIGNED,
    UINT8,
    UINT32,
    UINT64,
    Array,
    Chars,
    Layout,
    Named,
    Union,
    show_number,
)
from paravane.abi.mmu import MMU_UPDATE, MMUEXT_OP, MmuextCmd, MmuextOp, MmuUpdate
from paravane.abi.names import C_NAMES
from paravane.abi.start_info import START_INFO, StartInfo, StartInfoConsoleDomU
from paravane.abi.xs_wire import XSD_SOCKMSG, XsdSockmsg

ALL = [layout for module in catalog.MODULES for layout in catalog.layouts(module).values()]


class Mixed(NamedTuple):
    small: U8
    wide: U64
    tail: S16


MIXED = Layout("mixed", Mixed)


class Aligned(NamedTuple):
    small: U8
    wide: U64_ALIGNED


class Colour(IntEnum):
    red = 1
    green = 2


class Outer(NamedTuple):
    tag: Annotated[bytes, Chars(4)]
    mixed: Annotated[Mixed, MIXED]
    pair: Annotated[tuple[Mixed, ...], Array(MIXED, 2)]
    either: Annotated[int, Union({"word": UINT32, "byte": UINT8})]
    in_: U8
    pad: Annotated[U8, Named("_pad")]


OUTER = Layout("outer", Outer)


def test_a_64_bit_field_aligns_to_4_unless_declared_aligned() -> None:
    assert (MIXED.offsets["wide"], MIXED.offsets["tail"], MIXED.size, MIXED.align) == (4, 12, 16, 4)
    aligned = Layout("aligned", Aligned)
    assert (aligned.offsets["wide"], aligned.size, aligned.align) == (8, 16, 8)


def test_padding_is_zero_when_packed_and_ignored_when_read() -> None:
    assert MIXED.pack(Mixed(1, 2, -3)) == bytes.fromhex("01000000 0200000000000000 fdff 0000")
    assert MIXED.unpack(bytes.fromhex("01aabbcc 0200000000000000 fdff ddee")) == Mixed(1, 2, -3)


def test_offsets_name_nested_fields_with_dots_and_arrays_by_their_first_element() -> None:
    assert dict(OUTER.offsets) == {
        "tag": 0,
        "mixed": 4,
        "mixed.small": 4,
        "mixed.wide": 8,
        "mixed.tail": 16,
        "pair": 20,
        "pair.small": 20,
        "pair.wide": 24,
        "pair.tail": 32,
        "either": 52,
        "either.word": 52,
        "either.byte": 52,
        "in_": 56,
        "pad": 57,
    }
    assert OUTER.size == 60


def test_nested_values_survive_a_round_trip_at_an_offset() -> None:
    value = Outer(b"ab\0\0", Mixed(1, 2, 3), (Mixed(4, 5, 6), Mixed(7, 8, -9)), 0xFFFFFFFF, 10, 11)
    buffer = bytearray(b"\xee" * 80)
    OUTER.pack_into(buffer, 7, value)
    assert OUTER.unpack(buffer, 7) == value
    assert buffer[:7] == b"\xee" * 7
    assert buffer[67:] == b"\xee" * 13
    assert isinstance(OUTER.unpack(buffer, 7).pair[1], Mixed)


def test_c_names_drop_the_python_underscore_and_follow_named() -> None:
    assert [item.c_name for item in OUTER.fields][-2:] == ["in", "_pad"]


def test_iter_unpack_reads_an_array_of_structs() -> None:
    values = [MmuUpdate(0x1000, 1), MmuUpdate(0x2002, 2**64 - 1)]
    data = b"".join(map(MMU_UPDATE.pack, values))
    assert list(MMU_UPDATE.iter_unpack(data)) == values
    entries = [MulticallEntry(14, 0, (1, 2, 3, 4, 5, 6)), MulticallEntry(1, 2, (0,) * 6)]
    assert list(MULTICALL_ENTRY.iter_unpack(b"".join(map(MULTICALL_ENTRY.pack, entries)))) == entries


def test_unpack_reads_memoryviews() -> None:
    view = memoryview(bytearray(MMU_UPDATE.pack(MmuUpdate(8, 9))))
    assert MMU_UPDATE.unpack(view) == MmuUpdate(8, 9)


@pytest.mark.parametrize("size", [0, 14])
def test_a_short_buffer_is_a_struct_error(size: int) -> None:
    with pytest.raises(struct.error):
        MMU_UPDATE.unpack(bytes(size))
    with pytest.raises(struct.error):
        list(MMU_UPDATE.iter_unpack(bytes(17 + size)))


@pytest.mark.parametrize(
    "value",
    [
        Outer(b"abcde", Mixed(1, 2, 3), (Mixed(1, 2, 3),) * 2, 0, 0, 0),
        Outer(b"", Mixed(1, 2, 3), (Mixed(1, 2, 3),) * 3, 0, 0, 0),
        Outer(b"", Mixed(256, 2, 3), (Mixed(1, 2, 3),) * 2, 0, 0, 0),
        Outer(b"", Mixed(1, 2, 3), (Mixed(1, 2, 3),) * 2, -1, 0, 0),
    ],
)
def test_a_value_that_does_not_fit_is_refused_not_cut(value: Outer) -> None:
    with pytest.raises((ValueError, struct.error)):
        OUTER.pack(value)


def test_a_field_needs_exactly_one_c_type() -> None:
    class Untyped(NamedTuple):
        field: int

    with pytest.raises(TypeError, match=r"Untyped\.field"):
        _ = Layout("untyped", Untyped).size


def test_a_union_whose_first_member_is_too_small_must_be_raw() -> None:
    class Cut(NamedTuple):
        either: Annotated[int, Union({"word": UINT32, "quad": UINT64})]

    with pytest.raises(TypeError, match="first union member"):
        _ = Layout("cut", Cut).size


def test_the_old_event_channel_op_carries_its_argument_raw() -> None:
    data = struct.pack("<IHHI12x", EvtchnOp.alloc_unbound, 0x7FF0, 3, 9)
    assert EVTCHN_OP.size == len(data) + 4
    call = EVTCHN_OP.unpack(data + bytes(4))
    assert EvtchnOp(call.cmd) is EvtchnOp.alloc_unbound
    assert EVTCHN_ALLOC_UNBOUND.unpack(call.u) == (0x7FF0, 3, 9)


def test_a_block_request_holds_segment_tuples() -> None:
    segments = tuple(BlkifRequestSegment(gref, 0, 7) for gref in range(11))
    request = BLKIF_REQUEST.unpack(BLKIF_REQUEST.pack(BlkifRequest(1, 11, 51712, 2**63, 2**40, segments)))
    assert request.seg == segments
    assert request.seg[3].last_sect == 7


def test_start_info_console_is_the_domu_view() -> None:
    blank = START_INFO.unpack(bytes(START_INFO.size))
    data = START_INFO.pack(blank._replace(magic=b"xen-3.0-x86_32p", console=StartInfoConsoleDomU(0x123, 2)))
    assert data[:16] == b"xen-3.0-x86_32p\0"
    assert struct.unpack_from("<II", data, START_INFO.offsets["console.domU.mfn"]) == (0x123, 2)
    assert isinstance(START_INFO.unpack(data), StartInfo)


def test_trace_text_of_numbers_is_decimal_when_small_else_hexadecimal() -> None:
    assert [show_number(value) for value in (0, 9, 10, -1, 4096)] == ["0", "9", "0xa", "-1", "0x1000"]


def test_plain_structs_have_numbers_and_xens_names_where_a_field_has_them() -> None:
    assert MMU_UPDATE.plain(MmuUpdate(0x1000, 9)) == {"ptr": 0x1000, "val": 9}
    op = MmuextOp(MmuextCmd.PIN_L3_TABLE, 0x12, 0)
    assert MMUEXT_OP.plain(op) == {"cmd": "PIN_L3_TABLE", "arg1": 0x12, "arg2": 0}
    assert MMUEXT_OP.plain(MmuextOp(99, 0, 0)) == {"cmd": 99, "arg1": 0, "arg2": 0}
    allocate = EVTCHN_ALLOC_UNBOUND.type(0x7FF0, 0, 5)
    assert EVTCHN_ALLOC_UNBOUND.plain(allocate) == {"dom": "SELF", "remote_dom": 0, "port": 5}
    call = MulticallEntry(Hypercall.update_va_mapping, 0, (0xC0000000, 1, 2, 3, 4, 5))
    assert MULTICALL_ENTRY.plain(call) == {
        "op": "update_va_mapping",
        "result": 0,
        "args": [0xC0000000, 1, 2, 3, 4, 5],
    }
    assert XSD_SOCKMSG.plain(XsdSockmsg(11, 1, 0, 5)) == {"type": "WRITE", "req_id": 1, "tx_id": 0, "len": 5}


def test_plain_structs_have_text_where_bytes_are_some_and_structs_inside() -> None:
    value = Outer(b"ab", Mixed(1, 2, 3), (Mixed(4, 5, 6),) * 2, 7, 8, 9)
    assert OUTER.plain(value) == {
        "tag": "ab",
        "mixed": {"small": 1, "wide": 2, "tail": 3},
        "pair": [{"small": 4, "wide": 5, "tail": 6}] * 2,
        "either": 7,
        "in": 8,
        "pad": 9,
    }
    assert OUTER.plain(value._replace(tag=b"\n\0\0\1"))["tag"] == "0a000001"


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("layout", ALL, ids=lambda layout: layout.name)
def test_whatever_a_guest_writes_is_read_packed_and_shown(layout: Layout[Any], data: st.DataObject) -> None:
    seed = data.draw(st.binary(min_size=1, max_size=64))
    raw = (seed * (layout.size // len(seed) + 1))[: layout.size]
    value = layout.unpack(raw)
    packed = layout.pack(value)
    assert len(packed) == layout.size
    assert layout.unpack(packed) == value
    assert json.dumps(layout.plain(value)).isprintable()


def test_flags_are_plain_integers_when_combined() -> None:
    assert {type(member | 0) for numbers in C_NAMES for member in numbers} == {int}
