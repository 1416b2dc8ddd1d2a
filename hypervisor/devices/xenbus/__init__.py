"""The bus of split devices: xl's nodes, the handshake of states, and what every device is written on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.devices.xenbus.domain_devices import DomainDevices
from paravane.devices.xenbus.host import DeviceHost, Shared
from paravane.late import late

if TYPE_CHECKING:
    from paravane.devices.xenbus.attachment import Attachment
    from paravane.devices.xenbus.device import Device, DeviceConfig, Nodes
    from paravane.devices.xenbus.fault import DeviceFault
    from paravane.devices.xenbus.frontend import Frontend
else:
    # For domains that have devices.
    __getattr__ = late(
        __name__,
        attachment="Attachment",
        device="Device DeviceConfig Nodes",
        fault="DeviceFault",
        frontend="Frontend",
    )

__all__ = [
    "Attachment",
    "Device",
    "DeviceConfig",
    "DeviceFault",
    "DeviceHost",
    "DomainDevices",
    "Frontend",
    "Nodes",
    "Shared",
]
