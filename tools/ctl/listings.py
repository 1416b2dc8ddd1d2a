"""The devices of a domain as `xl network-list` and `xl block-list` show them (xl(1)): what a machine is asked
for, and the lines that come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from paravane.devices.block import BlockDevice
from paravane.devices.net.interface import Interface
from paravane.text import number_in, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane import Domain, Machine
    from paravane.devices.xenbus import Attachment

    Row = dict[str, Any]

_ABSENT: Final = -1
"""xl's, for a node that is not there or is no number."""

HEADERS: Final = {
    "network-list": f"{'Idx':<3} {'BE':<2} {'Mac Addr.':<17} {'handle':<6} {'state':<5} {'evt-ch':<6} "
    f"{'tx-':>5}/{'rx-ring-ref':<5} {'BE-path':<30}",
    "block-list": f"{'Vdev':<5} {'BE':<3} {'handle':<6} {'state':<5} {'evt-ch':<6} {'ring-ref':<8} "
    f"{'BE-path':<30}",
}
"""The first line of each, by its verb."""


def network_rows(machine: Machine, domain: Domain) -> list[Row]:
    """The network interfaces of a domain."""
    return [
        {
            **_row(machine, attached),
            "mac": attached.device.mac.hex(":"),
            "tx": _number(machine, attached, "tx-ring-ref"),
            "rx": _number(machine, attached, "rx-ring-ref"),
        }
        for attached in domain.devices
        if isinstance(attached.device, Interface)
    ]


def block_rows(machine: Machine, domain: Domain) -> list[Row]:
    """The disks of a domain."""
    return [
        {**_row(machine, attached), "frontend": domain.domid, "ring": _number(machine, attached, "ring-ref")}
        for attached in domain.devices
        if isinstance(attached.device, BlockDevice)
    ]


def lines(verb: str, rows: list[Row]) -> Iterator[str]:
    """The lines of one domain's devices."""
    for row in rows:
        if verb == "network-list":
            yield (
                f"{row['number']:<3} {row['backend']:<2} {shown(row['mac'])} {row['number']:>6} "
                f"{row['state']:>5} {row['port']:>6} {row['tx']:>5}/{row['rx']:<11} {shown(row['path']):<30}"
            )
        else:
            yield (
                f"{row['number']:<5} {row['backend']:<3} {row['frontend']:<6} {row['state']:<5} "
                f"{row['port']:<6} {row['ring']:<8} {shown(row['path']):<30}"
            )


def _row(machine: Machine, attached: Attachment) -> Row:
    """What both have. The state is the frontend's."""
    return {
        "number": attached.device.number,
        "backend": attached.backend_domid,
        "state": _number(machine, attached, "state"),
        "port": _number(machine, attached, "event-channel"),
        "path": attached.paths.back,
    }


def _number(machine: Machine, attached: Attachment, name: str) -> int:
    """A node of the frontend's, which may have written anything there."""
    value = machine.store.find(f"{attached.paths.front}/{name}")
    number = None if value is None else number_in(value[:16].decode("ascii", "replace"))
    return _ABSENT if number is None else number
