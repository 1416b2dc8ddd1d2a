"""Who may do what in xenstore, and how much of it: domains, permissions, quotas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass
from paravane.devices.xenstore.tree import FULL, Permission, Right
from paravane.registry import CONTROL_DOMID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


INTRODUCE: Final = "@introduceDomain"
RELEASE: Final = "@releaseDomain"
"""The special events: a domain can use xenstore; a domain has shut down, or is gone."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What one guest may have; xenstored's defaults. Sizes are bytes. `transaction_memory` is what its open
    transactions may keep together, from where xenstored refuses a domain any more memory at all."""

    nodes: int = 1000
    node_size: int = 2048
    permissions: int = 5
    watches: int = 128
    transactions: int = 10
    transaction_nodes: int = 1024
    transaction_memory: int = 5 << 19
    requests: int = 20
    queued_events: int = 2 << 20


class Rights:
    """The domains there are, and what a node's permissions mean for them."""

    def __init__(
        self, quota: Quota, since: Mapping[int, int] | None = None, targets: Mapping[int, int] | None = None
    ) -> None:
        """`since`: domid -> the store's generation when that domain came. Permissions older than that meant
        an earlier domain of the same number. `targets`: whose rights a domain has besides its own."""
        self.quota = quota
        self._since = {0: 0} if since is None else dict(since)
        self._targets: dict[int, int] = dict(targets or {})
        nobody = (Permission(CONTROL_DOMID, Right.NONE),)
        self.special: dict[str, tuple[Permission, ...]] = {INTRODUCE: nobody, RELEASE: nobody}
        """Who may hear of each special event."""

    @property
    def since(self) -> Mapping[int, int]:
        return self._since

    @property
    def targets(self) -> Mapping[int, int]:
        """Whose rights a domain has besides its own."""
        return self._targets

    def add(self, domid: int, generation: int) -> None:
        self._since[domid] = generation

    def remove(self, domid: int) -> None:
        self._since.pop(domid, None)
        self._targets = {
            agent: target for agent, target in self._targets.items() if domid not in (agent, target)
        }
        for event, entries in self.special.items():
            owner = entries[0]
            heir = owner._replace(domid=CONTROL_DOMID) if owner.domid == domid else owner
            self.special[event] = (heir, *(entry for entry in entries[1:] if entry.domid != domid))

    def set_target(self, domid: int, target: int) -> None:
        """From now on `domid`, which serves `target` (as its device model), has that one's rights too."""
        self._targets[domid] = target

    def known(self, domid: int) -> bool:
        return domid in self._since

    def current(self, permissions: tuple[Permission, ...], generation: int) -> tuple[Permission, ...]:
        """Without the entries for domains that came after `generation`: those meant an earlier domain."""
        kept = [entry for entry in permissions[1:] if self._since.get(entry.domid, 0) <= generation]
        return (permissions[0], *kept)

    def of(self, domid: int, permissions: Sequence[Permission]) -> Right:
        """The rights of a domain to a node with these permissions: the first entry that names it counts."""
        target = self._targets.get(domid, domid)
        if domid == CONTROL_DOMID or permissions[0].domid in (domid, target):
            return FULL
        for permission in permissions[1:]:
            if permission.domid in (domid, target):
                return permission.right
        return permissions[0].right

    def may_read(self, domid: int, permissions: Sequence[Permission]) -> bool:
        return bool(self.of(domid, permissions) & Right.READ)
