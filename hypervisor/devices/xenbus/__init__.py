"""The bus of split devices: xl's nodes, the handshake of states, and what every device is written on."""

from paravane.devices.xenbus.attachment import Attachment
from paravane.devices.xenbus.device import Device, DeviceConfig, Nodes
from paravane.devices.xenbus.domain_devices import DomainDevices
from paravane.devices.xenbus.fault import DeviceFault
from paravane.devices.xenbus.frontend import Frontend
from paravane.devices.xenbus.host import DeviceHost, Shared

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
