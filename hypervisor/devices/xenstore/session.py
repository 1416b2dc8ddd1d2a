"""One client's conversation with xenstore: requests in, replies and watch events out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.xs_wire import XENSTORE_REL_PATH_MAX, XsMessage
from paravane.classes import dataclass
from paravane.devices.xenstore.domain_requests import DOMAIN_REQUESTS
from paravane.devices.xenstore.messages import (
    error,
    leading_number,
    one_string,
    reply,
    two_strings,
    watch_strings,
)
from paravane.devices.xenstore.outbox import Outbox
from paravane.devices.xenstore.transaction import Held, Transaction, TransactionState
from paravane.devices.xenstore.tree import domain_path, valid_path
from paravane.devices.xenstore.tree_requests import OK, TREE_REQUESTS
from paravane.devices.xenstore.watches import Watch
from paravane.refusal import Refusal
from paravane.registry import CONTROL_DOMID

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.abi.xs_wire import XsdSockmsg
    from paravane.devices.bus import Budget
    from paravane.devices.xenstore.rights import Quota
    from paravane.devices.xenstore.store import Store

_REQUEST_UNITS: Final = 16
_BYTES_PER_UNIT: Final = 64
_CALLBACK_UNITS: Final = 16
_WITHOUT_PATH: Final = frozenset(
    (
        XsMessage.TRANSACTION_START,
        XsMessage.TRANSACTION_END,
        XsMessage.GET_DOMAIN_PATH,
        XsMessage.RESET_WATCHES,
        *DOMAIN_REQUESTS,
    )
)
_WITHOUT_TRANSACTION: Final = frozenset((XsMessage.WATCH, XsMessage.UNWATCH))

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SessionState:
    """All that has to be kept of a session: its watches, each with its place among all there are, its
    transactions, what waits to be fetched, the number of the next transaction, and the answer that is still
    to be given."""

    watches: tuple[tuple[str, bytes, str, int | None, int], ...]
    transactions: dict[int, TransactionState]
    messages: tuple[tuple[bytes, bool], ...]
    next_transaction: int
    answer: bytes | None
    working: bool


class Session:
    """What xenstore keeps for a client: its watches, its transactions and what it has not fetched yet.

    `ready()` is called when there is something new to fetch. Requests are answered in order, each in two
    steps: `handle` does what is asked, at once and as a whole; `work` then tells everybody who watches what
    has changed, in portions, and answers. Until it has, no other request of this client may be handled.
    """

    def __init__(
        self, store: Store, domid: int, ready: Callable[[], None], limits: Quota | None = None
    ) -> None:
        """`limits` are for a client that is under no quota of the store's: the host's own programs."""
        self.domid = domid
        self.working = False
        self._store = store
        self._limits = limits
        self.outbox = Outbox(domid, self.limits.queued_events, ready)
        self._home = domain_path(domid) + "/"
        self._watches: dict[tuple[str, bytes], Watch] = {}
        self._transactions: dict[int, Transaction] = {}
        self._held = Held(None if domid == CONTROL_DOMID else store.quota.transaction_memory)
        self._next_transaction = 1
        self._announcement = store.announcement()
        self._answer: bytes | None = None
        self._handlers: dict[int, Callable[[XsdSockmsg, bytes], bytes | None]] = {
            XsMessage.WATCH: self._watch,
            XsMessage.UNWATCH: self._unwatch,
            XsMessage.RESET_WATCHES: self._reset,
            XsMessage.TRANSACTION_START: self._start,
            XsMessage.TRANSACTION_END: self._end,
            XsMessage.GET_DOMAIN_PATH: self._domain_path,
        }

    def save(self) -> SessionState:
        """What `restore` goes on from. Raises ValueError, a sentence, in the middle of an answer, of which
        not all can be kept."""
        if self._announcement:
            raise ValueError(f"xenstore is in the middle of an answer to domain {self.domid}")
        index = self._store.watches
        return SessionState(
            tuple((*watch, index.place(self, watch)) for watch in self._watches.values()),
            {number: transaction.save() for number, transaction in self._transactions.items()},
            self.outbox.save(),
            self._next_transaction,
            self._answer,
            self.working,
        )

    def restore(self, state: SessionState) -> None:
        """Go on from what `save` gave, in a session that is new."""
        for path, token, relative, depth, place in state.watches:
            watch = self._watches[path, token] = Watch(path, token, relative, depth)
            self._store.watches.put(self, watch, place)
        for number, kept in state.transactions.items():
            self._transactions[number] = Transaction(self._store, self.domid, self._held, kept)
        self.outbox.restore(state.messages)
        self._next_transaction = state.next_transaction
        self._answer, self.working = state.answer, state.working

    @property
    def limits(self) -> Quota:
        """What counts for this client now."""
        return self._limits or self._store.quota

    @property
    def accepting(self) -> bool:
        """Whether another request may be handled: a client that does not fetch its replies has to wait."""
        return not self.working and self.outbox.replies < self.limits.requests

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
            # Only now: a client that has its answer may rely on events of its own having come before it.
            answer, self._answer = self._answer, None
            self.outbox.reply(answer)
        while self._store.deliver_one():
            budget.spend(_CALLBACK_UNITS)
            # A callback may have closed this session, which nobody would ask to go on then.
            if budget.exhausted and self.working:
                return
        self.working = False

    def event(self, watch: Watch, path: str) -> None:
        """Something that the client watches has changed."""
        if (watch.path, watch.token) in self._watches:
            if (observer := self._store.observers.store) is not None:
                observer(self.domid, XsMessage.WATCH_EVENT, path, watch.token, 0, b"", None)
            self.outbox.event(path[len(watch.relative) :] if watch.relative else path, watch.token)

    def in_use(self) -> dict[str, int]:
        """How many watches, transactions and unread replies (`outstanding`) the client has."""
        return {
            "watches": len(self._watches),
            "transactions": len(self._transactions),
            "outstanding": self.outbox.replies,
        }

    def close(self) -> None:
        """Forget the client's watches, transactions and messages; others still hear of what it did last."""
        self.reset()
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
        """In the order of xenstored's checks."""
        kind = request.type
        if kind in DOMAIN_REQUESTS and self.domid != CONTROL_DOMID:
            raise Refusal(Errno.EACCES, f"request {kind} is for domain 0")
        if kind not in DOMAIN_REQUESTS and kind not in TREE_REQUESTS and kind not in self._handlers:
            raise Refusal(Errno.ENOSYS, f"there is no request {kind}")
        transaction = self._transaction(request)
        if kind in TREE_REQUESTS:
            access = self._store.access(self.domid, transaction)
            return TREE_REQUESTS[kind](access, self._absolute, payload)
        if kind in DOMAIN_REQUESTS:
            return DOMAIN_REQUESTS[kind](self._store, payload)
        return self._handlers[kind](request, payload)

    def _transaction(self, request: XsdSockmsg) -> Transaction | None:
        """The transaction that a request is part of. Raises Refusal(ENOENT) when there is no such one."""
        if not request.tx_id or request.type in _WITHOUT_TRANSACTION:
            return None
        transaction = self._transactions.get(request.tx_id)
        if transaction is None:
            raise Refusal(Errno.ENOENT, f"there is no transaction {request.tx_id}")
        return transaction

    def _absolute(self, path: str) -> str:
        return path if path[:1] in ("/", "@") else self._home + path

    # The requests that are not about the tree alone.

    def _watch(self, request: XsdSockmsg, payload: bytes) -> None:
        """Answered here, because the reply comes before the event that every new watch gives."""
        name, token, depth = watch_strings(payload)
        path = name.decode("latin-1")
        special = path.startswith("@")
        relative = "" if special or path.startswith("/") else self._home
        path = self._absolute(path)
        if len(path) > XENSTORE_REL_PATH_MAX if special else not valid_path(path):
            raise Refusal(Errno.EINVAL, f"{path[:64]!r} cannot be watched")
        if (path, token) in self._watches:
            raise Refusal(Errno.EEXIST, f"{path[:64]} is watched already with this token")
        # One more than the quota says, as xenstored counts.
        if len(self._watches) > self.limits.watches:
            raise Refusal(Errno.E2BIG, f"domain {self.domid} has {len(self._watches)} watches")
        watch = self._watches[path, token] = Watch(path, token, relative, depth)
        self._store.watches.add(self, watch)
        self._tell(request, payload, OK)
        self.outbox.reply(reply(request, OK))
        self.event(watch, path)

    def _unwatch(self, request: XsdSockmsg, payload: bytes) -> bytes:
        name, token = two_strings(payload)
        path = self._absolute(name.decode("latin-1"))
        watch = self._watches.pop((path, token), None)
        if watch is None:
            raise Refusal(Errno.ENOENT, f"{path[:64]} is not watched with this token")
        self._store.watches.remove(self, watch)
        return OK

    def _reset(self, request: XsdSockmsg, payload: bytes) -> bytes:
        self.reset()
        return OK

    def reset(self) -> None:
        """Forget the client's watches and transactions."""
        for transaction in self._transactions.values():
            transaction.close()
        self._transactions.clear()
        for watch in self._watches.values():
            self._store.watches.remove(self, watch)
        self._watches.clear()

    def _start(self, request: XsdSockmsg, payload: bytes) -> bytes:
        if request.tx_id:
            raise Refusal(Errno.EBUSY, "a transaction cannot be started inside another")
        # One more than the quota says, as xenstored counts.
        if len(self._transactions) > self.limits.transactions:
            raise Refusal(Errno.ENOSPC, f"domain {self.domid} has {len(self._transactions)} transactions")
        while self._next_transaction in self._transactions:
            self._next_transaction = self._next_transaction % 0xFFFF_FFFF + 1
        number = self._next_transaction
        self._next_transaction = number % 0xFFFF_FFFF + 1
        self._transactions[number] = self._store.transaction(self.domid, self._held)
        return b"%d\0" % number

    def _end(self, request: XsdSockmsg, payload: bytes) -> bytes:
        decision = one_string(payload)
        if decision not in ("T", "F"):
            raise Refusal(Errno.EINVAL, f"a transaction ends with T or F, not {decision[:16]!r}")
        transaction = self._transactions.pop(request.tx_id, None)
        if transaction is None:
            raise Refusal(Errno.ENOENT, "there is no transaction to end")
        try:
            if decision == "T":
                conflicts = self._store.conflicts
                if conflicts is not None and transaction.touched and conflicts(self.domid):
                    raise Refusal(Errno.EAGAIN, "injected: a conflict with somebody else's change")
                transaction.commit()
        finally:
            transaction.close()
        return OK

    def _domain_path(self, request: XsdSockmsg, payload: bytes) -> bytes:
        number = leading_number(one_string(payload).encode("latin-1"))
        return domain_path(number).encode() + b"\0"
