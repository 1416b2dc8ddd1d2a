"""Xenstore: the tree in which domains and their backends find each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.devices.xenstore.connection import Connection
from paravane.devices.xenstore.domain_nodes import forget_domain, populate_domain
from paravane.devices.xenstore.host_watches import HostWatch
from paravane.devices.xenstore.rights import Quota
from paravane.devices.xenstore.session import Session
from paravane.devices.xenstore.store import Store, StoreState
from paravane.devices.xenstore.transaction import Transaction
from paravane.devices.xenstore.tree import Node, Permission, Right, domain_path
from paravane.late import late

if TYPE_CHECKING:
    from paravane.devices.xenstore.store_socket import StoreSocket
else:
    __getattr__ = late(__name__, store_socket="StoreSocket")

__all__ = [
    "Connection",
    "HostWatch",
    "Node",
    "Permission",
    "Quota",
    "Right",
    "Session",
    "Store",
    "StoreSocket",
    "StoreState",
    "Transaction",
    "domain_path",
    "forget_domain",
    "populate_domain",
]
