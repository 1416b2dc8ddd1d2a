"""The backend of a keyboard and its pointer (public/io/kbdif.h)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final

from paravane.abi.kbdif import (
    XENKBD_KEY,
    XENKBD_MOTION,
    XENKBD_POSITION,
    XenkbdKey,
    XenkbdMotion,
    XenkbdPosition,
    XenkbdType,
)
from paravane.classes import NamedTuple
from paravane.devices.framebuffer.display import Displays
from paravane.devices.framebuffer.event_page import EVENT_SIZE, KEYBOARD, EventPage, shared_page
from paravane.devices.xenbus import Device

if TYPE_CHECKING:
    from paravane.devices.bus import Budget
    from paravane.devices.framebuffer.settings import VfbSettings
    from paravane.devices.xenbus import DeviceHost, Frontend, Nodes

MOST_PENDING: Final = 1024
"""Events that wait for room in the ring. A guest that takes none loses what comes beyond."""

RAW_RANGE: Final = 0x7FFF
"""The largest coordinate of a raw pointer."""

_EVENT_UNITS: Final = 8


class _Key(NamedTuple):
    keycode: int
    pressed: bool


class _Point(NamedTuple):
    """Pixels of the display, whose size it was."""

    x: int
    y: int
    wheel: int
    width: int
    height: int


class KeyboardDevice(Device):
    """The keyboard and the pointer of a display. It reports keys and buttons, and where the pointer is: by
    how much it moved, or its place if the frontend asks for that. There is nothing to touch (no
    multi-touch)."""

    kind: ClassVar[str] = "vkbd"

    def __init__(self, host: DeviceHost, vfb: VfbSettings) -> None:
        self.number = vfb.number
        self.vfb = vfb
        self._displays = host.shared(Displays)
        self.display = self._displays.join(vfb, self.kind)
        self.display.keyboard = self
        self._observers = host.bus.observers
        self._pending: deque[_Key | _Point] = deque()
        self._place = (0, 0)
        self._frontend: Frontend | None = None
        self._page: EventPage | None = None
        self._closed = False

    def backend_nodes(self) -> Nodes:
        return self.vfb.size_nodes

    def offer(self) -> Nodes:
        return {"feature-abs-pointer": 1, "feature-raw-pointer": 1, "feature-multi-touch": 0}

    def connect(self, frontend: Frontend) -> Nodes:
        self._frontend = frontend
        self._page = EventPage(shared_page(frontend), KEYBOARD)
        frontend.listen(frontend.port("event-channel"))
        return {}

    def on_event(self, budget: Budget) -> bool:
        assert self._frontend is not None
        assert self._page is not None
        taken = _forget_events(self._page, budget)
        while self._pending and not budget.exhausted:
            event = self._packed(self._pending[0])
            if not self._page.put(event):
                # The frontend sends an event when it has taken some.
                break
            self._tell(XenkbdType(event[0]).name)
            done = self._pending.popleft()
            if isinstance(done, _Point):
                self._place = done.x, done.y
            budget.spend(_EVENT_UNITS)
            taken = True
        if taken:
            self._frontend.notify()
        return budget.exhausted

    def disconnect(self) -> None:
        self._pending.clear()
        if self._page is not None:
            self._page.release()
            self._page = None
        self._frontend = None

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.display.keyboard = None
            self._displays.leave(self.vfb, self.kind, self.display)

    # What viewers do (`Inputs`).

    def key(self, keycode: int, *, pressed: bool) -> None:
        self._add(_Key(keycode, pressed))

    def point(self, x: int, y: int, wheel: int) -> None:
        now = _Point(x, y, wheel, *self.display.size)
        last = self._pending[-1] if self._pending else None
        if isinstance(last, _Point) and not (last.wheel or wheel):
            # Where it was in between nobody has to know.
            self._pending[-1] = now
        else:
            self._add(now)

    def _add(self, event: _Key | _Point) -> None:
        if self._frontend is None:
            return
        if len(self._pending) >= MOST_PENDING:
            self._frontend.complain(f"it takes no events: of more than {MOST_PENDING} the others are lost")
            return
        self._pending.append(event)
        self._frontend.call()

    def _packed(self, event: _Key | _Point) -> bytes:
        """As the frontend wants it now: some ask for places only when they are connected. Raises
        DeviceFault."""
        assert self._frontend is not None
        if isinstance(event, _Key):
            return XENKBD_KEY.pack(XenkbdKey(XenkbdType.KEY, event.pressed, event.keycode))
        x, y = event.x, event.y
        if not self._frontend.number("request-abs-pointer", 0):
            moved = XenkbdMotion(XenkbdType.MOTION, x - self._place[0], y - self._place[1], event.wheel)
            return XENKBD_MOTION.pack(moved)
        if self._frontend.number("request-raw-pointer", 0):
            x = x * RAW_RANGE // max(1, event.width - 1)
            y = y * RAW_RANGE // max(1, event.height - 1)
        return XENKBD_POSITION.pack(XenkbdPosition(XenkbdType.POS, x, y, event.wheel))

    def _tell(self, op: str) -> None:
        if self._observers.ring is not None and self._frontend is not None:
            self._observers.ring(self._frontend.domid, "response", self.kind, op, EVENT_SIZE, None, "")


def _forget_events(page: EventPage, budget: Budget) -> bool:
    """A frontend has nothing to say in this protocol. Whether it did."""
    taken = False
    while not budget.exhausted and page.take() is not None:
        budget.spend(1)
        taken = True
    return taken
