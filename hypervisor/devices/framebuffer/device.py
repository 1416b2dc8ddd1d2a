"""The backend of a framebuffer (public/io/fbif.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from paravane.abi.fbif import (
    XENFB_NO_REFRESH,
    XENFB_PAGE,
    XENFB_REFRESH_PERIOD,
    XENFB_RESIZE,
    XENFB_UPDATE,
    XenfbPage,
    XenfbRefreshPeriod,
    XenfbType,
)
from paravane.abi.xenbus import XEN_IO_PROTO_ABI_X86_32
from paravane.devices.framebuffer.display import Displays
from paravane.devices.framebuffer.event_page import EVENT_SIZE, FRAMEBUFFER, EventPage, shared_page
from paravane.devices.framebuffer.picture import MOST_MEMORY, Picture, Shape
from paravane.devices.vnc import Rect
from paravane.devices.xenbus import Device, DeviceFault
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from paravane.devices.bus import Budget
    from paravane.devices.framebuffer.settings import VfbSettings
    from paravane.devices.vnc import VncServer
    from paravane.devices.xenbus import DeviceHost, Frontend, Nodes

REFRESH_PERIOD: Final = 40
"""Milliseconds between two looks of a frontend that has to look for changes itself, while somebody
watches."""

_EVENT_UNITS: Final = 8
_DIRECTORY_ENTRIES: Final = PAGE_SIZE // 4
_MOST_DIRECTORIES: Final = (MOST_MEMORY >> PAGE_SHIFT) // _DIRECTORY_ENTRIES


class FramebufferDevice(Device):
    """One framebuffer of one domain, and the VNC server that shows it, if it has one.

    The frontend lends machine frames by their numbers, not by grants: the shared page, the pages of a
    directory, and what that names. All of them have to be its own, and are held while it is connected.
    """

    kind: ClassVar[str] = "vfb"

    def __init__(self, host: DeviceHost, vfb: VfbSettings) -> None:
        """Raises ValueError when its VNC server cannot listen."""
        self.number = vfb.number
        self.vfb = vfb
        self._displays = host.shared(Displays)
        self.display = self._displays.join(vfb, self.kind)
        self.server: VncServer | None = None
        self.address: tuple[str, int] | None = None
        """Where it is shown: address and port of the host."""
        self._observers = host.bus.observers
        self._frontend: Frontend | None = None
        self._page: EventPage | None = None
        self._tells = False
        self._looked_at = self._closed = False
        try:
            if host.outside.repeats:  # as nobody can look, it is only said where that could be done
                self.address = (vfb.listen, vfb.port) if vfb.vnc else None
            else:
                self.server = vfb.serve(host.outside, self.display)
        except ValueError:
            self._displays.leave(vfb, self.kind, self.display)
            raise
        if self.server is not None:
            self.address = self.server.address
        self.display.watched = self._watched

    def backend_nodes(self) -> Nodes:
        """xl's, but for the password: the guest can read them."""
        nodes: dict[str, str | int] = {"vnc": int(self.address is not None)}
        if self.address is not None:
            listen, port = self.address
            nodes |= {"vnclisten": listen, "vncport": port, "vncunused": int(self.vfb.find_unused)}
        return {**nodes, "sdl": 0, "opengl": 0, **self.vfb.size_nodes}

    def offer(self) -> Nodes:
        return {"feature-resize": 1}

    def connect(self, frontend: Frontend) -> Nodes:
        self._frontend = frontend
        if frontend.read("protocol", XEN_IO_PROTO_ABI_X86_32) != XEN_IO_PROTO_ABI_X86_32:
            raise DeviceFault(f"the frontend's protocol is not {XEN_IO_PROTO_ABI_X86_32}")
        shared = shared_page(frontend)
        # Copied once, then checked: the guest may change it meanwhile.
        page = XENFB_PAGE.unpack(bytes(shared[: XENFB_PAGE.size]))
        size = min(page.mem_length, MOST_MEMORY)
        shape = Shape(page.width, page.height, page.line_length, page.depth)
        frames = frontend.map_frames(_frames(frontend, page, size))
        try:
            picture = Picture(frames.pages, size, shape)
        except ValueError as error:
            raise DeviceFault(f"the frontend's framebuffer cannot be: {error}") from None
        self._page = EventPage(shared, FRAMEBUFFER)
        self._tells = frontend.number("feature-update", 0) != 0
        self._looked_at = False
        frontend.listen(frontend.port("event-channel"))
        self.display.show(picture)
        return {"request-update": int(self._tells)}

    def on_event(self, budget: Budget) -> bool:
        assert self._frontend is not None
        assert self._page is not None
        if self._tells:
            self._advise(self._page)
        else:
            # It says nothing of what it changes: whatever it wakes us for, it may have been all.
            self.display.changed(Rect(0, 0, *self.display.size))
        taken = False
        while not budget.exhausted:
            event = self._page.take()
            if event is None:
                break
            budget.spend(_EVENT_UNITS)
            self._obey(event)
            taken = True
        if taken:
            # There is room in its ring.
            self._frontend.notify()
        return budget.exhausted

    def disconnect(self) -> None:
        self.display.show(None)
        if self._page is not None:
            self._page.release()
            self._page = None
        self._frontend = None

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self.server is not None:
            self.server.close()
        self.display.watched = None
        self._displays.leave(self.vfb, self.kind, self.display)

    def _obey(self, event: bytes) -> None:
        """Do what an event of the frontend says."""
        assert self._frontend is not None
        if event[0] == XenfbType.UPDATE:
            told = XENFB_UPDATE.unpack(event[: XENFB_UPDATE.size])
            self._tell("UPDATE")
            # Displays look at the part that there is, which may be none.
            self.display.changed(Rect(told.x, told.y, told.width, told.height))
        elif event[0] == XenfbType.RESIZE:
            self._resize(event)
        else:
            self._frontend.complain(f"it sends an event of type {event[0]}, which there is none")

    def _resize(self, event: bytes) -> None:
        assert self._frontend is not None
        picture = self.display.picture
        assert picture is not None
        told = XENFB_RESIZE.unpack(event[: XENFB_RESIZE.size])
        self._tell("RESIZE")
        shape = Shape(told.width, told.height, told.stride, told.depth, told.offset)
        try:
            self.display.show(picture.reshaped(shape))
        except ValueError as error:
            # As it is: its picture goes on.
            self._frontend.complain(f"its framebuffer cannot be resized: {error}")

    def _advise(self, page: EventPage) -> None:
        """Say how often its changes are looked for, when that has changed."""
        assert self._frontend is not None
        if self._looked_at is not self.display.viewed:
            period = REFRESH_PERIOD if self.display.viewed else XENFB_NO_REFRESH
            advice = XenfbRefreshPeriod(XenfbType.REFRESH_PERIOD, period)
            if page.put(XENFB_REFRESH_PERIOD.pack(advice)):
                self._looked_at = self.display.viewed
                self._frontend.notify()

    def _watched(self) -> None:
        if self._frontend is not None:
            self._frontend.call()

    def _tell(self, op: str) -> None:
        if self._observers.ring is not None and self._frontend is not None:
            self._observers.ring(self._frontend.domid, "request", self.kind, op, EVENT_SIZE, None, "")


def _frames(frontend: Frontend, page: XenfbPage, size: int) -> list[int]:
    """The frames of a framebuffer of so many bytes, by its directory. Raises DeviceFault."""
    nr_frames = -(-size // PAGE_SIZE)
    nr_directories = -(-nr_frames // _DIRECTORY_ENTRIES)
    assert nr_directories <= _MOST_DIRECTORIES < len(page.pd)
    directory = frontend.map_frames(page.pd[:nr_directories])
    frames = [mfn for entries in directory.pages for mfn in entries.cast("I").tolist()]
    directory.close()
    return frames[:nr_frames]
