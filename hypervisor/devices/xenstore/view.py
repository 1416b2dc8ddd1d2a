"""What the operations and the transactions of xenstore see of its tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.devices.xenstore.rights import Rights
    from paravane.devices.xenstore.tree import Node, Permission


class View(Protocol):
    """Nodes by path: the live tree, or what a transaction makes of it."""

    def get(self, path: str) -> Node | None: ...
    def put(self, path: str, node: Node) -> None: ...
    def delete(self, path: str) -> None: ...
    def entries(self, domid: int) -> int:
        """How many nodes the domain owns."""
        ...

    def fire(
        self, path: str, node: Node | None, *, exact: bool = False, old: Sequence[Permission] = ()
    ) -> None:
        """A node has changed: its watchers are to hear of it. `node` is what it is now, None when that is of
        no account; `exact`: only watches of that very path; `old`: who could read it before."""
        ...


class LiveTree(View, Protocol):
    """The tree that a transaction starts from and commits to. `steps` counts the nodes looked at, for whoever
    charges for that."""

    steps: int

    @property
    def rights(self) -> Rights: ...
    def next_generation(self) -> int:
        """Count one more change, and give its number."""
        ...
