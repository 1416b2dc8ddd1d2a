"""A device's nodes in xenstore, with xl's names, order and permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.xenbus import XenbusState
from paravane.classes import NamedTuple
from paravane.devices.xenstore.tree import domain_path, parent_of

if TYPE_CHECKING:
    from paravane.devices.xenbus.device import Device
    from paravane.devices.xenstore import Store


class Paths(NamedTuple):
    """Where a device is: the guest's folder, the backend's, and the toolstack's own note of it."""

    front: str
    back: str
    note: str


def paths_of(device: Device, domid: int, backend_domid: int) -> Paths:
    place = f"{device.kind}/{device.number}"
    return Paths(
        f"{domain_path(domid)}/device/{place}",
        f"{domain_path(backend_domid)}/backend/{device.kind}/{domid}/{device.number}",
        f"/libxl/{domid}/device/{place}",
    )


def announce(store: Store, device: Device, domid: int, backend_domid: int) -> Paths:
    """Make the nodes of a new device: its backend's state is the last one to be written, as everything must
    be there for who sees that."""
    paths = paths_of(device, domid, backend_domid)
    store.make(paths.note)
    store.make(paths.front, f"n{domid}", f"r{backend_domid}")
    store.make(paths.back, "n0", f"r{domid}")
    front: dict[str, str | int] = {
        "backend": paths.back,
        "backend-id": backend_domid,
        **device.frontend_nodes(),
        "state": int(XenbusState.Initialising),
    }
    back: dict[str, str | int] = {
        "frontend": paths.front,
        "frontend-id": domid,
        "online": 1,
        **device.backend_nodes(),
        "state": int(XenbusState.Initialising),
    }
    note: dict[str, str | int] = {"frontend": paths.front, "backend": paths.back}
    for name, value in device.fixed_nodes().items():
        store.make(f"{paths.front}/{name}", f"n{backend_domid}", f"r{domid}")
        store.write(f"{paths.front}/{name}", value)
    for folder, nodes in ((paths.note, note), (paths.front, front), (paths.back, back)):
        for name, value in nodes.items():
            store.write(f"{folder}/{name}", value)
    return paths


def forget(store: Store, paths: Paths) -> None:
    """Remove a device's nodes, and the folders of its kind that have become empty, as libxl does; the
    backend's have one for each domain in between."""
    for path in paths:
        if store.find(path) is not None:
            store.remove(path)
    around = [parent_of(path) for path in paths]
    for path in (*around, parent_of(parent_of(paths.back))):
        if store.find(path) is not None and not store.directory(path):
            store.remove(path)
