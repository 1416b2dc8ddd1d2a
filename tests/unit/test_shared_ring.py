"""The backend's side of a ring of requests and responses, whose other side writes what it likes."""

from __future__ import annotations

import pytest

from paravane.devices.ring import RingFault
from paravane.devices.shared_ring import BackRing
from tests.support.frontend import FrontRing

ENTRY = 16


def rings(*, answered: int = 0) -> tuple[BackRing, FrontRing]:
    """Both sides of a ring, in which so many requests were answered before."""
    page = memoryview(bytearray(4096))
    front = FrontRing([page], ENTRY)
    front.produced = front.consumed = answered
    front.set("req_prod", answered)
    front.set("rsp_prod", answered)
    return BackRing([page], ENTRY), front


def test_requests_that_are_not_answered_yet_take_their_places() -> None:
    """Or a guest could have any number of them under way."""
    back, front = rings()
    for number in range(10):
        front.put(bytes([number] * ENTRY))
        assert back.next() == bytes([number] * ENTRY)
    front.set("req_prod", back.size)
    assert back.waiting == back.size - 10
    front.set("req_prod", back.size + 1)
    with pytest.raises(RingFault, match=f"{back.size - 9} new requests and 10 unanswered ones"):
        back.next()
    back.respond(bytes(ENTRY))
    assert back.next() is not None


def test_a_ring_that_was_used_goes_on_where_it_was() -> None:
    for answered in (5, 0xFFFF_FFFF):
        back, front = rings(answered=answered)
        assert back.next() is None
        front.put(b"request".ljust(ENTRY))
        assert back.next() == b"request".ljust(ENTRY)
        back.respond(b"response".ljust(ENTRY))
        back.push()
        assert front.take() == [b"response".ljust(ENTRY)]
        assert (back.waiting, back.unanswered) == (0, 0)
