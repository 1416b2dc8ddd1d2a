"""The live tree of xenstore: its nodes, its domains, and the host's own operations and watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.errno import Errno
from paravane.classes import dataclass
from paravane.devices.observers import DeviceObservers
from paravane.devices.xenstore.access import Access
from paravane.devices.xenstore.host_watches import HostWatch, HostWatches
from paravane.devices.xenstore.node_index import IndexState, NodeIndex
from paravane.devices.xenstore.rights import INTRODUCE, RELEASE, Quota, Rights
from paravane.devices.xenstore.transaction import Held, Transaction
from paravane.devices.xenstore.tree import ROOT, Node, Permission, Right, join, parent_of, valid_path
from paravane.devices.xenstore.watches import Announcement, Change, WatchIndex
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


class Introduced(Protocol):
    """The connection of a domain that has been introduced."""

    def in_use(self) -> dict[str, int]:
        """How many watches, transactions and unread replies (`outstanding`) it has."""
        ...

    def release(self) -> None:
        """Forget the domain, as if it were gone."""
        ...


_MOST_WATCHES: Final = 1 << 62
"""No machine sets so many, one after the other."""


@dataclass(frozen=True, slots=True)
class StoreState:
    """All that has to be kept of the tree: nodes by path, how often it was changed, at which of these changes
    each domain came, and who hears of special events; whose rights domains have besides their own, in which
    order the nodes of each are dealt with, what each may have, and which have shut down. Sessions and watches
    are their owners' to keep."""

    nodes: dict[str, Node]
    generation: int
    since: dict[int, int]
    special: Mapping[str, tuple[Permission, ...]]
    targets: dict[int, int]
    index: IndexState
    quota: Quota
    shut_down: frozenset[int]


class Store:
    """The live tree (a `LiveTree`). The methods with simple names are the host's, which may do everything and
    are complete when they return; guests come through `access`, in portions."""

    def __init__(
        self,
        quota: Quota | None = None,
        state: StoreState | None = None,
        observers: DeviceObservers | None = None,
    ) -> None:
        """Raises ValueError, a sentence, for a state of nodes that are no tree."""
        self.observers = observers or DeviceObservers()
        self.conflicts: Callable[[int], bool] | None = None
        """Asked whether a domain's transaction is to fail though nobody else has changed anything."""
        self.rights = Rights(quota or Quota())
        self.watches = WatchIndex()
        self.steps = 0
        self._changes: list[Change] = []
        self._host_watches = HostWatches(self.watches)
        self._host = Access(self, self.rights, 0)
        self._introduced: dict[int, Introduced] = {}
        self._shut_down: set[int] = set()
        self.introduce_again: Callable[[int, int], None] = _nobody_introduces
        self._nodes = {ROOT: Node(b"", (Permission(0, Right.NONE),))}
        self._generation = 0
        self._index = NodeIndex(self._nodes)
        if state is None:
            self._host.mkdir("/tool/xenstored")
        else:
            self.restore(state)

    def save(self) -> StoreState:
        """What a later `Store` goes on from."""
        rights = self.rights
        return StoreState(
            dict(self._nodes),
            self._generation,
            dict(rights.since),
            dict(rights.special),
            dict(rights.targets),
            self._index.save(),
            rights.quota,
            frozenset(self._shut_down),
        )

    def restore(self, state: StoreState) -> None:
        """Be the tree that `save` told of. Raises ValueError, a sentence, for nodes that are no tree."""
        self.rights = Rights(state.quota, state.since, state.targets)
        self.rights.special |= state.special
        self._host = Access(self, self.rights, 0)
        self._nodes, self._generation = dict(state.nodes), state.generation
        self._check_tree()
        self._index = NodeIndex(self._nodes)
        self._index.restore(state.index)
        self._shut_down = set(state.shut_down)

    def resume_connection(self, domid: int, connection: Introduced) -> None:
        """A domain that was introduced before all was kept has its connection again: nobody hears of that."""
        self._introduced[domid] = connection

    @property
    def quota(self) -> Quota:
        """What each guest may have, from now on."""
        return self.rights.quota

    @quota.setter
    def quota(self, quota: Quota) -> None:
        self.rights.quota = quota

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
        watch = self._host_watches.add(path, callback)
        self.deliver()
        return watch

    def resume_watch(self, path: str, callback: Callable[[str], None], place: int) -> HostWatch:
        """A watch of the host's that was set before all was kept. Raises ValueError for what is no path."""
        if not valid_path(path) or not 0 <= place < _MOST_WATCHES:
            raise ValueError(f"{path[:64]!r} was not watched")
        return self._host_watches.resume(path, callback, place)

    @property
    def untold(self) -> bool:
        """Whether a backend is still to hear of a change."""
        return self._host_watches.untold

    # Domains.

    def add_domain(self, domid: int) -> None:
        """A domain is there from now on. What permissions say of its id so far meant another domain: a new
        domain inherits nothing from a dead one."""
        self.rights.add(domid, self.next_generation())
        for path in self._index.naming(domid):
            node = self._nodes[path]
            self.put(path, node._replace(permissions=self.rights.current(node.permissions, 0)))

    def introduce(self, domid: int, connection: Introduced) -> None:
        """A domain can use xenstore from now on: tell who waits for it."""
        self._introduced[domid] = connection
        self._fire_special(INTRODUCE, domid)
        self.deliver()

    def introduced(self, domid: int) -> Introduced | None:
        """The connection of a domain, None for one that has not been introduced."""
        return self._introduced.get(domid)

    def is_known(self, domid: int) -> bool:
        """Whether the domain was added, and not removed yet."""
        return self.rights.known(domid)

    def shut_down(self, domid: int) -> None:
        """A domain has ended but is still there: tell who waits for it, unless that was done before."""
        if domid in self._introduced and domid not in self._shut_down:
            self._shut_down.add(domid)
            self._fire_special(RELEASE, domid)
            self.deliver()

    def resume(self, domid: int) -> None:
        """A domain that was shut down runs again."""
        self._shut_down.discard(domid)

    def remove_domain(self, domid: int) -> None:
        """A domain is gone: delete the nodes it owns, with all below them, and announce it."""
        if not self.rights.known(domid):
            return
        for path in self._index.owned(domid):
            if path in self._nodes:
                self._host.remove(path)
        self._introduced.pop(domid, None)
        self._shut_down.discard(domid)
        self.rights.remove(domid)
        self._fire_special(RELEASE, domid)
        self.deliver()

    def _fire_special(self, event: str, domid: int) -> None:
        """Keep a special event for `take_changes`, by its name and by one that says whom it is about."""
        if self.watches:
            listeners = self.rights.special[event]
            self._changes.append(Change(event, True, listeners, (), ()))
            self._changes.append(Change(f"{event}/{domid}", False, listeners, (), ()))

    # For sessions: what a guest sees and hears.

    def access(self, domid: int, transaction: Transaction | None = None) -> Access:
        """The operations as that domain may do them, inside a transaction if one is given."""
        return Access(transaction or self, self.rights, domid)

    def transaction(self, domid: int, held: Held | None = None) -> Transaction:
        """A transaction of that domain; `held` counts what its client's keep together."""
        return Transaction(self, domid, held)

    def announcement(self) -> Announcement:
        """An empty queue for changes that somebody is going to make."""
        return Announcement(self.watches, self.rights)

    def take_changes(self) -> list[Change]:
        """The changes of the operation that was just done. Whoever did it announces them."""
        changes, self._changes = self._changes, []
        return changes

    def deliver(self) -> None:
        """Tell everybody of all that has happened, and of what the host's callbacks do to the store in turn.
        For the host, which does not go on before; what a guest causes is told in portions."""
        announcement = self.announcement()
        announcement.add(self.take_changes())
        announcement.finish()
        while self.deliver_one():
            pass

    def deliver_one(self) -> bool:
        """Run the callback of one host event. False when there is none, or inside another callback: then the
        caller of that one goes on with what is left."""
        return self._host_watches.deliver_one()

    # The view of the live tree.

    def get(self, path: str) -> Node | None:
        self.steps += 1
        return self._nodes.get(path)

    def put(self, path: str, node: Node) -> None:
        self.steps += 1
        self._index.changed(path, self._nodes.get(path), node)
        self._nodes[path] = node._replace(generation=self.next_generation())

    def delete(self, path: str) -> None:
        self.steps += 1
        self._index.changed(path, self._nodes.pop(path), None)
        self.next_generation()

    def entries(self, domid: int) -> int:
        """How many nodes a domain owns."""
        return self._index.nr_owned(domid)

    def next_generation(self) -> int:
        self._generation += 1
        return self._generation

    def fire(
        self, path: str, node: Node | None, *, exact: bool = False, old: Sequence[Permission] = ()
    ) -> None:
        """Keep a change for `take_changes`, with what says now who may hear of it."""
        if not self.watches:
            return
        parent = None if path == ROOT else self._nodes.get(parent_of(path))
        self._changes.append(
            Change(
                path,
                exact,
                () if node is None else node.permissions,
                tuple(old),
                () if parent is None else parent.permissions,
            )
        )

    def check(self) -> Iterator[str]:
        """What is wrong with the tree, a sentence each: nothing ever should be."""
        reached = set(self.paths())
        for path in self._nodes.keys() - reached:
            yield f"{path} is in no directory"
        for path in reached:
            if len(set(self._nodes[path].children)) != len(self._nodes[path].children):
                yield f"{path} lists a child twice"

    def _check_tree(self) -> None:
        """Raises ValueError where the nodes are no tree, or have nobody they belong to."""
        nodes = self._nodes
        for path, node in nodes.items():
            if not node.permissions or not valid_path(path):
                raise ValueError(f"xenstore has no node {path[:64]!r}")
            children = set(node.children)
            if len(children) < len(node.children) or not nodes.keys() >= {
                join(path, one) for one in children
            }:
                raise ValueError(f"the children of {path[:64]!r} in xenstore cannot be")
        wrong = None if ROOT in nodes else "xenstore has no root"
        if (wrong := wrong or next(self.check(), None)) is not None:
            raise ValueError(wrong)

    def paths(self) -> list[str]:
        """Every path there is, parents first."""
        found = []
        stack = [ROOT]
        while stack:
            path = stack.pop()
            found.append(path)
            stack.extend(join(path, name) for name in reversed(self._nodes[path].children))
        return found


def _nobody_introduces(domid: int, port: int) -> None:
    raise Refusal(Errno.EINVAL, f"there is no domain {domid} to introduce")
