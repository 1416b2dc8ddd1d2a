"""What a client has not fetched yet: replies in order, and watch events, each once and not too many."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from paravane.abi.xs_wire import XENSTORE_PAYLOAD_MAX, XsMessage
from paravane.devices.xenstore.messages import HEADER_SIZE, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)


class Outbox:
    """Messages for one client. `ready()` is called when there is another one to fetch; `event_bytes` is how
    many bytes of watch events may wait."""

    def __init__(self, domid: int, event_bytes: int, ready: Callable[[], None]) -> None:
        self._domid = domid
        self._event_bytes = event_bytes
        self._ready = ready
        self._messages: deque[tuple[bytes, bool]] = deque()
        self._events: set[bytes] = set()
        self._events_size = 0
        self.replies = 0

    def reply(self, data: bytes) -> None:
        """Queue a whole message that answers a request."""
        self.replies += 1
        self._messages.append((data, False))
        self._ready()

    def event(self, path: str, token: bytes) -> None:
        """Queue a watch event, unless the client has the same one waiting or far too many."""
        payload = path.encode() + b"\0" + token + b"\0"
        if len(payload) > XENSTORE_PAYLOAD_MAX or payload in self._events:
            return
        if self._events_size + len(payload) > self._event_bytes:
            log.debug("domain %d does not fetch its watch events, one is dropped", self._domid)
            return
        self._events.add(payload)
        self._events_size += len(payload)
        self._messages.append((message(XsMessage.WATCH_EVENT, 0, 0, payload), True))
        self._ready()

    def save(self) -> tuple[tuple[bytes, bool], ...]:
        """What waits, in order, and whether each is a watch event."""
        return tuple(self._messages)

    def restore(self, messages: Iterable[tuple[bytes, bool]]) -> None:
        """Have that wait which `save` told of; nobody hears of it."""
        for data, is_event in messages:
            self._messages.append((data, is_event))
            if is_event:
                self._events.add(data[HEADER_SIZE:])
                self._events_size += len(data) - HEADER_SIZE
            else:
                self.replies += 1

    @property
    def empty(self) -> bool:
        return not self._messages

    def fetch(self) -> bytes | None:
        """The next message, None when there is none."""
        if not self._messages:
            return None
        data, is_event = self._messages.popleft()
        if is_event:
            payload = data[HEADER_SIZE:]
            self._events.discard(payload)
            self._events_size -= len(payload)
        else:
            self.replies -= 1
        return data

    def clear(self) -> None:
        """Forget everything that waits."""
        self._messages.clear()
        self._events.clear()
        self.replies = self._events_size = 0
