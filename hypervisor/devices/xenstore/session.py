"""One guest's conversation with xenstore: requests in, replies and watch events out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.xs_wire import XENSTORE_REL_PATH_MAX, XsMessage
from paravane.devices.xenstore.messages import (
    directory,
    directory_part,
    error,
    leading_number,
    one_string,
    reply,
    two_strings,
)
from paravane.devices.xenstore.outbox import Outbox
from paravane.devices.xenstore.tree import Permission, domain_path, valid_path
from paravane.devices.xenstore.watches import Watch
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.abi.xs_wire import XsdSockmsg
    from paravane.devices.bus import Budget
    from paravane.devices.xenstore.access import Access
    from paravane.devices.xenstore.store import Store
    from paravane.devices.xenstore.transaction import Transaction

_OK: Final = b"OK\0"
_REQUEST_UNITS: Final = 16
_BYTES_PER_UNIT: Final = 64
_CALLBACK_UNITS: Final = 16
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
_WITHOUT_PATH: Final = frozenset(
    (
        XsMessage.TRANSACTION_START,
        XsMessage.TRANSACTION_END,
        XsMessage.GET_DOMAIN_PATH,
        XsMessage.RESET_WATCHES,
        *_PRIVILEGED,
    )
)
_WITHOUT_TRANSACTION: Final = frozenset((XsMessage.WATCH, XsMessage.UNWATCH))

log = logging.getLogger(__name__)


class Session:
    """What xenstore keeps for a guest: its watches, its transactions and what it has not fetched yet.

    `ready()` is called when there is something new to fetch. Requests are answered in order, each in two
    steps: `handle` does what is asked, at once and as a whole; `work` then tells everybody who watches what
    has changed, in portions, and answers. Until it has, no other request of this guest may be handled.
    """

    def __init__(self, store: Store, domid: int, ready: Callable[[], None]) -> None:
        self.domid = domid
        self.outbox = Outbox(domid, store.quota.queued_events, ready)
        self.working = False
        self._store = store
        self._home = domain_path(domid) + "/"
        self._watches: dict[tuple[str, bytes], Watch] = {}
        self._transactions: dict[int, Transaction] = {}
        self._next_transaction = 1
        self._announcement = store.announcement()
        self._answer: bytes | None = None
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

    @property
    def accepting(self) -> bool:
        """Whether another request may be handled: a guest that does not fetch its replies has to wait."""
        return not self.working and self.outbox.replies < self._store.quota.requests

    def handle(self, request: XsdSockmsg, payload: bytes) -> int:
        """Do what a request asks; `work` follows. Never raises: what is wrong is answered by name.

        Returns the units of work it took. They are bounded by the quotas on nodes, on one node's size and on
        a transaction, and by the length of a message.
        """
        steps = self._store.steps
        try:
            answer = self._dispatch(request, payload)
        except Refusal as refusal:
            log.debug("domain %d: %s", self.domid, refusal)
            self._answer = error(request, refusal.errno)
            self._tell(request, payload, b"", refusal)
        else:
            self._answer = reply(request, answer) if answer is not None else None
            if answer is not None:
                self._tell(request, payload, answer)
        self._announcement.add(self._store.take_changes())
        self.working = True
        return _REQUEST_UNITS + (self._store.steps - steps) + len(payload) // _BYTES_PER_UNIT

    def work(self, budget: Budget) -> None:
        """Go on with the request that was handled last: done when it is not `working` any more."""
        while self._announcement:
            if budget.exhausted:
                return
            budget.spend(self._announcement.step())
        if self._answer is not None:
            # Only now: a guest that has its answer may rely on events of its own having come before it.
            answer, self._answer = self._answer, None
            self.outbox.reply(answer)
        while self._store.deliver_one():
            budget.spend(_CALLBACK_UNITS)
            # A callback may have closed this session, which nobody would ask to go on then.
            if budget.exhausted and self.working:
                return
        self.working = False

    def event(self, watch: Watch, path: str) -> None:
        """Something that the guest watches has changed."""
        if (watch.path, watch.token) in self._watches:
            if (observer := self._store.observers.store) is not None:
                observer(self.domid, XsMessage.WATCH_EVENT, path, watch.token, 0, b"", None)
            self.outbox.event(path[len(watch.relative) :] if watch.relative else path, watch.token)

    def close(self) -> None:
        """Forget the guest's watches, transactions and messages; others still hear of what it did last."""
        self._forget_watches()
        self._transactions.clear()
        self._answer = None
        self._announcement.finish()
        self._store.deliver()
        self.working = False
        self.outbox.clear()

    def _tell(
        self, request: XsdSockmsg, payload: bytes, answer: bytes, refusal: Refusal | None = None
    ) -> None:
        if (observer := self._store.observers.store) is not None:
            name, _, value = payload.partition(b"\0")
            path = name.decode("latin-1")
            if request.type not in _WITHOUT_PATH:
                path = self._absolute(path)
            observer(self.domid, request.type, path, value, request.tx_id, answer, refusal)

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
        self._store.watches.add(self, watch)
        self._tell(request, payload, _OK)
        self.outbox.reply(reply(request, _OK))
        self.event(watch, path)

    def _unwatch(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        name, token = two_strings(payload)
        path = self._absolute(name.decode("latin-1"))
        watch = self._watches.pop((path, token), None)
        if watch is None:
            raise Refusal(Errno.ENOENT, f"{path[:64]} is not watched with this token")
        self._store.watches.remove(self, watch)
        return _OK

    def _reset(self, access: Access, request: XsdSockmsg, payload: bytes) -> bytes:
        self._forget_watches()
        self._transactions.clear()
        return _OK

    def _forget_watches(self) -> None:
        for watch in self._watches.values():
            self._store.watches.remove(self, watch)
        self._watches.clear()

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
