"""Trace entries as lines of text, live or from a file: columns of when, who, what kind, what, and where.

[    0.000123000] d1v0 hypercall sched_op.block() = 0     @0xc0001042 <idle+0x12> kernel.S:80
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from paravane.abi.domid import DomId
from paravane.text import shown
from paravane.trace.entry import Entry, entry_of
from paravane.trace.wording import body_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.place import Place
    from paravane.trace.records import Record
    from paravane.trace.writer import Again, Header

_KIND_WIDTH: Final = 9
_BODY_WIDTH: Final = 48
"""Columns of what happened when a place follows it: most calls fit, and with the place into 125 columns."""

_BOLD, _DIM, _RED, _YELLOW, _CYAN = (f"\x1b[{code}m" for code in (1, 2, 31, 33, 36))
_PLAIN: Final = "\x1b[0m"
_COLOURS: Final = {"trap": _YELLOW, "event": _CYAN, "refusal": _RED, "domain": _BOLD}


class TextLines:
    """Writes entries as lines (paravane.trace.writer.Writer); with `colour` for a terminal."""

    def __init__(self, *, colour: bool = False) -> None:
        self._colour = colour

    def begin(self, header: Header) -> bytes:
        return b""

    def entry(self, entry: Entry) -> bytes:
        return (text(entry, colour=self._colour) + "\n").encode("utf-8", "backslashreplace")

    def again(self, entry: Entry) -> Again:
        """See paravane.trace.writer.Writer."""
        rest = _after_time(entry, self._colour) + "\n"
        dim, plain = (_DIM, _PLAIN) if self._colour else ("", "")

        def line(time: int, end: int, words: Sequence[int]) -> bytes:
            return f"{dim}{_when(time)}{plain}{rest}".encode("utf-8", "backslashreplace")

        return line

    def end(self) -> bytes:
        return b""


def line(record: Record) -> str:
    """A record as one line."""
    return text(entry_of(record))


def body(record: Record) -> str:
    """What a record says besides when, of whom and where."""
    return shown(body_of(entry_of(record)))


def text(entry: Entry, *, colour: bool = False) -> str:
    """An entry as one line, without its end; with `colour` in a terminal's colours."""
    when = _when(entry.time)
    return (f"{_DIM}{when}{_PLAIN}" if colour else when) + _after_time(entry, colour)


def _when(time: int) -> str:
    return f"[{time // 1_000_000_000:5d}.{time % 1_000_000_000:09d}]"


def _after_time(entry: Entry, colour: bool) -> str:
    kind, what = shown(entry.kind), shown(body_of(entry))
    where = "" if entry.place is None else _where(entry.place)
    if where:
        what = f"{what:<{_BODY_WIDTH}}"
    if colour:
        where = f"{_DIM}{where}{_PLAIN}" if where else ""
        shade = _RED if "errno" in entry.data else _COLOURS.get(entry.kind)
        what = f"{shade}{what}{_PLAIN}" if shade else what
    return f" {who(entry):<4} {kind:<{_KIND_WIDTH}} {what}" + (f" {where}" if where else "")


@lru_cache(1 << 12)
def _where(place: Place) -> str:
    return shown(f"@{place}")


def who(entry: Entry) -> str:
    """`d1v0`, `d1` for what is no vcpu's in particular, `xen` for the hypervisor's own."""
    if entry.domid == DomId.XEN:
        return "xen"
    return f"d{entry.domid}" if entry.vcpu is None else f"d{entry.domid}v{entry.vcpu}"
