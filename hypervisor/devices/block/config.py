"""What a disk is to be."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane.arguments import check_type
from paravane.classes import dataclass
from paravane.devices.block.device import BlockDevice
from paravane.devices.block.overlay import Overlay
from paravane.devices.block.raw import RawVolume
from paravane.devices.block.vdev import number_of
from paravane.devices.block.worker import Leaving, identities
from paravane.text import shown

if TYPE_CHECKING:
    from paravane.devices.block.volume import Volume
    from paravane.devices.xenbus import DeviceHost

_QCOW: Final = b"QFI\xfb"
_log = logging.getLogger("paravane")

SECTOR_SIZES: Final = (512, 4096)
MOST_MEMORY: Final = 16 << 30
"""Bytes of the largest disk in memory."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk, called `vdev` by the guest (xvda, sdb1, ...; `xen-vbd-interface(7)`).

    `path` is a raw image or a block device. With `cow` it is only read: what the guest writes goes into the
    file `cow_file`, which is made when it is missing, or into memory (None) and is lost when the disk is.
    Without a `path` the disk is `memory` bytes of zeros. `sector_size` is 512 or 4096 bytes."""

    path: str | os.PathLike[str] | None = None
    vdev: str = "xvda"
    read_only: bool = False
    cow: bool = False
    cow_file: str | os.PathLike[str] | None = None
    memory: int = 0
    cdrom: bool = False
    sector_size: int = 512

    def __post_init__(self) -> None:
        """Raises TypeError for a value of a wrong type, by its name, and ValueError for a combination that is
        no disk."""
        check_type("path", self.path, str, os.PathLike, type(None))
        check_type("vdev", self.vdev, str)
        check_type("cow_file", self.cow_file, str, os.PathLike, type(None))
        check_type("memory", self.memory, int)
        check_type("sector_size", self.sector_size, int)
        for name in ("read_only", "cow", "cdrom"):
            check_type(name, getattr(self, name), bool)
        number_of(self.vdev)
        if (self.path is None) == (self.memory == 0):
            raise ValueError("a disk is a file, or so many bytes of memory")
        if self.path is None and not 0 < self.memory <= MOST_MEMORY:
            raise ValueError(f"a disk in memory has up to {MOST_MEMORY} bytes, not {self.memory}")
        if self.sector_size not in SECTOR_SIZES:
            raise ValueError(f"a sector has 512 or 4096 bytes, not {self.sector_size}")
        if self.cow and (self.path is None or self.read_only or self.cdrom):
            raise ValueError("copy-on-write is for a disk that is a file, and that its guest may write")
        if self.cow_file is not None and not self.cow:
            raise ValueError("a cow_file is for a disk that is copied on write")

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it stands on."""
        return tuple(Path(name) for name in (self.path, self.cow_file) if name is not None)

    def open(self, host: DeviceHost) -> BlockDevice:
        """The disk. Raises ValueError, a sentence, when its files cannot be had, or are too short for it.

        A disk that is gone may still be at work on them: that is waited for.
        """
        return self.device(host, self.volume(host))

    @property
    def target(self) -> str:
        """What its guest may read of what it stands on."""
        return "" if self.path is None else shown(os.fspath(self.path))

    def device(self, host: DeviceHost, volume: Volume) -> BlockDevice:
        """The disk on what `volume` gave, or on something that stands before it."""
        return BlockDevice(
            host,
            volume,
            number_of(self.vdev),
            self.vdev,
            target=self.target,
            files=identities(self.files),
            sector_size=self.sector_size,
            cdrom=self.cdrom,
        )

    def volume(self, host: DeviceHost) -> Volume:
        """What it stands on, opened. Raises ValueError: see `open`."""
        host.shared(Leaving).wait_for(identities(self.files))
        volume = self._volume()
        name = self.target or "memory"
        if volume.size < self.sector_size:
            volume.close()
            raise ValueError(f"{name} is too short for a disk: it has {volume.size} bytes")
        if rest := volume.size % self.sector_size:
            _log.warning("%s: its last %d bytes are no whole sector, and not on the disk", name, rest)
        head = bytearray(len(_QCOW))
        try:
            volume.read([head], 0)
        except OSError as error:
            volume.close()
            raise ValueError(f"{name} cannot be read: {error.strerror}") from None
        if head == _QCOW:
            # Only said: a guest may write that as well as any other bytes.
            _log.warning("%s looks like a qcow2 image, and is taken as a raw one, byte for byte", name)
        return volume

    def _volume(self) -> Volume:
        if self.path is None:
            return RawVolume.in_memory(self.memory)
        if not self.cow:
            return RawVolume.of_file(self.path, read_only=self.read_only or self.cdrom)
        base = RawVolume.of_file(self.path, read_only=True)
        return Overlay.in_memory(base) if self.cow_file is None else Overlay.of_file(base, self.cow_file)
