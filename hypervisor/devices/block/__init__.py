"""Disks: the block protocol's backend, on files, on memory, and copied on write."""

from paravane.devices.block.config import Disk
from paravane.devices.block.device import BlockDevice
from paravane.devices.block.spec import disk_text, disks_of, located, parse_disk
from paravane.devices.block.vdev import number_of

__all__ = ["BlockDevice", "Disk", "disk_text", "disks_of", "located", "number_of", "parse_disk"]
