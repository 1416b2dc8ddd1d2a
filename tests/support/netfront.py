"""A network frontend, played from outside: it sends frames, posts pages, and collects what comes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from paravane.abi.grant_table import GrantFlag
from paravane.abi.netif import NetifExtraType, NetifGsoType, NetRxFlag, NetTxFlag
from paravane.abi.xenbus import XenbusState
from paravane.devices.net.interface import Interface
from tests.support.frontend import Frontend, FrontRing

if TYPE_CHECKING:
    from paravane import Domain, Machine

TX_SIZE, RX_SIZE = 12, 8
PAGE = 4096


class Netfront(Frontend):
    """The frontend of interface `number`."""

    FEATURES: tuple[str, ...] = (
        "request-rx-copy",
        "feature-rx-notify",
        "feature-sg",
        "feature-gso-tcpv4",
        "feature-gso-tcpv6",
        "feature-ipv6-csum-offload",
    )
    """What Linux's writes."""

    def __init__(
        self, machine: Machine, domain: Domain, number: int = 0, *, first_ref: int | None = None
    ) -> None:
        """`first_ref`: the first grant that is not another frontend's."""
        super().__init__(machine, domain, "vif", number)
        self._next_ref = first_ref or self._next_ref
        attachment = domain.devices.find("vif", number)
        assert attachment is not None
        assert isinstance(attachment.device, Interface)
        self.device = attachment.device
        self.posted: dict[int, tuple[int, memoryview]] = {}
        self.spare: list[tuple[int, memoryview]] = []
        self.further: list[tuple[int, memoryview]] = []
        """Pages of frames that take more than one."""

    @property
    def mac(self) -> bytes:
        return self.device.mac

    def connect(self, *features: str, posted: int = 32) -> XenbusState:
        """Connect with these features (none: all of its own), and post so many pages. The backend's state."""
        tx_ref, tx_page = self.page()
        rx_ref, rx_page = self.page()
        self.tx, self.rx = FrontRing([tx_page], TX_SIZE), FrontRing([rx_page], RX_SIZE)
        self.write("tx-ring-ref", tx_ref)
        self.write("rx-ring-ref", rx_ref)
        self.write("event-channel", self.listen())
        for feature in features or self.FEATURES:
            self.write(feature, 1)
        self.buffer = self.page()
        state = self.switch(XenbusState.Connected)
        self.post(posted)
        return state

    def post(self, count: int, *, silently: bool = False) -> None:
        """Give the backend pages for frames, and tell it unless that is to be done silently."""
        for _ in range(count):
            ref, page = self.spare.pop() if self.spare else self.page()
            number = self.rx.produced % self.rx.size
            self.posted[number] = ref, page
            self.rx.put(struct.pack("<HHI", number, 0, ref))
        if not silently:
            self.event()

    def request(
        self,
        data: bytes,
        flags: int = 0,
        *,
        size: int | None = None,
        page: tuple[int, memoryview] | None = None,
    ) -> None:
        """Put a single slot into the transmit ring, its bytes at the start of a page."""
        ref, view = page or self.buffer
        view[: len(data)] = data
        self.tx.put(
            struct.pack("<IHHHH", ref, 0, flags, self.tx.produced % 256, len(data) if size is None else size)
        )

    def send(
        self, data: bytes, flags: int = 0, segment_size: int = 0, kind: int = NetifGsoType.TCPV4
    ) -> list[int]:
        """Send a frame, in as many slots as it takes. The statuses of the responses."""
        parts = [data[at : at + PAGE] for at in range(0, len(data), PAGE)]
        while len(self.further) < len(parts) - 1:
            self.further.append(self.page())
        pages = [self.buffer, *self.further]
        for number, part in enumerate(parts):
            more = NetTxFlag.more_data if number < len(parts) - 1 else 0
            first = flags | (NetTxFlag.extra_info if segment_size else 0) if number == 0 else 0
            self.request(part, first | more, size=len(data) if number == 0 else None, page=pages[number])
            if number == 0 and segment_size:
                self.tx.put(struct.pack("<BBHBBHI", NetifExtraType.GSO, 0, segment_size, kind, 0, 0, 0))
        self.event()
        return self.statuses()

    def statuses(self) -> list[int]:
        return [struct.unpack_from("<Hh", entry)[1] for entry in self.tx.take()]

    def received(self) -> list[bytes]:
        """The frames that came, whole; their pages are posted no more."""
        return [data for data, _, _ in self.received_with_flags()]

    def received_with_flags(self) -> list[tuple[bytes, int, tuple[int, int] | None]]:
        """Each frame, the flags of its first slot, and the size and type of segments that it stands for."""
        frames: list[tuple[bytes, int, tuple[int, int] | None]] = []
        data, first, segment = b"", 0, None
        entries = iter(self.rx.take())
        more = False
        for entry in entries:
            number, offset, flags, status = struct.unpack_from("<HHHh", entry)
            ref, page = self.posted.pop(number)
            self.spare.append((ref, page))
            if not more:
                first, data, segment = flags, b"", None
            data += bytes(page[offset : offset + max(0, status)])
            if flags & NetRxFlag.extra_info:
                # The slot after the first one has no page: its own is posted again as it is.
                _, _, size, kind = struct.unpack_from("<BBHB", next(entries))
                segment = size, kind
                self.spare.append(self.posted.pop((number + 1) % self.rx.size))
            more = bool(flags & NetRxFlag.more_data)
            if not more:
                frames.append((data, first, segment))
        return frames


class FlippingNetfront(Netfront):
    """One that has pages exchanged: it posts entries that accept a frame, and has none until one comes."""

    FEATURES = ("feature-rx-flip", "feature-rx-notify", "feature-sg")
    PFN = 0x5000
    """Where it says that it wants the frame of entry 0; those of others follow."""

    def post(self, count: int, *, silently: bool = False) -> None:
        for _ in range(count):
            ref, self._next_ref = self._next_ref, self._next_ref + 1
            self.grant(ref, self.PFN + ref, flags=GrantFlag.accept_transfer)
            number = self.rx.produced % self.rx.size
            self.posted[number] = ref, memoryview(b"")
            self.rx.put(struct.pack("<HHI", number, 0, ref))
        if not silently:
            self.event()

    def arrived(self) -> list[tuple[int, int, bytes]]:
        """Of each response its status, the pfn that the machine has for the frame that came, and all that is
        in that; -1 and nothing where none came."""
        found = []
        for entry in self.rx.take():
            number, _, _, status = struct.unpack("<HHHh", entry)
            flags, mfn = self.entry(self.posted.pop(number)[0])
            if flags & GrantFlag.transfer_completed:
                memory = self.machine.platform.memory
                found.append((status, memory.m2p[mfn], memory.ram.read(mfn << 12, PAGE)))
            else:
                assert flags & 0xFFFF == GrantFlag.accept_transfer
                found.append((status, -1, b""))
        return found
