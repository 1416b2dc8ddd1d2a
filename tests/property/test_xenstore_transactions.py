"""Transactions against a model: what was committed could have been done in the one moment of its commit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from paravane.abi.errno import Errno
from paravane.devices.xenstore import Store, Transaction
from paravane.devices.xenstore.tree import join, parent_of
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.xenstore.access import Access

Tree = dict[str, bytes]
Result = bytes | tuple[str, ...] | Errno | None

PATHS = st.sampled_from(["/t", "/t/a", "/t/a/x", "/t/a/y", "/t/b", "/t/b/x", "/u", "/u/a"])
VALUES = st.sampled_from([b"", b"1", b"2"])
SLOTS = st.integers(0, 2)


def write(tree: Tree, path: str, value: bytes) -> Result:
    above = parent_of(path)
    while above not in tree:
        tree[above] = b""
        above = parent_of(above)
    tree[path] = value
    return None


def remove(tree: Tree, path: str, value: bytes) -> Result:
    if path not in tree:
        return None if parent_of(path) in tree else Errno.ENOENT
    for node in [node for node in tree if node == path or node.startswith(f"{path}/")]:
        del tree[node]
    return None


def read(tree: Tree, path: str, value: bytes) -> Result:
    return tree.get(path, Errno.ENOENT)


def directory(tree: Tree, path: str, value: bytes) -> Result:
    if path not in tree:
        return Errno.ENOENT
    return tuple(sorted(node for node in tree if node != "/" and parent_of(node) == path))


MODEL: dict[str, Callable[[Tree, str, bytes], Result]] = {
    "write": write,
    "remove": remove,
    "read": read,
    "directory": directory,
}


def done(access: Access, what: str, path: str, value: bytes) -> Result:
    """The same, by the store."""
    try:
        if what == "write":
            access.write(path, value)
        elif what == "remove":
            access.remove(path)
        elif what == "read":
            return access.read(path)
        else:
            return tuple(sorted(join(path, name) for name in access.directory(path).children))
    except Refusal as refusal:
        return refusal.errno
    return None


def committed(transaction: Transaction) -> bool:
    """Commit it. False when somebody else has come in between."""
    try:
        transaction.commit()
    except Refusal as refusal:
        if refusal.errno is not Errno.EAGAIN:
            raise
        return False
    return True


@dataclass
class Running:
    """A transaction, what was done in it, and how often the tree had changed before."""

    transaction: Transaction
    changes: int
    steps: list[tuple[str, str, bytes, Result]] = field(default_factory=list)


class Transactions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.store.remove("/tool")
        self.tree: Tree = {"/": b""}
        self.changes = 0
        self.running: dict[int, Running] = {}

    @rule(what=st.sampled_from(list(MODEL)), path=PATHS, value=VALUES)
    def outside(self, what: str, path: str, value: bytes) -> None:
        assert done(self.store.access(0), what, path, value) == MODEL[what](self.tree, path, value)
        self.changes += what in ("write", "remove")

    @rule(slot=SLOTS)
    def start(self, slot: int) -> None:
        self.running[slot] = Running(self.store.transaction(0), self.changes)

    @rule(slot=SLOTS, what=st.sampled_from(list(MODEL)), path=PATHS, value=VALUES)
    def inside(self, slot: int, what: str, path: str, value: bytes) -> None:
        if slot in self.running:
            one = self.running[slot]
            result = done(self.store.access(0, one.transaction), what, path, value)
            one.steps.append((what, path, value, result))

    @rule(slot=SLOTS)
    def commit(self, slot: int) -> None:
        one = self.running.pop(slot, None)
        if one is None:
            return
        if not committed(one.transaction):
            assert self.changes > one.changes, "nobody has come in between"
            return
        for what, path, value, result in one.steps:
            assert MODEL[what](self.tree, path, value) == result, "it was told otherwise"
        self.changes += 1

    @rule(slot=SLOTS)
    def abandon(self, slot: int) -> None:
        self.running.pop(slot, None)

    @invariant()
    def the_tree_is_the_models(self) -> None:
        assert {path: self.store.read(path) for path in self.store.paths()} == self.tree
        assert list(self.store.check()) == []


TestTransactions = Transactions.TestCase
TestTransactions.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
