"""A transaction: changes that become visible together, or not at all."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.classes import dataclass
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.devices.xenstore.tree import Node, Permission
    from paravane.devices.xenstore.view import LiveTree


@dataclass(slots=True)
class Touched:
    """One node the transaction looked at: as it was then, as it is for the transaction now; `changed_size` is
    what counts for the latter."""

    before: Node | None
    now: Node | None
    changed_size: int = 0
    modified: bool = False
    fires: bool = False
    exact: bool = False


@dataclass(frozen=True, slots=True)
class TransactionState:
    """All that has to be kept of a transaction: the nodes it looked at, by path, by how many each domain has
    more nodes in it, whether it made one, whether it can only fail, at which generation it began, and the
    bytes that it keeps."""

    touched: dict[str, Touched]
    entries: dict[int, int]
    created: bool
    failed: bool
    start: int
    size: int


class Held:
    """Bytes that the open transactions of one client keep: nodes as they were, and as they are to be."""

    def __init__(self, limit: int | None = None) -> None:
        """`limit` is the most there may be (None: any number)."""
        self.size = 0
        self._limit = limit

    @property
    def counts(self) -> bool:
        """Whether there is a limit, so that sizes have to be known."""
        return self._limit is not None

    def add(self, size: int) -> None:
        """Raises Refusal(ENOMEM), and keeps nothing more, when that were too many."""
        if self._limit is not None and size > 0 and self.size + size > self._limit:
            raise Refusal(
                Errno.ENOMEM, f"its transactions keep {self.size} bytes, and {size} more are too many"
            )
        self.size += size


class Transaction:
    """A view of the store that nobody else sees until it is committed. Close it, committed or not.

    A node is taken over from the live tree when the transaction first looks at it. Commit fails with EAGAIN
    if any of these nodes has changed since: what is committed could have been done in that one moment.
    """

    def __init__(
        self, tree: LiveTree, domid: int, held: Held | None = None, state: TransactionState | None = None
    ) -> None:
        """`held` counts what all transactions of the same client keep. `state`: go on from what `save`
        gave."""
        self._tree = tree
        self._domid = domid
        self._held = held or Held()
        self._size = 0
        self._touched: dict[str, Touched] = {}
        self._entries: Counter[int] = Counter()
        self._created = False
        self._failed = False
        if state is None:
            self._start = tree.next_generation()
            return
        self._touched, self._entries = dict(state.touched), Counter(state.entries)
        self._created, self._failed = state.created, state.failed
        self._start, self._size = state.start, state.size
        self._held.size += state.size

    @property
    def touched(self) -> bool:
        """Whether it has looked at any node."""
        return bool(self._touched)

    def save(self) -> TransactionState:
        """What a later transaction goes on from."""
        return TransactionState(
            self._touched, dict(self._entries), self._created, self._failed, self._start, self._size
        )

    def get(self, path: str) -> Node | None:
        return self._touch(path).now

    def put(self, path: str, node: Node) -> None:
        touched = self._touch(path)
        if self._held.counts:
            self._keep(node.size - touched.changed_size)
            touched.changed_size = node.size
        if touched.now is None:
            self._created = True
        else:
            self._entries[touched.now.owner] -= 1
        self._entries[node.owner] += 1
        touched.now, touched.modified = node._replace(generation=self._tree.next_generation()), True

    def delete(self, path: str) -> None:
        touched = self._touch(path)
        if touched.now is not None:
            self._entries[touched.now.owner] -= 1
        touched.now, touched.modified = None, True

    def entries(self, domid: int) -> int:
        return self._tree.entries(domid) + self._entries[domid]

    def fire(
        self, path: str, node: Node | None, *, exact: bool = False, old: Sequence[Permission] = ()
    ) -> None:
        """Remember to tell watches on commit. One event for a path is enough, and the wider one wins."""
        touched = self._touch(path)
        touched.exact = exact and (touched.exact or not touched.fires)
        touched.fires = True

    def commit(self) -> None:
        """Make the changes visible. Raises Refusal: EAGAIN after a conflict, ENOSPC for a quota that has been
        used up meanwhile, ENOMEM when the transaction had become too large. Nothing has changed then."""
        if self._failed:
            raise Refusal(Errno.ENOMEM, f"the transaction of domain {self._domid} had failed before its end")
        # One less than outside a transaction, as xenstored counts here.
        if self._created and self._domid and self.entries(self._domid) >= self._tree.rights.quota.nodes:
            raise Refusal(Errno.ENOSPC, f"domain {self._domid} has used up its nodes meanwhile")
        for path, touched in self._touched.items():
            if _generation(self._tree.get(path)) != _generation(touched.before):
                raise Refusal(Errno.EAGAIN, f"{path} has changed during the transaction")
        changes = [(path, touched) for path, touched in self._touched.items() if touched.modified]
        for path, touched in changes:
            if touched.now is not None:
                permissions = self._tree.rights.current(touched.now.permissions, self._start)
                self._tree.put(path, touched.now._replace(permissions=permissions))
            elif touched.before is not None:
                self._tree.delete(path)
        for path, touched in changes:
            if touched.fires:
                old = touched.before.permissions if touched.before is not None else ()
                self._tree.fire(path, touched.now, exact=touched.exact, old=old)

    def close(self) -> None:
        """Keep nothing any more. Idempotent."""
        self._held.size -= self._size
        self._size = 0
        self._touched.clear()

    def _keep(self, size: int) -> None:
        """Count bytes that are kept from now on. Raises Refusal(ENOMEM), after which there is no commit."""
        try:
            self._held.add(size)
        except Refusal:
            self._failed = True
            raise
        self._size += size

    def _touch(self, path: str) -> Touched:
        self._tree.steps += 1
        touched = self._touched.get(path)
        if touched is None:
            if self._domid and len(self._touched) >= self._tree.rights.quota.transaction_nodes:
                self._failed = True
                raise Refusal(Errno.ENOSPC, f"a transaction of domain {self._domid} touches too many nodes")
            node = self._tree.get(path)
            if node is not None and self._held.counts:
                self._keep(node.size)
            touched = self._touched[path] = Touched(node, node)
        return touched


def _generation(node: Node | None) -> int | None:
    return None if node is None else node.generation
