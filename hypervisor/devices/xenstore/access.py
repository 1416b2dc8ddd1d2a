"""The operations of xenstore as one caller may do them, on the live tree or inside a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.devices.xenstore.tree import (
    ROOT,
    Node,
    Permission,
    Right,
    join,
    name_of,
    parent_of,
    valid_path,
)
from paravane.refusal import Refusal
from paravane.registry import CONTROL_DOMID

if TYPE_CHECKING:
    from paravane.devices.xenstore.rights import Rights
    from paravane.devices.xenstore.view import View


class Access:
    """What `domid` may do to `view`. Domain 0 may do everything and is under no quota.

    Every method raises Refusal: EINVAL for a malformed path, EACCES, ENOENT (only where the caller may know),
    ENOSPC for an exhausted quota.
    """

    def __init__(self, view: View, rights: Rights, domid: int) -> None:
        self._view = view
        self._rights = rights
        self._domid = domid
        self._privileged = domid == CONTROL_DOMID

    def read(self, path: str) -> bytes:
        return self._permitted(path, Right.READ).value

    def directory(self, path: str) -> Node:
        """The node whose children are asked for; its generation tells two parts of one answer apart."""
        return self._permitted(path, Right.READ)

    def permissions(self, path: str) -> tuple[Permission, ...]:
        return self._permitted(path, Right.READ).permissions

    def write(self, path: str, value: bytes) -> None:
        """Set a node's value, creating it and its missing ancestors."""
        node = self._permitted_or_missing(path, Right.WRITE)
        if node is None:
            node = self._create(path, value)
        else:
            node = node._replace(value=value)
            self._check_size(path, node)
            self._view.put(path, node)
        self._view.fire(path, node)

    def mkdir(self, path: str) -> None:
        """Make sure a node exists."""
        if self._permitted_or_missing(path, Right.WRITE) is None:
            self._view.fire(path, self._create(path, b""))

    def remove(self, path: str) -> None:
        """Delete a node and all below it. One that is missing is fine as long as its parent exists."""
        node = self._permitted_or_missing(path, Right.WRITE)
        if path == ROOT:
            raise Refusal(Errno.EINVAL, "the root cannot be removed")
        parent = self._view.get(parent_of(path))
        if node is None:
            if parent is None:
                raise Refusal(Errno.ENOENT, f"{path} has no parent")
            return
        self._delete_tree(path, node)
        if parent is not None:
            name = name_of(path)
            left = tuple(child for child in parent.children if child != name)
            self._view.put(parent_of(path), parent._replace(children=left))

    def set_permissions(self, path: str, permissions: tuple[Permission, ...]) -> None:
        """Replace a node's permissions, or those of a special event (`@introduceDomain`). Only its owner may,
        and only domain 0 may name another owner of a node."""
        self.check_number(len(permissions))
        if not self._rights.known(permissions[0].domid):
            raise Refusal(Errno.ENOENT, f"there is no domain {permissions[0].domid} to own {path}")
        if path.startswith("@"):
            self._set_special(path, permissions)
            return
        node = self._permitted(path, Right.WRITE | Right.OWNER)
        if not self._privileged and permissions[0].domid != node.owner:
            raise Refusal(Errno.EPERM, f"domain {self._domid} may not give {path} away")
        changed = node._replace(permissions=permissions)
        self._check_size(path, changed)
        self._view.put(path, changed)
        self._view.fire(path, changed, old=node.permissions)

    def check_number(self, nr_permissions: int) -> None:
        """Raises Refusal(ENOSPC) when that are too many for one node of the caller's."""
        if not self._privileged and nr_permissions > self._rights.quota.permissions:
            raise Refusal(Errno.ENOSPC, f"{nr_permissions} permissions are too many for one node")

    def _set_special(self, event: str, permissions: tuple[Permission, ...]) -> None:
        """Say who hears of a special event. At once, in a transaction too."""
        current = self._rights.special.get(event)
        if current is None:
            raise Refusal(Errno.EINVAL, f"there is no event {event[:64]!r}")
        needed = Right.WRITE | Right.OWNER
        if self._rights.of(self._domid, current) & needed != needed:
            raise Refusal(Errno.EACCES, f"domain {self._domid} may not say who hears of {event}")
        self._rights.special[event] = tuple(
            entry for at, entry in enumerate(permissions) if not at or self._rights.known(entry.domid)
        )

    def _permitted(self, path: str, wanted: Right) -> Node:
        node = self._permitted_or_missing(path, wanted)
        if node is None:
            raise Refusal(Errno.ENOENT, f"there is no {path}")
        return node

    def _permitted_or_missing(self, path: str, wanted: Right) -> Node | None:
        """The node if the caller has the wanted rights; None when it is missing and the caller may know."""
        if not valid_path(path):
            raise Refusal(Errno.EINVAL, f"{path[:64]!r} is no path")
        node = self._view.get(path)
        if node is None:
            if self._nearest_rights(path) & wanted:
                return None
        elif self._rights.of(self._domid, node.permissions) & wanted == wanted:
            return node
        raise Refusal(Errno.EACCES, f"domain {self._domid} has no {wanted.name} right to {path[:64]}")

    def _nearest_rights(self, path: str) -> Right:
        """The rights that the nearest existing ancestor gives: who may not look there learns nothing."""
        while path != ROOT:
            path = parent_of(path)
            node = self._view.get(path)
            if node is not None:
                return self._rights.of(self._domid, node.permissions)
        return Right.NONE

    def _create(self, path: str, value: bytes) -> Node:
        """Create a node and its missing ancestors, with the nearest ancestor's permissions; a guest owns what
        it creates. All quotas are checked before anything is changed."""
        # A path may have a thousand levels: each is cut off once, and looked at once.
        missing, above = [path], parent_of(path)
        while (parent := self._view.get(above)) is None:
            missing.append(above)
            above = parent_of(above)
        permissions = parent.permissions
        if not self._privileged:
            permissions = (Permission(self._domid, permissions[0].right), *permissions[1:])
            if self._view.entries(self._domid) + len(missing) > self._rights.quota.nodes:
                raise Refusal(Errno.ENOSPC, f"domain {self._domid} has its {self._rights.quota.nodes} nodes")
        names = [name_of(child) for child in missing]
        changes = [(path, Node(value, permissions))]
        for child, below in zip(missing[1:], names, strict=False):
            changes.append((child, Node(b"", permissions, (below,))))
        changes.append((above, parent._replace(children=(*parent.children, names[-1]))))
        for changed, node in changes:
            self._check_size(changed, node)
        for changed, node in changes:
            self._view.put(changed, node)
        return changes[0][1]

    def _delete_tree(self, root: str, node: Node) -> None:
        """Delete bottom up. Watches below the root hear of it only if they are for exactly that node."""
        order: list[tuple[str, Node]] = []
        stack = [(root, node)]
        while stack:
            path, current = stack.pop()
            order.append((path, current))
            for name in current.children:
                child = self._view.get(join(path, name))
                if child is not None:
                    stack.append((join(path, name), child))
        for path, current in reversed(order):
            self._view.fire(path, current, exact=path != root)
            self._view.delete(path)

    def _check_size(self, path: str, node: Node) -> None:
        if not self._privileged and node.size >= self._rights.quota.node_size:
            raise Refusal(Errno.ENOSPC, f"{path[:64]} would have {node.size} bytes")
