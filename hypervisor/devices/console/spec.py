"""What a console is joined to, in one line of text: that of `--console`, of `console = [...]` in .cfg files,
and of `consoles` in `kernel.toml`.

stdio                   standard input and output, where there is such; the default
pty                     a new pseudo-terminal, for `screen /dev/pts/N`
tcp:2323                listens on the loopback; 0 is any free port
tcp:0.0.0.0:2323        listens on this address: whoever reaches it has the console
unix:/run/guest.sock    listens on a socket in the file system, for this user alone
file:guest.log          appends what comes out; nothing comes in
pty,log=guest.log       whichever it is, what comes out is appended to that file, too
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.console.host_end import EndConfig, HostEnd
    from paravane.devices.console.ring_console import Sink
    from paravane.devices.console.socket_end import TcpEnd
    from paravane.devices.xenbus import DeviceHost

_LOG: Final = ",log="
_LONGEST: Final = 80
_PORT: Final = re.compile(r"(?:(?P<host>[^\[\]:]+|\[[^\]]*\]):)?(?P<port>[0-9]{1,5})")
_MOST_PORT: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class ConsoleSpec:
    """A console's end on the host. `end` None is standard input and output, which whoever makes the domain
    has to give; `log` is a file to which all that comes out is appended; `tap` is told of it as well."""

    end: EndConfig | None = None
    log: str | os.PathLike[str] | None = None
    tap: Callable[[bytes], None] | None = None

    @property
    def on_terminal(self) -> bool:
        return self.end is None

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are written."""
        log = () if self.log is None else (os.fspath(self.log),)
        if self.end is None:
            return log
        from paravane.devices.console.file_end import FileEnd  # noqa: PLC0415 - loaded for who asks for it only

        return (self.end.path, *log) if isinstance(self.end, FileEnd) else log

    def open(self, host: DeviceHost, sink: Sink | None = None) -> HostEnd:
        """The end; `sink` is what stands for standard output. Raises ValueError, a sentence, when it cannot
        be had."""
        from paravane.devices.console.host_end import SinkEnd  # noqa: PLC0415 - loaded for who asks for it only

        if self.end is not None:
            end = self.end.open(host)
        elif sink is not None:
            end = SinkEnd(sink)
        else:
            raise ValueError("a console cannot be on standard input and output here")
        if self.log is None and self.tap is None:
            return end
        from paravane.devices.console.tee import Tee  # noqa: PLC0415 - loaded for who asks for it only

        try:
            return Tee(end, None if self.log is None else os.fspath(self.log), self.tap)
        except ValueError:
            end.close()
            raise


def parse_console(text: str) -> ConsoleSpec:
    """The console that a text describes. Raises ValueError, a sentence."""
    try:
        where, logged, log = text.partition(_LOG)
        if logged and not log:
            raise ValueError("which file is the log?")
        return ConsoleSpec(_end(where.strip()), log or None)
    except ValueError as error:
        raise ValueError(f"console {shown(text[:_LONGEST])!r}: {error}") from None


def parse_channel(text: str) -> tuple[str, ConsoleSpec]:
    """A channel as xl.cfg(5) describes one, `connection=pty|socket, name=NAME[, path=PATH]`: an extra console
    with a name. Raises ValueError, a sentence."""
    found: dict[str, str] = {}
    for field in text.split(","):
        key, equals, value = (part.strip() for part in field.partition("="))
        if not equals or key not in ("backend", "name", "connection", "path"):
            raise ValueError(f"channel {shown(text[:_LONGEST])!r}: {shown(field.strip())} is no setting")
        found[key] = value
    try:
        return _channel(found)
    except ValueError as error:
        raise ValueError(f"channel {shown(text[:_LONGEST])!r}: {error}") from None


def _end(text: str) -> EndConfig | None:
    from paravane.devices.console.file_end import FileEnd  # noqa: PLC0415 - loaded for who asks for it only
    from paravane.devices.console.pty_end import PtyEnd  # noqa: PLC0415 - loaded for who asks for it only
    from paravane.devices.console.socket_end import UnixEnd  # noqa: PLC0415 - loaded for who asks for it only

    kind, colon, rest = text.partition(":")
    if kind == "stdio" and not colon:
        return None
    if kind == "pty" and not colon:
        return PtyEnd()
    if kind == "tcp" and colon:
        return _tcp(rest)
    if kind in ("unix", "file") and colon:
        if not rest or "\0" in rest:
            raise ValueError(f"there is no path after {kind}:")
        return UnixEnd(rest) if kind == "unix" else FileEnd(rest)
    raise ValueError("it is none of stdio, pty, tcp:[HOST:]PORT, unix:PATH and file:PATH")


def _tcp(text: str) -> TcpEnd:
    from paravane.devices.console.socket_end import LOOPBACK, TcpEnd  # noqa: PLC0415 - loaded for who asks for it only

    found = _PORT.fullmatch(text)
    if found is None or int(found["port"]) > _MOST_PORT:
        raise ValueError("tcp: is followed by a port or by HOST:PORT, [HOST]:PORT for one with colons")
    return TcpEnd(int(found["port"]), (found["host"] or LOOPBACK).strip("[]"))


def _channel(found: dict[str, str]) -> tuple[str, ConsoleSpec]:
    from paravane.devices.console.pty_end import PtyEnd  # noqa: PLC0415 - loaded for who asks for it only
    from paravane.devices.console.socket_end import UnixEnd  # noqa: PLC0415 - loaded for who asks for it only

    if not found.get("name"):
        raise ValueError("it has no name, by which a guest finds it")
    if found.get("backend", "0") not in ("0", "Domain-0"):
        raise ValueError("consoles are carried by domain 0")
    connection = found.get("connection")
    if connection == "pty":
        return found["name"], ConsoleSpec(PtyEnd())
    if connection != "socket":
        raise ValueError("its connection is pty or socket")
    if not found.get("path"):
        raise ValueError("connection=socket needs path=PATH")
    return found["name"], ConsoleSpec(UnixEnd(found["path"]))
