"""A frontend of a split device, played from outside: the kernel of a domain, in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.domid import DomId
from paravane.abi.grant_table import GNTTAB_NR_RESERVED_ENTRIES, GrantFlag
from paravane.abi.ring import SRING
from paravane.abi.shared_info import SHARED_INFO
from paravane.abi.xenbus import XenbusState
from paravane.devices.shared_ring import nr_entries
from paravane.devices.xenstore import domain_path
from paravane.grants.entries import V1_PER_FRAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane import Domain, Machine

MASK = 0xFFFF_FFFF


class FrontRing:
    """The frontend's side of a ring in these pages, as careful as its user."""

    def __init__(self, pages: Sequence[memoryview], entry_size: int) -> None:
        self.pages = pages
        self.words = pages[0].cast("I")
        self.entry_size = entry_size
        self.size = nr_entries(len(pages), entry_size)
        self.produced = self.consumed = 0
        self.set("req_event", 1)
        self.set("rsp_event", 1)

    def get(self, name: str) -> int:
        return int(self.words[SRING.offsets[name] >> 2])

    def set(self, name: str, value: int) -> None:
        self.words[SRING.offsets[name] >> 2] = value & MASK

    def put(self, request: bytes, slot: int | None = None) -> None:
        """Write a request and show it."""
        self._write(self.produced if slot is None else slot, request)
        self.produced = (self.produced + 1) & MASK
        self.set("req_prod", self.produced)

    def take(self) -> list[bytes]:
        """The responses there are, as long as an entry each; asks for an event for the next one."""
        found = []
        while self.consumed != self.get("rsp_prod"):
            found.append(self._read(self.consumed))
            self.consumed = (self.consumed + 1) & MASK
        self.set("rsp_event", self.consumed + 1)
        return found

    def _place(self, index: int) -> tuple[int, int]:
        """Page and byte of an entry, which may go on in the next page."""
        return divmod(SRING.size + index % self.size * self.entry_size, 4096)

    def _read(self, index: int) -> bytes:
        page, at = self._place(index)
        beyond = at + self.entry_size - 4096
        first = bytes(self.pages[page][at : at + self.entry_size])
        return first if beyond <= 0 else first + bytes(self.pages[page + 1][:beyond])

    def _write(self, index: int, data: bytes) -> None:
        page, at = self._place(index)
        first = min(len(data), 4096 - at)
        self.pages[page][at : at + first] = data[:first]
        if first < len(data):
            self.pages[page + 1][: len(data) - first] = data[first:]


class Frontend:
    """One device's frontend in `domain`, whose kernel does not run. It uses frames, grants and a port that
    the kernel has not taken."""

    def __init__(self, machine: Machine, domain: Domain, kind: str, number: int) -> None:
        self.machine = machine
        self.domain = domain
        self.front = f"{domain_path(domain.domid)}/device/{kind}/{number}"
        self.back = f"{domain_path(0)}/backend/{kind}/{domain.domid}/{number}"
        self.port = 0
        self._next_ref = GNTTAB_NR_RESERVED_ENTRIES

    def write(self, name: str, value: str | int) -> None:
        """Write a node as the guest, and have everybody hear of it."""
        store = self.machine.store
        store.access(self.domain.domid).write(f"{self.front}/{name}", str(value).encode())
        store.deliver()
        self.serve()

    def own(self, name: str) -> str:
        """A node of the frontend's own."""
        return self.machine.store.read(f"{self.front}/{name}").decode()

    def remove(self, name: str) -> None:
        """Delete a node as the guest; "" is the whole folder."""
        store = self.machine.store
        store.access(self.domain.domid).remove(f"{self.front}/{name}".rstrip("/"))
        store.deliver()
        self.serve()

    def switch(self, state: XenbusState) -> XenbusState:
        """Say in which state the frontend is. What the backend's is then."""
        self.write("state", int(state))
        return self.backend_state

    @property
    def backend_state(self) -> XenbusState:
        return XenbusState(int(self.backend("state")))

    def backend(self, name: str) -> str:
        """A node of the backend's, as the guest may read it."""
        return self.machine.store.access(self.domain.domid).read(f"{self.back}/{name}").decode()

    def has(self, name: str) -> bool:
        return self.machine.store.find(f"{self.back}/{name}") is not None

    def page(self, *, readonly: bool = False) -> tuple[int, memoryview]:
        """A frame of the guest's, granted to the backend: its reference and its bytes."""
        (mfn,) = self.domain.memory.populate(1)
        ref, self._next_ref = self._next_ref, self._next_ref + 1
        self.grant(ref, mfn, readonly=readonly)
        return ref, self.machine.platform.ram.bytes[mfn << 12 : (mfn + 1) << 12]

    def offer_ring(self, entry_size: int, pages: int = 1, *, told_by: str = "ring-page-order") -> FrontRing:
        """Grant a ring and write its nodes, and an event channel's. `told_by` is the node that says how large
        it is: `ring-page-order` or `num-ring-pages`."""
        granted = [self.page() for _ in range(pages)]
        if pages == 1:
            self.write("ring-ref", granted[0][0])
        else:
            self.write(told_by, pages if told_by == "num-ring-pages" else pages.bit_length() - 1)
            for number, (ref, _) in enumerate(granted):
                self.write(f"ring-ref{number}", ref)
        self.write("event-channel", self.listen())
        return FrontRing([page for _, page in granted], entry_size)

    def grant(
        self, ref: int, mfn: int, *, readonly: bool = False, flags: int = GrantFlag.permit_access
    ) -> None:
        """Fill in an entry of the grant table."""
        words, frame = self.machine.platform.ram.words, ref // V1_PER_FRAME
        if frame >= len(self.domain.grants.frames):
            self.domain.grants.grow(frame + 1)
        at = (self.domain.grants.frames[frame] << 10) + ref % V1_PER_FRAME * 2
        words[at + 1] = mfn
        words[at] = flags | (GrantFlag.readonly if readonly else 0)

    def entry(self, ref: int) -> tuple[int, int]:
        """The header and the frame of an entry."""
        at = (self.domain.grants.frames[ref // V1_PER_FRAME] << 10) + ref % V1_PER_FRAME * 2
        words = self.machine.platform.ram.words
        return words[at], words[at + 1]

    def revoke(self, ref: int) -> None:
        """End a grant, whether it is in use or not."""
        at = (self.domain.grants.frames[ref // V1_PER_FRAME] << 10) + ref % V1_PER_FRAME * 2
        self.machine.platform.ram.words[at] = 0

    def listen(self) -> int:
        """A port for the backend."""
        self.port = self.domain.events.alloc_unbound(DomId.SELF, 0)
        return self.port

    def event(self) -> None:
        """Send the backend its event, and let it work."""
        self.domain.events.send(self.port)
        self.serve()

    def notified(self) -> bool:
        """Whether the backend has sent an event since this was asked last."""
        pending = self.domain.events.is_pending(self.port)
        at = (self.domain.shared_info + SHARED_INFO.offsets["evtchn_pending"] >> 2) + (self.port >> 5)
        self.machine.platform.ram.words[at] &= ~(1 << (self.port & 31))
        return pending

    def serve(self) -> None:
        """Let the backends work until they have nothing to do."""
        while self.machine.platform.bus.due:
            self.machine.platform.bus.turn()
