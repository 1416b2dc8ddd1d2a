"""One guest's conversation with xenstore: requests in, replies and watch events out."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.xs_wire import XENSTORE_PAYLOAD_MAX, XENSTORE_REL_PATH_MAX, XsMessage
from paravane.devices.xenstore.messages import (
    directory,
    directory_part,
    error,
    leading_number,
    message,
    one_string,
    reply,
    two_strings,
)
from paravane.devices.xenstore.store import Watch
from paravane.devices.xenstore.tree import Permission, domain_path, valid_path
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.abi.xs_wire import XsdSockmsg
    from paravane.devices.xenstore.access import Access
    from paravane.devices.xenstore.store import Store
    from paravane.devices.xenstore.transaction import Transaction

_OK: Final = b"OK\0"
_PRIVILEGED: Final = frozenset(
    (
        XsMessage.CONTROL,
        XsMessage.INTRODUCE,
        XsMessage.RELEASE,
        XsMessage.IS_DOMAIN_INTRODUCED,
        XsMessage.RESUME,
        XsMessage.SET_TARGET,
    )
)
_WITHOUT_TRANSACTION: Final = frozenset((XsMessage.WATCH, XsMessage.UNWATCH))

log = logging.getLogger(__name__)


class Session:
    """What xenstore keeps for a guest: its watches, its transactions and what it has not fetched yet.

    `ready()` is called when there is something new to fetch. Requests are answered in order.
    """

    def __init__(self, store: Store, domid: int, ready: Callable[[], None]) -> None:
        self.domid = domid
        self._store = store
        self._ready = ready
        self._home = domain_path(domid) + "/"
        self._watches: dict[tuple[str, bytes], Watch] = {}
        self._transactions: dict[int, Transaction] = {}
        self._next_transaction = 1
        self._replies = 0
        self._output: deque[tuple[bytes, bool]] = deque()
        self._events: set[bytes] = set()
        self._events_size = 0
        self._handlers: dict[int, Callable[[Access, XsdSockmsg, bytes], bytes | None]] = {
            XsMessage.DIRECTORY: self._directory,
            XsMessage.READ: self._read,
            XsMessage.GET_PERMS: self._get_permissions,
            XsMessage.WATCH: self._watch,
            XsMessage.UNWATCH: self._unwatch,
            XsMessage.TRANSACTION_START: self._start,
            XsMessage.TRANSACTION_END: self._end,
            XsMessage.GET_DOMAIN_PATH: self._domain_path,
            XsMessage.WRITE: self._write,
            XsMessage.MKDIR: self._mkdir,
            XsMessage.RM: self._remove,
            XsMessage.SET_PERMS: self._set_permissions,
            XsMessage.RESET_WATCHES: self._reset,
            XsMessage.DIRECTORY_PART: self._directory_part,
        }
        store.add_watcher(self)

    @property
    def watches(self) -> list[Watch]:
        return list(self._watches.values())

    @property
    def accepting(self) -> bool:
        """Whether another request may be handled: a guest that does not fetch its replies has to wait."""
        return self._replies < self._store.quota.requests

    def handle(self, request: XsdSockmsg, payload: bytes) -> None:
        """Do what a request asks and queue its reply. Never raises: what is wrong is answered by name."""
        try:
            answer = self._dispatch(request, payload)
        except Refusal as refusal:
            log.debug("domain %d: %s", self.domid, refusal)
            self._queue_reply(error(request, refusal.errno))
        else:
            if answer is not None:
                self._queue_reply(reply(request, answer))
        self._store.deliver()

    def event(self, watch: Watch, path: str) -> None:
        """Queue a watch event, unless the guest has the same one waiting or far too many."""
        if (watch.path, watch.token) not in self._watches:
            return
        shown = path[len(watch.relative) :] if watch.relative else path
        payload = shown.encode() + b"\0" + watch.token + b"\0"
        if len(payload) > XENSTORE_PAYLOAD_MAX or payload in self._events:
            return
        if self._events_size + len(payload) > self._store.quota.queued_events:
            log.debug("domain %d does not fetch its watch events, one is dropped", self.domid)
            return
        self._events.add(payload)
        self._events_size += len(payload)
        self._output.append((message(XsMessage.WATCH_EVENT, 0, 0, payload), True))
        self._ready()

    def fetch(self) -> bytes | None:
        """The next message for the guest, None when there is none."""
        if not self._output:
            return None
        data, is_event = self._output.popleft()
        if is_event:
            payload = data[16:]
            self._events.discard(payload)
            self._events_size -= len(payload)
        else:
            self._replies -= 1
        return data

    def close(self) -> None:
        """Forget the guest's watches, transactions and messages."""
        self._store.remove_watcher(self)
        self._watches.clear()
        self._transactions.clear()
        self._output.clear()
        self._events.clear()
        self._replies = self._events_size = 0

    def _dispatch(self, request: XsdSockmsg, payload: bytes) -> bytes | None:
        if request.type in _PRIVILEGED:
            raise Refusal(Errno.EACCES, f"request {request.type} is for domain 0")
        handler = self._handlers.get(request.type)
        if handler is None:
            raise Refusal(Errno.ENOSYS, f"there is no request {request.type}")
        transaction = None
        if request.tx_id and request.type not in _WITHOUT_TRANSACTION:
            transaction = self._transactions.get(request.tx_id)
            if transaction is None:
                raise Refusal(Errno.ENOENT, f"there is no transaction {request.tx_id}")
        return handler(self._store.access(self.domid, transaction), request, payload)

    def _queue_reply(self, data: bytes) -> None:
        self._replies += 1
        self._output.append((data, False))
        self._ready()

    def _absolute(self, path: str) -> str:
        return path if path[:1] in ("/", "@") else self._home + path

    def _path(self, payload: bytes) -> str:
        return self._absolute(one_string(payload))

    # The requests.

    def _directory(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        return directory(access.directory(self._path(payload)))

    def _directory_part(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        path, offset = two_strings(payload)
        node = access.directory(self._absolute(path.decode("latin-1")))
        return directory_part(node, leading_number(offset))

    def _read(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        return access.read(self._path(payload))

    def _write(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        path, separator, value = payload.partition(b"\0")
        if not separator:
            raise Refusal(Errno.EINVAL, "the payload has no path")
        access.write(self._absolute(path.decode("latin-1")), value)
        return _OK

    def _mkdir(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        access.mkdir(self._path(payload))
        return _OK

    def _remove(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        access.remove(self._path(payload))
        return _OK

    def _get_permissions(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        permissions = access.permissions(self._path(payload))
        return b"".join(str(permission).encode() + b"\0" for permission in permissions)

    def _set_permissions(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        strings = payload.split(b"\0")[:-1]
        if len(strings) < 2:
            raise Refusal(Errno.EINVAL, "the payload has no path and permissions")
        if len(strings) - 1 > self._store.quota.permissions:
            raise Refusal(Errno.ENOSPC, f"{len(strings) - 1} permissions are too many for one node")
        path = strings[0].decode("latin-1")
        permissions = tuple(Permission.parse(text.decode("latin-1")) for text in strings[1:])
        if path.startswith("@"):
            raise Refusal(Errno.EACCES, f"the permissions of {path[:64]} are for domain 0")
        access.set_permissions(self._absolute(path), permissions)
        return _OK

    def _watch(self, access: Access, request: XsdSockmsg, payload: bytes) -> None:
        """Answered here, because the reply comes before the event that every new watch gives."""
        name, token = two_strings(payload)
        path = name.decode("latin-1")
        special = path.startswith("@")
        relative = "" if special or path.startswith("/") else self._home
        path = self._absolute(path)
        if len(path) > XENSTORE_REL_PATH_MAX if special else not valid_path(path):
            raise Refusal(Errno.EINVAL, f"{path[:64]!r} cannot be watched")
        if (path, token) in self._watches:
            raise Refusal(Errno.EEXIST, f"{path[:64]} is watched already with this token")
        # One more than the quota says, as xenstored counts.
        if len(self._watches) > self._store.quota.watches:
            raise Refusal(Errno.E2BIG, f"domain {self.domid} has {len(self._watches)} watches")
        watch = self._watches[path, token] = Watch(path, token, relative)
        self._queue_reply(reply(request, _OK))
        self.event(watch, path)

    def _unwatch(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        name, token = two_strings(payload)
        path = self._absolute(name.decode("latin-1"))
        if self._watches.pop((path, token), None) is None:
            raise Refusal(Errno.ENOENT, f"{path[:64]} is not watched with this token")
        return _OK

    def _reset(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        self._watches.clear()
        self._transactions.clear()
        return _OK

    def _start(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        if request.tx_id:
            raise Refusal(Errno.EBUSY, "a transaction cannot be started inside another")
        # One more than the quota says, as xenstored counts.
        if len(self._transactions) > self._store.quota.transactions:
            raise Refusal(Errno.ENOSPC, f"domain {self.domid} has {len(self._transactions)} transactions")
        while self._next_transaction in self._transactions:
            self._next_transaction = self._next_transaction % 0xFFFF_FFFF + 1
        number = self._next_transaction
        self._next_transaction = number % 0xFFFF_FFFF + 1
        self._transactions[number] = self._store.transaction(self.domid)
        return b"%d\0" % number

    def _end(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        decision = one_string(payload)
        if decision not in ("T", "F"):
            raise Refusal(Errno.EINVAL, f"a transaction ends with T or F, not {decision[:16]!r}")
        transaction = self._transactions.pop(request.tx_id, None)
        if transaction is None:
            raise Refusal(Errno.ENOENT, "there is no transaction to end")
        if decision == "T":
            transaction.commit()
        return _OK

    def _domain_path(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        number = leading_number(one_string(payload).encode("latin-1"))
        return domain_path(number).encode() + b"\0"
