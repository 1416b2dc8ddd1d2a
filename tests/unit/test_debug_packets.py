"""The framing of GDB's remote protocol, and what is read from its packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paravane.debug.description import TARGET_XML
from paravane.debug.listener import Address, parse_address
from paravane.debug.packets import (
    MAX_PAYLOAD,
    Packet,
    PacketReader,
    Signal,
    escaped,
    packet,
    unescaped,
)
from paravane.debug.registers import REGISTERS
from paravane.debug.resume import ALL, Action, parse, thread_id


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_packets_and_signals_come_out_whatever_pieces_they_come_in(size: int) -> None:
    stream = b"+" + packet(b"qSupported") + b"\x03-" + packet(b"") + b"noise" + packet(b"g")
    reader, found = PacketReader(), list[Packet | Signal]()
    for at in range(0, len(stream), size):
        found += reader.feed(stream[at : at + size])
    assert found == [
        Signal.ACK,
        Packet(b"qSupported"),
        Signal.INTERRUPT,
        Signal.NAK,
        Packet(b""),
        Packet(b"g"),
    ]


def test_the_checksum_is_the_manuals() -> None:
    assert packet(b"qSupported:multiprocess+") == b"$qSupported:multiprocess+#c6"


@pytest.mark.parametrize("wire", [b"$g#68", b"$g#6", b"$g#zz", b"$g#+7", b"$g# 7"])
def test_a_wrong_checksum_is_told(wire: bytes) -> None:
    assert PacketReader().feed(wire + b"x")[:1] == [Packet(None)]


def test_a_packet_that_does_not_end_is_given_up() -> None:
    reader = PacketReader()
    found = [item for _ in range(100) for item in reader.feed(b"$" + b"x" * 1000)]
    assert set(found) == {Packet(None)}
    assert reader.feed(b"#00" + packet(b"?"))[-1] == Packet(b"?")
    assert len(reader._pending) <= MAX_PAYLOAD + 2


@given(st.binary(max_size=200))
def test_binary_data_survives(data: bytes) -> None:
    wire = escaped(data)
    assert unescaped(wire) == data
    assert not set(wire) & set(b"#$*")
    assert PacketReader().feed(packet(wire)) == [Packet(wire)]


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_no_bytes_upset_the_reader(pieces: list[bytes]) -> None:
    reader = PacketReader()
    for piece in pieces:
        reader.feed(piece)
    # Whatever is pending is at most one packet, and ends with the next one.
    reader.feed(b"#00")
    assert reader.feed(b"##00" + packet(b"?"))[-1] == Packet(b"?")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1234", Address("127.0.0.1", 1234)),
        (":0", Address("127.0.0.1", 0)),
        ("localhost:1", Address("localhost", 1)),
        ("[::1]:7", Address("::1", 7)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", "host:", "host:70000", "::1:7", "a:b:1", "1.5", "host:-1", "[:1"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no HOST:PORT"):
        parse_address(text)


def test_how_to_go_on() -> None:
    assert parse("c") == [Action(False, ALL)]
    assert parse("s:1;c") == [Action(True, 1), Action(False, ALL)]
    assert parse("C05:-1") == [Action(False, ALL)]
    assert parse("r10,20:2") == [Action(True, 2, range(0x10, 0x20))]
    assert thread_id("0") == thread_id("-1") == ALL


@pytest.mark.parametrize("text", ["", "x", "s:", "s:g", "r", "r1", "Cxx", "c;;", "t", "c:1:2", "r-1,2"])
def test_how_not_to_go_on(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse(text)


def test_registers_are_numbered_as_gdb_expects() -> None:
    names = [register.name for register in REGISTERS]
    segments, x87 = ["cs", "ss", "ds", "es", "fs", "gs"], ["fctrl", "fstat", "ftag", "fiseg", "fioff"]
    assert names[:8] == ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"]
    assert names[8:16] == ["eip", "eflags", *segments]
    assert names[16:32] == [f"st{n}" for n in range(8)] + [*x87, "foseg", "fooff", "fop"]
    assert names[32:41] == [f"xmm{n}" for n in range(8)] + ["mxcsr"]
    assert len(set(names)) == len(names)
    assert all(f'<reg name="{name}" ' in TARGET_XML for name in names)
