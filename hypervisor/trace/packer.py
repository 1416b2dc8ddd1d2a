"""Packs what happens in a machine for the writer of its trace, so that guests need not wait for words."""

from __future__ import annotations

import pickle
from dataclasses import fields
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from paravane.trace.entry import entry_of
from paravane.trace.message import (
    CALL,
    CLASSES,
    END,
    ENTRY,
    FORGET,
    HEAD,
    LARGEST,
    MET,
    MORE,
    NO_RESULT,
    PART,
    RECORD,
    SITE,
    SITES,
    TIMES,
    first_word,
)
from paravane.trace.records import HypercallRecord
from paravane.trace.ring import PUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.place import Place
    from paravane.trace.records import Record
    from paravane.trace.ring import Ring
    from paravane.trace.stream import Origin, Tell

_PROTOCOL: Final = 5
_CALL_HEADS: Final = tuple(first_word(used, CALL.size) for used in range(7))
_APART: Final = frozenset({"time", "end", "domid", "vcpu", "place"})


def own_fields(kind: type[Record]) -> tuple[str, ...]:
    """The fields of a class of records that are pickled."""
    return tuple(item.name for item in fields(kind) if item.name not in _APART)


_own: Final[dict[type[Record], tuple[int, Callable[[Any], Any]]]] = {
    kind: (number, attrgetter(*own_fields(kind))) for number, kind in enumerate(CLASSES)
}


class Packer:
    """Puts messages into `ring` (paravane.trace.stream.CallTaker). Never raises."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._origins: set[int] = set()
        self._sites: dict[int | tuple[int, int | None, Place | None], int] = {}

    def caller(self, origin: Origin) -> Tell:
        """See paravane.trace.stream.CallTaker. Every hypercall that is traced comes through here, so all that
        it takes is at hand, and the ring is not asked but looked at."""
        ring, state, messages, sites = self._ring, self._ring.state, self._ring.messages, self._sites
        pack, heads, size = CALL.pack_into, _CALL_HEADS, CALL.size
        key = (origin.domid << 16 | origin.vcpu_id) << 32
        if key in self._origins:
            # A domain that has the number of one that is gone, and perhaps another kernel.
            self.forget()
        self._origins.add(key)
        where = partial(self._where, key, origin.domid, origin.vcpu_id, origin.place)

        def tell(
            address: int,
            time: int,
            end: int,
            number: int,
            arguments: tuple[int, ...],
            used: int,
            result: int | None,
        ) -> None:
            site = sites.get(key | address)
            if site is None:
                site = where(address)
            if result is None:
                result = NO_RESULT
            at = ring.at
            stop = at + size
            if stop > ring.limit:
                ring.claim(size)
                at = ring.at
                stop = at + size
            # One by one: to pass a tuple on as arguments takes longer than to pack it.
            ebx, ecx, edx, esi, edi, ebp = arguments
            pack(messages, at, heads[used], time, end, site, number, result, ebx, ecx, edx, esi, edi, ebp)
            # As Ring.publish does.
            ring.at = state[PUT] = stop

        return tell

    def record(self, record: Record) -> None:
        """Any record."""
        if type(record) is HypercallRecord:
            self._hypercall(record)
            return
        known = _own.get(type(record))
        if known is None:
            self._put(ENTRY, pickle.dumps(entry_of(record), _PROTOCOL))
            return
        number, values = known
        site, own = self._site(record), pickle.dumps((number, values(record)), _PROTOCOL)
        self._put(RECORD, self._times(record) + SITE.pack(site) + own)

    def forget(self) -> None:
        """What is met from now on is met for the first time."""
        self._sites.clear()
        self._put(FORGET, b"")

    def end(self) -> None:
        """There is no more."""
        self._put(END, b"")

    def _hypercall(self, record: HypercallRecord) -> None:
        if record.copies is None:
            self._put(ENTRY, pickle.dumps(entry_of(record), _PROTOCOL))
            return
        written = record.written
        more = (
            record.name,
            record.copies,
            record.errno,
            record.sentence,
            record.preempted,
            None if written is None else written.layout.pack(written.value),
        )
        # The first register of `sched_op.poll` says that it is `poll`: it is none of the arguments.
        kind = len(record.arguments) + ("." in record.name) | MORE
        site, result = self._site(record), NO_RESULT if record.result is None else record.result
        times = TIMES.unpack(self._times(record))
        fixed = CALL.pack(0, *times, site, record.number, result, *record.words)
        self._put(kind, fixed[HEAD.size :] + pickle.dumps(more, _PROTOCOL))

    @staticmethod
    def _times(record: Record) -> bytes:
        end: int | None = getattr(record, "end", None)
        return TIMES.pack(record.time, record.time if end is None else end)

    def _site(self, record: Record) -> int:
        key = record.domid, record.vcpu, record.place
        site = self._sites.get(key)
        return self._meet(key, *key) if site is None else site

    def _where(self, key: int, domid: int, vcpu: int, place: Callable[[int], Place], address: int) -> int:
        """The number of a call site that is new."""
        return self._meet(key | address, domid, vcpu, place(address))

    def _meet(
        self,
        key: int | tuple[int, int | None, Place | None],
        domid: int,
        vcpu: int | None,
        place: Place | None,
    ) -> int:
        """The number of a site that is new."""
        if len(self._sites) >= SITES:
            self.forget()
        site = self._sites[key] = len(self._sites)
        self._put(MET, pickle.dumps((domid, vcpu, place), _PROTOCOL))
        return site

    def _put(self, kind: int, body: bytes) -> None:
        most = LARGEST - HEAD.size
        while len(body) > most:
            self._ring.put(HEAD.pack(first_word(PART, LARGEST)) + body[:most])
            body = body[most:]
        self._ring.put(HEAD.pack(first_word(kind, HEAD.size + len(body))) + body)
