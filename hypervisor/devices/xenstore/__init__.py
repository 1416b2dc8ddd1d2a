"""Xenstore: the tree in which domains and their backends find each other."""

from hypervisor.devices.xenstore.connection import Connection
from hypervisor.devices.xenstore.session import Session
from hypervisor.devices.xenstore.store import HostWatch, Quota, Store
from hypervisor.devices.xenstore.toolstack import forget_domain, populate_domain
from hypervisor.devices.xenstore.transaction import Transaction
from hypervisor.devices.xenstore.tree import Node, Permission, Right, domain_path

__all__ = [
    "Connection",
    "HostWatch",
    "Node",
    "Permission",
    "Quota",
    "Right",
    "Session",
    "Store",
    "Transaction",
    "domain_path",
    "forget_domain",
    "populate_domain",
]
