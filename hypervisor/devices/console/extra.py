"""Consoles that a domain has besides its first: split devices, `device/console/N` from 1 on.

As libxl and QEMU have them: the frontend grants the page of rings (`ring-ref`), offers an event channel
(`port`), and says Initialised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from paravane.classes import dataclass
from paravane.devices.console.pty_end import PtyEnd
from paravane.devices.console.ring_console import Console
from paravane.devices.console.socket_end import UnixEnd
from paravane.devices.console.spec import ConsoleSpec
from paravane.devices.console.stream_end import LIMIT
from paravane.devices.xenbus import Device
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from paravane.devices.bus import Budget
    from paravane.devices.console.host_end import HostEnd
    from paravane.devices.console.ring_console import Sink
    from paravane.devices.ring import RingFault
    from paravane.devices.xenbus import DeviceHost, Frontend, Nodes

MOST: Final = 16
"""Consoles of a domain: enough for anybody, and few enough for a host's pseudo-terminals."""

_LONGEST_NAME: Final = 64
_MOST_NUMBER: Final = 255


class ExtraConsoleDevice(Device):
    """One such console. To its end on the host, and to others who feed it, it is there for as long as the
    device is, and takes nothing while no frontend is connected."""

    kind: ClassVar[str] = "console"

    def __init__(self, host: DeviceHost, config: ExtraConsole) -> None:
        """Raises ValueError when its end cannot be had."""
        self.number = config.number
        self._host = host
        self._config = config
        self.end: HostEnd = config.console.open(host, config.sink)
        self._console: Console | None = None
        self._frontend: Frontend | None = None
        self._fault: RingFault | None = None
        self._parting = b""
        self._waiting: dict[Callable[[], None], None] = {}

    def backend_nodes(self) -> Nodes:
        """libxl's."""
        nodes = {"protocol": "vt100"}
        if self._config.name:
            nodes["name"] = self._config.name
        end = self._config.console.end
        if isinstance(end, PtyEnd):
            nodes["connection"] = "pty"
        elif isinstance(end, UnixEnd):
            nodes |= {"connection": "socket", "path": end.path}
        return nodes

    def frontend_nodes(self) -> Nodes:
        return {"protocol": "vt100"}

    def fixed_nodes(self) -> Nodes:
        """What a guest may read and not change: tools of the host open what `tty` names."""
        pty = isinstance(self._config.console.end, PtyEnd)
        return {
            **({"name": self._config.name} if self._config.name else {}),
            "limit": LIMIT,
            "type": "ioemu",
            "output": "pty" if pty else f"chardev:libxl-channel{self.number}",
            "tty": self.end.tty,
        }

    def connect(self, frontend: Frontend) -> Nodes:
        page = frontend.map(frontend.number("ring-ref")).page
        port = frontend.listen(frontend.port("port"))
        self._frontend = frontend
        self._console = Console(
            page,
            port,
            self._put_out,
            domid=frontend.domid,
            number=self.number,
            observers=self._host.bus.observers,
            faulted=self._faulted,
        )
        self.end.join(self)
        self._tell_of_room()
        return {}

    def on_event(self, budget: Budget) -> bool:
        if self._console is not None:
            self._console.serve(budget)
        if self._fault is not None:
            raise self._fault
        return False

    def disconnect(self) -> None:
        self.end.part()
        if self._console is not None:
            self._console.close()
            # Of what earlier frontends left nothing more is kept than one ring holds.
            self._parting = self._parting or self._console.last_words
        self._console = self._frontend = self._fault = None

    def close(self) -> None:
        self.end.finish()
        self.resume()
        self.end.close()

    # What its end asks of it.

    @property
    def room(self) -> int:
        """How many bytes `feed` would accept now."""
        return 0 if self._console is None else self._console.room

    def feed(self, data: bytes) -> int:
        """Input for the guest. Returns how many bytes were accepted."""
        return 0 if self._console is None else self._console.feed(data)

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back once, as soon as there is more `room`: for this frontend, or for the next."""
        self._waiting[callback] = None
        if self._console is not None:
            self._console.when_room(self._tell_of_room)

    def resume(self) -> None:
        """The end can take more."""
        if self._parting:
            taken = self.end.write(self._parting)
            self._parting = b"" if taken is None else self._parting[taken:]
        if self._console is not None and not self._parting:
            self._console.resume()

    def _tell_of_room(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for callback in waiting:
            callback()

    def _put_out(self, data: bytes) -> int | None:
        """The console's sink: what an earlier frontend has left comes first."""
        return 0 if self._parting else self.end.write(data)

    def _faulted(self, fault: RingFault) -> None:
        """The ring is impossible. Input may have shown that, so the bus has yet to hear of it."""
        self._fault = fault
        if self._frontend is not None:
            self._frontend.call()


@dataclass(frozen=True, slots=True)
class ExtraConsole:
    """An extra console, for `DomainConfig.devices` and `Machine.attach`. `sink` takes what comes out when
    the console is on standard output; `name` is what a program in the guest finds it by."""

    number: int = 1
    console: ConsoleSpec = ConsoleSpec(PtyEnd())
    name: str = ""
    sink: Sink | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a number or a name that none can have."""
        if not 1 <= self.number <= _MOST_NUMBER:
            raise ValueError(f"an extra console has a number from 1 to {_MOST_NUMBER}, not {self.number}")
        if len(self.name) > _LONGEST_NAME or not self.name.isprintable():
            raise ValueError(f"{shown(self.name[:_LONGEST_NAME])!r} is no name of a console")

    def open(self, host: DeviceHost) -> ExtraConsoleDevice:
        """Raises ValueError."""
        return ExtraConsoleDevice(host, self)


def consoles_of(
    specs: Sequence[ConsoleSpec], channels: Iterable[tuple[str, ConsoleSpec]] = ()
) -> tuple[ConsoleSpec | None, tuple[ExtraConsole, ...]]:
    """The first console of a domain (None: nobody says where) and those beside it: further ones, then xl's
    channels, which have names. Raises ValueError for too many, and when two of them want the same standard
    input and output."""
    extras = [*(("", spec) for spec in specs[1:]), *channels]
    if len(extras) >= MOST:
        raise ValueError(f"a domain has {MOST} consoles at most, not {len(extras) + 1}")
    if sum(spec.on_terminal for spec in specs) > 1:
        raise ValueError("two consoles cannot both be on standard input and output")
    first = specs[0] if specs else None
    return first, tuple(ExtraConsole(number, spec, name) for number, (name, spec) in enumerate(extras, 1))
