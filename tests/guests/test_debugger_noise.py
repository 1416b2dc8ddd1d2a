"""What no debugger would say: packets that are nearly right, and bytes that are none."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from paravane.debug.packets import MAX_PAYLOAD

if TYPE_CHECKING:
    from tests.support.debugged import Remote, Served

PACKETS = 10_000

MONITORS = (
    *("store", "store /", "store " + "/x" * 200, "frame", "frame -1", "frame 0", "frame 99999999999"),
    *("pagetable x", "pagetable 0x1ffffffff", "events x", "trace maybe", "domains 7", "help me", "", " "),
)
HEADS = (
    *(b"", b"?", b"!", b"R", b"g", b"G", b"p", b"P", b"m", b"M", b"X", b"H", b"Hg", b"T"),
    *(b"Z0", b"Z2", b"z0", b"z4", b"qC", b"qOffsets", b"qSupported", b"QSt", b"vMustReplyEmpty", b"vCont?"),
    *(b"qfThreadInfo", b"qThreadExtraInfo", b"qRcmd,", b"qRcmd,7"),
    *(b"qXfer:features:read:", b"qXfer:threads:read", b"qXfer:exec-file:read:"),
    *(b"vFile", b"vFile:open:", b"vFile:pread:", b"vFile:fstat"),
    *(b"qRcmd," + command.encode().hex().encode() for command in MONITORS),
)
"""Beginnings of packets that the stub knows, and of some that it does not; none lets the guest go on."""

TAILS = (
    *(b"", b",", b":", b";", b"=", b"0", b"00", b"1", b"-1", b"zz", b"\0", b"\xff\xfe", b"\x7d"),
    *(b"ffffffff", b"ffffffffffffffffffffffff", b"0,0", b"c0100000,4", b"c0100000,ffffffff"),
    b"target.xml:0,10",
)


def nearly_right(chance: random.Random) -> bytes:
    """A payload; few of those that set or remove something, for these have limits that would soon be met."""
    while True:
        payload = chance.choice(HEADS) + b"".join(chance.choices(TAILS, k=chance.randrange(4)))
        if not payload.startswith((b"H", b"Z", b"z")) or chance.random() < 0.1:
            return payload


def answered(remote: Remote, payload: bytes) -> None:
    """Send a payload and take what is answered: text on the console, perhaps, and then one answer."""
    answer = remote.ask(payload)
    while answer.startswith("O") and answer != "OK":
        answer = remote.answer()


def test_no_packet_upsets_the_stub(guest: Served, remote: Remote) -> None:
    chance = random.Random(8)
    for _ in range(PACKETS):
        answered(remote, nearly_right(chance))
    finish_and_look(guest, remote)


def test_no_bytes_upset_the_stub(guest: Served, remote: Remote) -> None:
    chance = random.Random(8)
    remote.raw(bytes(chance.randrange(256) for _ in range(5 * MAX_PAYLOAD)).replace(b"\x03", b""))
    remote.raw(b"#00")
    finish_and_look(guest, remote)


def finish_and_look(guest: Served, remote: Remote) -> None:
    """The stub still answers, and the guest ends well when its debugger goes."""
    remote.send(b"qC")
    while remote.answer() != "QC1":
        pass
    remote.close()
    guest.end()
    assert (guest.console, guest.audit) == ("done\n", [])
