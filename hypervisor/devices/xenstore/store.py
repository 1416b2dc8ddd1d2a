"""The tree of xenstore, who may do what to it, and who hears of changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from paravane.abi.errno import Errno
from paravane.devices.xenstore.access import Access
from paravane.devices.xenstore.transaction import Transaction
from paravane.devices.xenstore.tree import (
    FULL,
    ROOT,
    Node,
    Permission,
    Right,
    is_child,
    join,
    parent_of,
    valid_path,
)
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

INTRODUCE: Final = "@introduceDomain"
RELEASE: Final = "@releaseDomain"


@dataclass(frozen=True, slots=True)
class Quota:
    """What one guest may have; xenstored's defaults. Sizes are bytes."""

    nodes: int = 1000
    node_size: int = 2048
    permissions: int = 5
    watches: int = 128
    transactions: int = 10
    transaction_nodes: int = 1024
    requests: int = 20
    queued_events: int = 2 << 20


class Watch(NamedTuple):
    """`path`: absolute, or a special `@` event. `relative`: what event paths leave away at their front."""

    path: str
    token: bytes
    relative: str = ""


class Watcher(Protocol):
    """Someone with watches: a guest's session, or a watch of the host."""

    @property
    def domid(self) -> int: ...
    @property
    def watches(self) -> Iterable[Watch]: ...
    def event(self, watch: Watch, path: str) -> None: ...


class Rights:
    """Who may do what: the domains there are, and what a node's permissions mean for them."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self._since: dict[int, int] = {0: 0}

    def add(self, domid: int, generation: int) -> None:
        self._since[domid] = generation

    def remove(self, domid: int) -> None:
        self._since.pop(domid, None)

    def known(self, domid: int) -> bool:
        return domid in self._since

    def current(self, permissions: tuple[Permission, ...], generation: int) -> tuple[Permission, ...]:
        """Without the entries for domains that came after `generation`: those meant an earlier domain."""
        kept = [entry for entry in permissions[1:] if self._since.get(entry.domid, 0) <= generation]
        return (permissions[0], *kept)

    def of(self, domid: int, permissions: Sequence[Permission]) -> Right:
        """The rights of a domain to a node with these permissions: the first entry that names it counts."""
        if domid == 0 or permissions[0].domid == domid:
            return FULL
        for permission in permissions[1:]:
            if permission.domid == domid:
                return permission.right
        return permissions[0].right


class HostWatch:
    """A watch of a backend or the toolstack: a callback instead of messages."""

    domid = 0

    def __init__(self, store: Store, path: str, callback: Callable[[str], None]) -> None:
        self._store = store
        self._callback = callback
        self.watches = [Watch(path, b"")]

    def event(self, watch: Watch, path: str) -> None:
        self._store.later(self, path)

    def call(self, path: str) -> None:
        if self.watches:
            self._callback(path)

    def close(self) -> None:
        """Hear of nothing any more, not even of what has happened already."""
        self.watches = []
        self._store.remove_watcher(self)


class Store:
    """The live tree (a `View`), its domains and watchers. The methods with simple names are the host's, which
    may do everything; guests come through `access`."""

    def __init__(self, quota: Quota | None = None) -> None:
        self.quota = quota or Quota()
        self.rights = Rights(self.quota)
        self._generation = 0
        self._entries: Counter[int] = Counter({0: 1})
        self._watchers: list[Watcher] = []
        self._events: dict[tuple[HostWatch, str], None] = {}
        self._delivering = False
        self._nodes: dict[str, Node] = {ROOT: Node(b"", (Permission(0, Right.NONE),))}
        self._host = Access(self, self.rights, 0)
        self._host.mkdir("/tool/xenstored")

    # The host's operations.

    def read(self, path: str) -> bytes:
        """The value of a node. Raises Refusal(ENOENT)."""
        return self._host.read(path)

    def find(self, path: str) -> bytes | None:
        """The value of a node, None without it."""
        node = self._nodes.get(path)
        return None if node is None else node.value

    def directory(self, path: str) -> tuple[str, ...]:
        """The names of a node's children in the order they came. Raises Refusal(ENOENT)."""
        return self._host.directory(path).children

    def write(self, path: str, value: bytes | str | int) -> None:
        """Set a node, creating it and its missing ancestors."""
        self._host.write(path, value if isinstance(value, bytes) else str(value).encode())
        self.deliver()

    def make(self, path: str, *permissions: str) -> None:
        """Make sure a node exists, with these permissions (such as "n0", "r5") if any are given."""
        self._host.mkdir(path)
        if permissions:
            self._host.set_permissions(path, tuple(map(Permission.parse, permissions)))
        self.deliver()

    def remove(self, path: str) -> None:
        """Delete a node and all below it; missing is fine as long as its parent exists."""
        self._host.remove(path)
        self.deliver()

    def permissions(self, path: str) -> tuple[Permission, ...]:
        return self._host.permissions(path)

    def watch(self, path: str, callback: Callable[[str], None]) -> HostWatch:
        """Call back with the path of every change at or below `path`, and once at once with `path` itself.

        Callbacks run one after the other when the change is complete. They may use the store, but not raise.
        """
        if not path.startswith("@") and not valid_path(path):
            raise Refusal(Errno.EINVAL, f"{path[:64]!r} cannot be watched")
        watch = HostWatch(self, path, callback)
        self.add_watcher(watch)
        watch.event(watch.watches[0], path)
        self.deliver()
        return watch

    # Domains.

    def add_domain(self, domid: int) -> None:
        """A domain is there from now on. What permissions say of its id so far meant another domain: a new
        domain inherits nothing from a dead one."""
        self.rights.add(domid, self.next_generation())
        for path, node in list(self._nodes.items()):
            if any(entry.domid == domid for entry in node.permissions[1:]):
                self.put(path, node._replace(permissions=self.rights.current(node.permissions, 0)))

    def introduce(self, domid: int) -> None:
        """Tell who waits for it that a domain can use xenstore."""
        self.fire(INTRODUCE, None)
        self.deliver()

    def remove_domain(self, domid: int) -> None:
        """A domain is gone: delete the nodes it owns, with all below them, and announce it."""
        if not self.rights.known(domid):
            return
        for path in [path for path, node in self._nodes.items() if node.owner == domid]:
            if path in self._nodes:
                self._host.remove(path)
        self.rights.remove(domid)
        self.fire(RELEASE, None)
        self.deliver()

    # For sessions: what a guest sees and hears.

    def access(self, domid: int, transaction: Transaction | None = None) -> Access:
        """The operations as that domain may do them, inside a transaction if one is given."""
        return Access(transaction or self, self.rights, domid)

    def transaction(self, domid: int) -> Transaction:
        return Transaction(self, domid)

    def add_watcher(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def remove_watcher(self, watcher: Watcher) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def later(self, watch: HostWatch, path: str) -> None:
        """Queue a host event. One that waits already tells the same: guests cannot make the queue long."""
        self._events[watch, path] = None

    def deliver(self) -> None:
        """Run the callbacks of what has happened, and of what they do to the store themselves."""
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._events:
                watch, path = next(iter(self._events))
                del self._events[watch, path]
                watch.call(path)
        finally:
            self._delivering = False

    # The view of the live tree.

    def get(self, path: str) -> Node | None:
        return self._nodes.get(path)

    def put(self, path: str, node: Node) -> None:
        old = self._nodes.get(path)
        if old is not None:
            self._entries[old.owner] -= 1
        self._entries[node.owner] += 1
        self._nodes[path] = node._replace(generation=self.next_generation())

    def delete(self, path: str) -> None:
        self._entries[self._nodes.pop(path).owner] -= 1
        self.next_generation()

    def entries(self, domid: int) -> int:
        """How many nodes a domain owns."""
        return self._entries[domid]

    def next_generation(self) -> int:
        self._generation += 1
        return self._generation

    def fire(
        self, path: str, node: Node | None, *, exact: bool = False, old: Sequence[Permission] = ()
    ) -> None:
        """Tell the watchers of a changed node that may know. `exact`: only watches of that very path."""
        for watcher in list(self._watchers):
            told = [
                watch
                for watch in watcher.watches
                if (watch.path == path if exact else is_child(path, watch.path))
            ]
            # Rights are looked up last: most watchers watch something else.
            if told and self._may_hear(watcher.domid, path, node, old):
                for watch in told:
                    watcher.event(watch, path)

    def _may_hear(self, domid: int, path: str, node: Node | None, old: Sequence[Permission]) -> bool:
        """A guest may if it can read the node, could read it before, or can read its parent."""
        if domid == 0:
            return True
        if path.startswith("@"):
            return False
        if old and self.rights.of(domid, old) & Right.READ:
            return True
        if node is None:
            return False
        if self.rights.of(domid, node.permissions) & Right.READ:
            return True
        parent = self._nodes.get(parent_of(path)) if path != ROOT else None
        return parent is not None and bool(self.rights.of(domid, parent.permissions) & Right.READ)

    def paths(self) -> list[str]:
        """Every path there is, parents first."""
        found = []
        stack = [ROOT]
        while stack:
            path = stack.pop()
            found.append(path)
            stack.extend(join(path, name) for name in reversed(self._nodes[path].children))
        return found
