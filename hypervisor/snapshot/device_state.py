"""A device of a saved domain, as plain state."""

from paravane.classes import dataclass
from paravane.devices.block.device import RequestsState
from paravane.devices.block.files import Stamp
from paravane.devices.net.state import InterfaceState
from paravane.devices.xenbus.attachment import AttachmentState


@dataclass(frozen=True, slots=True)
class DiskSaved:
    """A disk (`Disk`), and what it is asked for. `target` is the name, for people, of the file that it
    stands on, empty for one in memory; `stamps` are those of its files; `contents` is what is in memory of
    it: places and bytes."""

    vdev: str
    target: str
    cow: bool
    memory: int
    read_only: bool
    cdrom: bool
    sector_size: int
    stamps: tuple[Stamp, ...]
    requests: RequestsState | None
    contents: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class VifSaved:
    """An interface (`Vif`): an empty `mac` for one of the machine's own, no `rate` for none."""

    number: int
    mac: bytes
    bridge: str
    rate: tuple[int, int] | None
    networks: tuple[str, ...]
    mtu: int
    state: InterfaceState


@dataclass(frozen=True, slots=True)
class DeviceSaved:
    """One device on the bus."""

    device: DiskSaved | VifSaved
    attachment: AttachmentState
