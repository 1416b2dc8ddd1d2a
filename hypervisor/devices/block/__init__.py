"""Disks: the block protocol's backend, on files, on memory, and copied on write."""

from paravane.devices.block.config import Disk
from paravane.devices.block.device import BlockDevice
from paravane.devices.block.vdev import looks_like_vdev, number_of

__all__ = ["BlockDevice", "Disk", "looks_like_vdev", "number_of"]
