"""The requests of the control side, about domains and about xenstore itself. They are for domain 0 alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.xs_wire import XsMessage
from paravane.devices.xenstore.control import control
from paravane.devices.xenstore.messages import leading_number, one_string, strings
from paravane.devices.xenstore.tree_requests import OK
from paravane.refusal import Refusal
from paravane.registry import CONTROL_DOMID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paravane.devices.xenstore.store import Introduced, Store

_LARGEST_INT: Final = 0x7FFF_FFFF


def _introduce(store: Store, payload: bytes) -> bytes:
    """Domain, frame (which the grant table says better), port."""
    domid, _, port = _numbers(payload, 3)
    if not 0 < port <= _LARGEST_INT:
        raise Refusal(Errno.EINVAL, "a port is a positive number")
    store.introduce_again(domid, port)
    return OK


def _release(store: Store, payload: bytes) -> bytes:
    _connected(store, _domid(payload)).release()
    return OK


def _is_introduced(store: Store, payload: bytes) -> bytes:
    domid = leading_number(one_string(payload).encode("latin-1"))
    # As xenstored: the control domain has introduced itself, and so has whoever means himself.
    known = domid in (CONTROL_DOMID, DomId.SELF) or store.introduced(domid) is not None
    return b"T\0" if known else b"F\0"


def _resume(store: Store, payload: bytes) -> bytes:
    domid = _domid(payload)
    _connected(store, domid)
    store.resume(domid)
    return OK


def _set_target(store: Store, payload: bytes) -> bytes:
    domid, target = _numbers(payload, 2)
    for number in (domid, target):
        if number != CONTROL_DOMID:
            _connected(store, number)
    store.rights.set_target(domid, target)
    return OK


DOMAIN_REQUESTS: Final[Mapping[int, Callable[[Store, bytes], bytes]]] = {
    XsMessage.CONTROL: control,
    XsMessage.INTRODUCE: _introduce,
    XsMessage.RELEASE: _release,
    XsMessage.IS_DOMAIN_INTRODUCED: _is_introduced,
    XsMessage.RESUME: _resume,
    XsMessage.SET_TARGET: _set_target,
}
"""Each does what a payload asks, gives the answer's payload, and raises Refusal."""


def _numbers(payload: bytes, count: int) -> list[int]:
    """The numbers at the front of a payload. Raises Refusal(EINVAL) when they are fewer."""
    found = [leading_number(text) for text in strings(payload)[:count]]
    if len(found) < count:
        raise Refusal(Errno.EINVAL, f"the payload has {len(found)} strings, not {count}")
    return found


def _domid(payload: bytes) -> int:
    """The one domain that a payload names, which is not the control domain. Raises Refusal(EINVAL)."""
    domid = leading_number(one_string(payload).encode("latin-1"))
    if domid == CONTROL_DOMID:
        raise Refusal(Errno.EINVAL, "that cannot be asked for domain 0")
    return domid


def _connected(store: Store, domid: int) -> Introduced:
    """The connection of a domain. Raises Refusal(ENOENT) for one that has not been introduced."""
    found = store.introduced(domid)
    if found is None:
        raise Refusal(Errno.ENOENT, f"domain {domid} has not been introduced")
    return found
