"""Which nodes belong to a domain, and which name it in their permissions.

A domain that comes or goes concerns these nodes alone. Were they looked for in the whole tree, every domain
would make the coming and going of all others dearer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paravane.devices.xenstore.tree import Node, Permission


@dataclass(frozen=True, slots=True)
class IndexState:
    """The paths that a domain owns, and those that name it, each in its order: it is that in which they are
    dealt with when the domain goes."""

    owned: dict[int, tuple[str, ...]]
    named: dict[int, tuple[str, ...]]


class NodeIndex:
    """What the permissions of a tree's nodes say, by domain. To be told of every change of a node."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        # Paths by domain, as keys of dicts, which unlike sets keep their order from run to run.
        self._owned: dict[int, dict[str, None]] = {}
        self._named: dict[int, dict[str, None]] = {}
        for path, node in nodes.items():
            self._add(path, node.permissions)

    def save(self) -> IndexState:
        """In which order everything is here: what `restore` goes on from."""
        return IndexState(
            {domid: tuple(paths) for domid, paths in self._owned.items()},
            {domid: tuple(paths) for domid, paths in self._named.items()},
        )

    def restore(self, state: IndexState) -> None:
        """Have the same in another order. Raises ValueError, a sentence, when it is not the same."""
        for ours, kept in ((self._owned, state.owned), (self._named, state.named)):
            for domid in {*ours, *kept}:
                if set(ours.get(domid, ())) != set(kept.get(domid, ())):
                    raise ValueError(f"the index of xenstore's nodes is wrong about domain {domid}")
        self._owned = {domid: dict.fromkeys(paths) for domid, paths in state.owned.items()}
        self._named = {domid: dict.fromkeys(paths) for domid, paths in state.named.items()}

    def changed(self, path: str, before: Node | None, now: Node | None) -> None:
        """The node at `path` is `now` what it is; None where there was or is none."""
        old = () if before is None else before.permissions
        new = () if now is None else now.permissions
        # Most changes are of a value or of the list of children.
        if old != new:
            if old:
                self._remove(path, old)
            if new:
                self._add(path, new)

    def nr_owned(self, domid: int) -> int:
        """How many nodes a domain owns."""
        return len(self._owned.get(domid, ()))

    def owned(self, domid: int) -> list[str]:
        """The nodes that a domain owns."""
        return list(self._owned.get(domid, ()))

    def naming(self, domid: int) -> list[str]:
        """The nodes whose permissions have an entry for the domain after that of their owner."""
        return list(self._named.get(domid, ()))

    def _add(self, path: str, permissions: tuple[Permission, ...]) -> None:
        self._owned.setdefault(permissions[0].domid, {})[path] = None
        for entry in permissions[1:]:
            self._named.setdefault(entry.domid, {})[path] = None

    def _remove(self, path: str, permissions: tuple[Permission, ...]) -> None:
        _drop(self._owned, permissions[0].domid, path)
        for domid in {entry.domid for entry in permissions[1:]}:
            _drop(self._named, domid, path)


def _drop(index: dict[int, dict[str, None]], domid: int, path: str) -> None:
    paths = index[domid]
    del paths[path]
    if not paths:
        del index[domid]
