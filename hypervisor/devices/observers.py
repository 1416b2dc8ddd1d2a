"""Who is told what backends do: nobody, or whoever put a function here (paravane.trace.sources)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from paravane.classes import dataclass

if TYPE_CHECKING:
    from paravane.refusal import Refusal


class RingObserver(Protocol):
    def __call__(
        self, domid: int, what: str, device: str, op: str, size: int, number: int | None, status: str, /
    ) -> None:
        """A backend took a `request` from a ring of a domain, or put a `response` into it. `number` and
        `status` are the protocol's, where it has them; `size` is in bytes."""
        ...


class StoreObserver(Protocol):
    def __call__(
        self,
        domid: int,
        kind: int,
        path: str,
        value: bytes,
        transaction: int,
        answer: bytes,
        refusal: Refusal | None,
        /,
    ) -> None:
        """A request to xenstore (XsMessage `kind`) for `path`, absolute, with `value` after it was answered,
        or refused. A watch event has its token as the value, and no answer."""
        ...


class ConsoleObserver(Protocol):
    def __call__(self, domid: int, number: int, what: str, data: bytes, /) -> None:
        """Bytes were put `out` by a domain's console of this number, or it was given them as input (`in`)."""
        ...


@dataclass(slots=True)
class DeviceObservers:
    """One for each subject, for all backends of a machine."""

    ring: RingObserver | None = None
    store: StoreObserver | None = None
    console: ConsoleObserver | None = None
