"""A trace that the user names: its entries, as they are read, and what is to be said of its end."""

from __future__ import annotations

import os
import time
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass
from paravane.tools.files import opened
from paravane.tools.progress import portion, telling
from paravane.tools.status import UsageError
from paravane.tools.streams import STDIN as STDIN_FILENO
from paravane.tools.streams import say
from paravane.trace.decoder import TraceError
from paravane.trace.reader import TraceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import IO

    from paravane.trace import Entry
    from paravane.trace.filters import Filter

STDIN: Final = "-"
_CHUNK: Final = 1 << 16
_LOOK_AGAIN: Final = 0.1
"""Seconds after which a file that is followed is looked at again."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: what a filter takes (None: all), and what began from `start` to `end` (nanoseconds)."""

    events: Filter | None = None
    start: int = 0
    end: int | None = None

    def takes(self, entry: Entry) -> bool:
        if entry.time < self.start or (self.end is not None and entry.time > self.end):
            return False
        return self.events is None or self.events.takes(entry)


@dataclass(slots=True)
class Source:
    """A trace by its name (`-`: stdin). `hz` is the frequency of the time-stamp counter of xentrace's; with
    `told`, how far it has been read is shown on a terminal."""

    name: str
    hz: int
    wanted: Wanted = field(default_factory=Wanted)
    told: bool = True
    reader: TraceReader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = TraceReader(self.hz)

    @property
    def path(self) -> Path | None:
        """The file, None for stdin."""
        return None if self.name == STDIN else Path(self.name)

    def entries(self) -> Generator[Entry, None, None]:
        """Those that are wanted, to the end of the file; then what is missing there is said on stderr.

        Raises UsageError where the trace is damaged or is none, OSError as reading does.
        """
        with self._open() as stream, telling(lambda: self._progress(stream), wanted=self.told):
            try:
                while data := self._read(stream):
                    yield from filter(self.wanted.takes, self.reader.feed(data))
                yield from filter(self.wanted.takes, self.reader.finish())
            except TraceError as error:
                raise self._refusal(error) from None
        self._note()

    def follow(self, waiting: Callable[[], None]) -> Iterator[Entry]:
        """As `entries`, but wait for more at the end of the file, for ever; `waiting` is called before that.

        A file that has become shorter is read anew from its start. A pipe ends when its writers do: then it
        is as `entries`.
        """
        with self._open() as stream:
            try:
                while True:
                    data = self._read(stream)
                    yield from filter(self.wanted.takes, self.reader.feed(data))
                    if not data and not self._more(stream, waiting):
                        break
                yield from filter(self.wanted.takes, self.reader.finish())
            except TraceError as error:
                raise self._refusal(error) from None
        self._note()

    def _more(self, stream: IO[bytes], waiting: Callable[[], None]) -> bool:
        """Wait a little for a file to grow; False if there is nothing to wait for."""
        waiting()
        if not stream.seekable():
            return False
        time.sleep(_LOOK_AGAIN)
        if os.fstat(stream.fileno()).st_size < stream.tell():
            say(f"{self._title} was begun anew")
            self.reader = TraceReader(self.hz)
            stream.seek(0)
        return True

    def _open(self) -> IO[bytes]:
        """Unbuffered, so that what a pipe has comes at once."""
        return open(STDIN_FILENO, "rb", 0, closefd=False) if self.path is None else opened(self.path, 0)

    def _progress(self, stream: IO[bytes]) -> str:
        return f"reading {self._title}{portion(stream.fileno())}"

    def _read(self, stream: IO[bytes]) -> bytes:
        try:
            return stream.read(_CHUNK)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._title) from None

    def _note(self) -> None:
        if self.reader.note:
            say(f"{self._title}: {self.reader.note}")

    @property
    def _title(self) -> str:
        return "stdin" if self.path is None else self.name

    def _refusal(self, error: TraceError) -> UsageError:
        return UsageError(f"{self._title}: {error}")
