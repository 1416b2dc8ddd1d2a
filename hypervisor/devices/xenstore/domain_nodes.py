"""The nodes that a toolstack makes for a new domain, with xl's names and permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.devices.xenstore.tree import domain_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.devices.xenstore.store import Store

_READ_ONLY = ("cpu", "memory", "device", "control")
_OWNED = (
    "device/suspend/event-channel",
    "control/shutdown",
    "control/feature-poweroff",
    "control/feature-reboot",
    "control/feature-suspend",
    "control/sysrq",
    "data",
    "drivers",
    "feature",
    "attr",
    "error",
)


def populate_domain(
    store: Store,
    domid: int,
    name: str,
    memory_kib: int,
    *,
    max_memory_kib: int | None = None,
    vcpus: Sequence[bool] = (True,),
    console_mfn: int = 0,
    console_port: int = 0,
    store_mfn: int = 0,
    store_port: int = 0,
) -> None:
    """Announce a domain to xenstore and make its nodes. `vcpus`: which of them are online.

    What there is below a former domain's path of that id goes away. Guests list nodes in the order in which
    they were made, so it is xl's order.
    """
    store.add_domain(domid)
    # Its handle, `str(UUID(int=domid))`, as every domain's is when it is new.
    home, identity = domain_path(domid), f"00000000-0000-0000-0000-{domid:012x}"
    reader, owner = ("n0", f"r{domid}"), (f"n{domid}",)
    _make(store, home, *reader)
    _make(store, f"/vm/{identity}", *reader)
    _make(store, f"/libxl/{domid}", "n0")
    store.make(f"/libxl/{domid}/device")
    store.write(f"{home}/vm", f"/vm/{identity}")
    store.write(f"{home}/name", name)
    for node in _READ_ONLY:
        store.make(f"{home}/{node}", *reader)
    for node in _OWNED:
        store.make(f"{home}/{node}", *owner)
    values: dict[str, str | int] = {
        "control/platform-feature-multiprocessor-suspend": 1,
        "control/platform-feature-xs_reset_watches": 1,
        "memory/static-max": max_memory_kib or memory_kib,
        "memory/target": memory_kib,
        "memory/videoram": 0,
        "domid": domid,
        "store/port": store_port,
        "store/ring-ref": store_mfn,
    }
    values |= {f"cpu/{at}/availability": "online" if up else "offline" for at, up in enumerate(vcpus)}
    for node, value in values.items():
        store.write(f"{home}/{node}", value)
    store.write(f"/vm/{identity}/uuid", identity)
    store.write(f"/vm/{identity}/name", name)
    store.write(f"/libxl/{domid}/type", "pv")
    _console(store, domid, console_mfn, console_port)


def forget_domain(store: Store, domid: int) -> None:
    """Delete everything that belongs to a domain that is gone, and announce it."""
    home = domain_path(domid)
    machine = store.find(f"{home}/vm")
    for path in (home, f"/libxl/{domid}", f"/local/domain/0/backend/console/{domid}"):
        if store.find(path) is not None:
            store.remove(path)
    if machine is not None and store.find(machine.decode("latin-1")) is not None:
        store.remove(machine.decode("latin-1"))
    store.remove_domain(domid)


def _console(store: Store, domid: int, mfn: int, port: int) -> None:
    """The primary console: the guest finds it in start_info, tools find it here."""
    front, back = f"{domain_path(domid)}/console", f"/local/domain/0/backend/console/{domid}/0"
    store.make(front, "n0", f"r{domid}")
    store.make(back, "n0", f"r{domid}")
    shown: dict[str, str | int] = {
        "backend": back,
        "backend-id": 0,
        "limit": 1 << 20,
        "type": "xenconsoled",
        "output": "pty",
        "tty": "",
        "port": port,
        "ring-ref": mfn,
    }
    for node, value in shown.items():
        store.write(f"{front}/{node}", value)
    behind: dict[str, str | int] = {
        "frontend": front,
        "frontend-id": domid,
        "online": 1,
        "state": 1,
        "protocol": "vt100",
    }
    for node, value in behind.items():
        store.write(f"{back}/{node}", value)


def _make(store: Store, path: str, *permissions: str) -> None:
    """A fresh node: what was there before goes away."""
    if store.find(path) is not None:
        store.remove(path)
    store.make(path, *permissions)
