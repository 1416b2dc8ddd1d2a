"""The backend of a disk (public/io/blkif.h): its nodes, its ring, its answers."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, ClassVar, Final

from paravane.abi.blkif import BLKIF_RING_ENTRY_SIZE, BLKIF_SECTOR_SIZE, BlkifOp, BlkifRsp, Vdisk
from paravane.abi.xenbus import XEN_IO_PROTO_ABI_X86_32
from paravane.classes import NamedTuple
from paravane.devices.block.executor import Executor
from paravane.devices.block.late import LateRequests
from paravane.devices.block.request import (
    MOST_INDIRECT,
    Geometry,
    Rejected,
    check_request,
    identity,
    parse,
)
from paravane.devices.faults import FAILS
from paravane.devices.xenbus import Device, DeviceFault
from paravane.grants import GrantRefusal

if TYPE_CHECKING:
    from paravane.devices.block.late import LateRequest
    from paravane.devices.block.request import Request
    from paravane.devices.block.volume import Volume
    from paravane.devices.block.worker import Files
    from paravane.devices.bus import Budget
    from paravane.devices.shared_ring import BackRing, RingState
    from paravane.devices.xenbus import DeviceHost, Frontend, Nodes

MOST_RING_ORDER: Final = 4
_REQUEST_UNITS: Final = 12
_PIECE_UNITS: Final = 2
_BYTES_PER_UNIT: Final = 4096
_RESPONSE: Final = struct.Struct("<8sBxh")
"""`struct blkif_response`, its id as the eight bytes of the request."""


_LATEST: Final = 1 << 61
"""Nanoseconds: no machine runs so long."""

_NAMES: Final = {int(operation): operation.name for operation in BlkifOp}


class RequestsState(NamedTuple):
    """Where a disk is in its ring, and what it is late with."""

    ring: RingState
    late: tuple[LateRequest, ...]


class BlockDevice(Device):
    """One disk of one domain, on a volume. What it does with a request is `Executor`'s."""

    kind: ClassVar[str] = "vbd"

    def __init__(
        self,
        host: DeviceHost,
        volume: Volume,
        number: int,
        vdev: str,
        *,
        target: str,
        files: Files = frozenset(),
        sector_size: int = BLKIF_SECTOR_SIZE,
        cdrom: bool = False,
    ) -> None:
        """The volume is the device's from now on. `vdev` and `target` are what the toolstack calls the disk
        and what it stands on, which `files` says to others; `sector_size` is in bytes."""
        self.number = number
        self._vdev = vdev
        self._target = target
        self._cdrom = cdrom
        size = volume.size // sector_size * sector_size
        self._disk = Geometry(size, sector_size, volume.read_only)
        self._bus = host.bus
        self._now, self._timers = host.clock.now, host.timers
        self._observers = host.bus.observers
        self._executor = Executor(host, volume, files, self._finish)
        self._frontend: Frontend
        self._ring: BackRing
        self._late: LateRequests | None = None
        self._connected = False
        self.volume = volume

    # Nodes.

    def backend_nodes(self) -> Nodes:
        return {
            "params": self._target,
            "removable": int(self._cdrom),
            "bootable": 1,
            "dev": self._vdev,
            "type": "phy",
            "mode": "r" if self._disk.read_only else "w",
            "device-type": "cdrom" if self._cdrom else "disk",
            "discard-enable": int(not self._disk.read_only),
        }

    def frontend_nodes(self) -> Nodes:
        return {"virtual-device": self.number, "device-type": "cdrom" if self._cdrom else "disk"}

    def offer(self) -> Nodes:
        writes = int(not self._disk.read_only)
        return {
            "feature-barrier": writes,
            "feature-flush-cache": writes,
            "feature-discard": writes,
            "discard-granularity": self._disk.sector,
            "discard-alignment": 0,
            "discard-secure": writes,
            "feature-max-indirect-segments": MOST_INDIRECT,
            "max-ring-page-order": MOST_RING_ORDER,
            "max-ring-pages": 1 << MOST_RING_ORDER,
        }

    def connect(self, frontend: Frontend) -> Nodes:
        if frontend.read("protocol", XEN_IO_PROTO_ABI_X86_32) != XEN_IO_PROTO_ABI_X86_32:
            raise DeviceFault(f"the frontend's protocol is not {XEN_IO_PROTO_ABI_X86_32}")
        refs = frontend.references("ring-ref", most_order=MOST_RING_ORDER)
        self._ring = frontend.ring(refs, BLKIF_RING_ENTRY_SIZE)
        frontend.listen(frontend.port("event-channel"))
        self._frontend = frontend
        self._executor.connect(frontend)
        if self._bus.faults is not None:
            owner, kind = f"d{frontend.domid}", f"{self.kind}{self.number}"
            self._late = LateRequests(self._now, self._timers, owner, kind, frontend.call)
        self._connected = True
        info = int(Vdisk.READONLY) if self._disk.read_only else 0
        info |= Vdisk.CDROM | Vdisk.REMOVABLE if self._cdrom else 0
        return {
            # In units of 512 bytes, as requests have them, whatever a sector is: as Linux's backend and every
            # frontend take them, though the header says otherwise.
            "sectors": self._disk.size // BLKIF_SECTOR_SIZE,
            "info": info,
            "sector-size": self._disk.sector,
            "physical-sector-size": self._disk.sector,
        }

    # The ring.

    def on_event(self, budget: Budget) -> bool:
        self._executor.finish(budget)
        more = self._late is not None and self._take_late(self._late, budget)
        more |= self._take(budget)
        # Once for all the answers of a portion: the guest does not run meanwhile.
        if self._ring.push():
            self._frontend.notify()
        return more

    def _take(self, budget: Budget) -> bool:
        """Take requests until there are none, or the budget is exhausted."""
        ring = self._ring
        while not budget.exhausted:
            entry = ring.next()
            if entry is None:
                if not ring.more():
                    return False
                continue
            try:
                request = parse(entry, self._disk, self._executor.indirect_page)
                units = len(request.pieces) * _PIECE_UNITS
                if request.pieces or self._executor.at_once:
                    # What the thread discards costs others nothing, however large a disk it is.
                    units += request.length // _BYTES_PER_UNIT
                budget.spend(_REQUEST_UNITS + units)
                if self._observers.ring is not None:
                    self._tell("request", request.told, request.id, request.length, "")
                if self._late is None or not self._goes_wrong(request, self._late):
                    self._executor.start(request)
            except (Rejected, GrantRefusal) as refusal:
                budget.spend(_REQUEST_UNITS)
                status = refusal.status if isinstance(refusal, Rejected) else BlkifRsp.ERROR
                self._respond(*identity(entry), 0, status, str(refusal))
        return True

    def _take_late(self, late: LateRequests, budget: Budget) -> bool:
        """Begin requests that were late, until no more is due or the budget is exhausted."""
        for request in late.due():
            budget.spend(_REQUEST_UNITS)
            try:
                self._executor.start(request)
            except GrantRefusal as refusal:
                self._finish(request, refusal)
            if budget.exhausted:
                return True
        return False

    def _goes_wrong(self, request: Request, late: LateRequests) -> bool:
        """Whether chance has it that a request is not begun now."""
        faults = self._bus.faults
        told = f"{request.operation.name} of {request.length} bytes at {request.place}"
        delay = 0 if faults is None else faults.disk(self._frontend.domid, told)
        if delay == FAILS:
            self._finish(request, OSError(errno.EIO, "injected"))
        elif delay:
            late.add(request, delay)
        return delay != 0

    def _finish(self, request: Request, error: OSError | GrantRefusal | None) -> None:
        """A request was carried out, or could not be."""
        if error is None:
            self._respond(request.operation, request.id, request.length, BlkifRsp.OKAY)
        else:
            reason = error.strerror or str(error) if isinstance(error, OSError) else error.sentence
            sentence = f"{request.operation.name} of {request.length} bytes at {request.place}: {reason}"
            self._respond(request.operation, request.id, request.length, BlkifRsp.ERROR, sentence)

    def _respond(self, told: int, number: bytes, size: int, status: BlkifRsp, sentence: str = "") -> None:
        if sentence:
            self._frontend.complain(sentence)
        if self._observers.ring is not None:
            self._tell("response", told, number, size, status.name)
        self._ring.respond(_RESPONSE.pack(number, told, status))

    def _tell(self, what: str, told: int, number: bytes, size: int, status: str) -> None:
        if self._observers.ring is not None:
            op = _NAMES.get(told, str(told))
            self._observers.ring(
                self._frontend.domid, what, "block", op, size, int.from_bytes(number, "little"), status
            )

    def save(self) -> RequestsState | None:
        """What it is asked for; None while nobody can. Raises ValueError, a clause, while the host works."""
        if self._executor.busy:
            raise ValueError("for which the host still works: that cannot be saved")
        if not self._connected:
            return None
        return RequestsState(self._ring.save(), () if self._late is None else self._late.save())

    def restore(self, state: RequestsState | None) -> None:
        """Go on from there. Raises ValueError for what cannot have been kept."""
        if (state is not None) != self._connected:
            raise ValueError("a disk is asked for something while it is connected")
        if state is None:
            return
        self._ring.restore(state.ring)
        if len(state.late) > (0 if self._late is None else self._ring.unanswered):
            raise ValueError("more waits for a disk than it was asked for")
        for one in state.late:
            check_request(one.request, self._disk)
            if not 0 <= one.due < _LATEST:
                raise ValueError("a request waits for ever")
        if self._late is not None:
            self._late.restore(state.late)

    # The end.

    def disconnect(self) -> None:
        self._executor.disconnect()
        if self._late is not None:
            self._late.close()
            self._late = None
        self._connected = False

    def close(self) -> None:
        self._executor.close()
