"""From the messages of a machine to the bytes of a trace file; guests repeat themselves.

Most of what a record costs is the making of its text, and a guest makes the same few calls from the same few
places, with the same answers. What differs are the times, and registers that are no arguments: what is
written of such a record is kept, and put together with those.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Final, Protocol

from paravane.trace.entry import entry_of
from paravane.trace.message import (
    CALL,
    CLASSES,
    END,
    ENTRY,
    FORGET,
    HEAD,
    KEY,
    MET,
    MORE,
    NO_RESULT,
    PART,
    RECORD,
    SITE,
    TIMES,
    WORDS,
)
from paravane.trace.packer import own_fields
from paravane.trace.records import HypercallRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paravane.place import Place
    from paravane.trace.call import Argument, Written
    from paravane.trace.entry import Entry
    from paravane.trace.records import Record
    from paravane.trace.writer import Again, Header, Writer

_REMEMBERED: Final = 1 << 12
"""Records whose bytes are kept."""

_LONGEST: Final = 1 << 10
"""Bytes of a record that are kept: with this many of each, all of them take a few megabytes."""

_PORTION: Final = 1 << 16
"""Bytes that are worth writing at a time."""

_OWN_FIELDS: Final = tuple(own_fields(kind) for kind in CLASSES)


class Declared(Protocol):
    """A declaration of a hypercall, as far as traces need it."""

    @property
    def name(self) -> str: ...
    def shown(self, arguments: tuple[int, ...], copies: tuple[bytes, ...], /) -> Sequence[Argument]:
        """Its arguments, from the six argument registers and from what its pointers point to."""
        ...

    def written(self, data: bytes, /) -> Written:
        """The struct that the guest got back, from its bytes."""
        ...


class Calls(Protocol):
    """Where hypercalls are declared: see `paravane.hypercalls.table`."""

    def numbered(self, number: int, arguments: tuple[int, ...], /) -> Declared:
        """What was called by a number and arguments that somebody has looked up before."""
        ...

    def named(self, name: str, /) -> Declared: ...


class Unpacker:
    """Makes the bytes of messages as `writer` makes those of entries."""

    def __init__(self, writer: Writer, calls: Calls) -> None:
        self._writer = writer
        self._calls = calls
        self._sites: list[tuple[int, int | None, Place | None]] = []
        self._known: dict[bytes, Again] = {}
        self._seen: set[int] = set()
        self._parts: list[bytes] = []

    def begin(self, header: Header) -> bytes:
        """What comes before the first message."""
        return self._writer.begin(header)

    def unpack(self, messages: bytes) -> Iterator[tuple[bytes, int]]:
        """The bytes of whole messages, in portions, each with how many bytes of `messages` are in it."""
        found: list[bytes] = []
        at = done = size = 0
        known = self._known
        while at < len(messages):
            (head,) = HEAD.unpack_from(messages, at)
            kind, end = head & 0xFF, at + (head >> 8)
            if kind < MORE:
                again = known.get(messages[at + KEY : at + WORDS + 4 * kind])
                if again is None:
                    piece = self._call(kind, messages[at:end])
                else:
                    _, time, stop, _, _, _, *words = CALL.unpack_from(messages, at)
                    piece = again(time, stop, words)
            else:
                piece = self._other(kind, messages[at:end])
            found.append(piece)
            at, size = end, size + len(piece)
            if size >= _PORTION:
                yield b"".join(found), at - done
                found.clear()
                done, size = at, 0
        if at > done:
            yield b"".join(found), at - done

    def _other(self, kind: int, message: bytes) -> bytes:
        """What a message that is no plain call becomes, if anything."""
        if kind == PART:
            self._parts.append(message[HEAD.size :])
            return b""
        if self._parts:
            message = b"".join([message[: HEAD.size], *self._parts, message[HEAD.size :]])
            self._parts.clear()
        if kind < RECORD:
            return self._call(kind, message)
        if kind == RECORD:
            return self._record(message)
        body = message[HEAD.size :]
        if kind == MET:
            self._sites.append(pickle.loads(body))
        elif kind == FORGET:
            self._sites.clear()
            self._known.clear()
        elif kind == ENTRY:
            return self._writer.entry(pickle.loads(body))
        elif kind == END:
            return self._writer.end()
        return b""

    def _call(self, kind: int, message: bytes) -> bytes:
        """A hypercall that need not be a plain one, or that is not remembered."""
        key = message[KEY : WORDS + 4 * (kind & 7)] + message[CALL.size :]
        _, time, end, site, number, result, *words = CALL.unpack_from(message)
        again = self._known.get(key)
        if again is not None:
            return again(time, end, words)
        domid, vcpu, place = self._sites[site]
        assert place is not None
        arguments = tuple(words)
        name, copies, errno, sentence, preempted, written = None, (), None, "", None, None
        if kind & MORE:
            name, copies, errno, sentence, preempted, written = pickle.loads(message[CALL.size :])
        declared = self._calls.numbered(number, arguments) if name is None else self._calls.named(name)
        record = HypercallRecord(
            time,
            domid,
            vcpu,
            place,
            number,
            declared.name,
            arguments,
            declared.shown(arguments, copies),
            None if result == NO_RESULT else result,
            errno,
            sentence,
            preempted,
            None if written is None else declared.written(written),
            end,
        )
        return self._new(key, entry_of(record))

    def _record(self, message: bytes) -> bytes:
        key = message[KEY:]
        time, end = TIMES.unpack_from(message, HEAD.size)
        again = self._known.get(key)
        if again is not None:
            return again(time, end, ())
        (site,) = SITE.unpack_from(message, KEY)
        number, values = pickle.loads(message[KEY + SITE.size :])
        names, kind = _OWN_FIELDS[number], CLASSES[number]
        own: dict[str, Any] = dict(zip(names, values, strict=True))
        record: Record = kind(time, *self._sites[site], **own)
        entry = entry_of(record)
        entry.end = end
        return self._new(key, entry)

    def _new(self, key: bytes, entry: Entry) -> bytes:
        """The bytes of a record that is not remembered. One that comes for the second time, and is not long,
        is from now on: to keep what never comes again would cost more than it saves."""
        found = self._writer.entry(entry)
        seen = hash(key)
        if seen not in self._seen:
            # Hashes alone take little memory, and two that are equal do no harm: the key itself decides.
            _bounded(self._seen)
            self._seen.add(seen)
        elif len(found) <= _LONGEST and (again := self._writer.again(entry)) is not None:
            _bounded(self._known)
            self._known[key] = again
        return found


def _bounded(kept: set[int] | dict[bytes, Again]) -> None:
    if len(kept) >= _REMEMBERED:
        kept.clear()
