"""The domains of one machine by number: who there is, and whom a guest means by a number.

A domain has one entry, by which all its parts are found: its memory, its event channels, its grants. Each
subsystem sees as much of the entry as it needs, by a protocol of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CONTROL_DOMID: Final = 0
"""The control domain: the host, or the guest that has been made it."""

HOST_DOMID: Final = DomId.FIRST_RESERVED - 1
"""The host, where backends are, on a machine whose control domain is a guest: a driver domain, as it were."""


class Numbered(Protocol):
    @property
    def domid(self) -> int: ...


D_co = TypeVar("D_co", bound=Numbered, covariant=True)
Guest = TypeVar("Guest", bound=Numbered)
Control = TypeVar("Control", bound=Numbered)


class Domains(Generic[D_co]):
    """The entries as subsystems see them.

    A number is taken until the last frame of its domain is free: others may hold frames of a domain that is
    gone, and the rules for those frames are still its own. Its memory says when that is, by `leave`; until
    then guests find a domain that does nothing, as they find a dying one in Xen.
    """

    def __init__(self) -> None:
        self._known: dict[int, D_co] = {}
        self.find: Callable[[int], D_co | None] = self._known.get
        """The domain with a number, or None. As `at`, one look into a table: event sends need it."""
        self.at: Callable[[int], D_co] = self._known.__getitem__
        """The domain with a number that is taken for certain. KeyError when it is not."""
        self.when_left: Callable[[], None] | None = None
        """Called when a domain has left."""

    def __iter__(self) -> Iterator[D_co]:
        return iter(self._known.values())

    def by_id(self, domid: int) -> D_co:
        """The domain with that very number. Raises Refusal(ESRCH), as it does for DOMID_SELF."""
        found = self.find(domid)
        if found is None:
            raise Refusal(Errno.ESRCH, f"there is no domain {domid}")
        return found

    def named(self, caller: int, domid: int) -> D_co:
        """The domain that domain `caller` means where it may mean itself by DOMID_SELF (its own number does
        as well). Raises Refusal(ESRCH)."""
        return self.by_id(caller if domid == DomId.SELF else domid)

    def other(self, caller: int, domid: int) -> D_co:
        """The domain that domain `caller` means where it cannot mean itself. Raises Refusal: ESRCH, as for
        DOMID_SELF, or EPERM for its own number."""
        found = self.by_id(domid)
        if domid == caller:
            raise Refusal(Errno.EPERM, f"domain {domid} names itself where only another one will do")
        return found

    def first_from(self, domid: int) -> int | None:
        """The lowest number of a domain from `domid` on; None too where only the host beside a control domain
        is left, which nobody controls: who lists domains has come to their end."""
        return min((number for number in self._known if domid <= number < HOST_DOMID), default=None)

    def leave(self, domid: int) -> None:
        """Nothing is left of a domain: its number is free."""
        del self._known[domid]
        if self.when_left is not None:
            self.when_left()


class Registry(Domains[Guest | Control], Generic[Guest, Control]):
    """The entries as those see them who make domains and take them away.

    A guest is entered before it is built, since the rules for its frames are found by its number. It is among
    the `present` from when it may run until it is about to be taken away.
    """

    def __init__(self) -> None:
        super().__init__()
        self._present: dict[int, Guest] = {}
        self._last = CONTROL_DOMID

    @property
    def empty(self) -> bool:
        """Whether there is no guest, nor anything left of one."""
        return not self._present and all(number in (CONTROL_DOMID, HOST_DOMID) for number in self._known)

    @property
    def last(self) -> int:
        """The number that was given last: what the next one follows."""
        return self._last

    @last.setter
    def last(self, domid: int) -> None:
        self._last = domid

    @property
    def present(self) -> Mapping[int, Guest]:
        """The guests that are built and not being taken away, in the order they came; always up to date."""
        return self._present

    def free_domid(self) -> int:
        """The number of the next guest: one more than the last one's, from 1 again after the highest, past
        those that are taken (as Xen's XEN_DOMCTL_createdomain chooses). Raises ValueError when all are."""
        numbers = DomId.FIRST_RESERVED - 1
        for step in range(numbers):
            domid = (self._last + step) % numbers + 1
            if domid not in self._known:
                return domid
        raise ValueError(f"all {numbers} domain numbers are taken")

    def enter(self, domain: Guest | Control) -> None:
        """A new domain. Raises ValueError when its number is taken or names no ordinary domain."""
        domid = domain.domid
        if domid in self._known or not 0 <= domid < DomId.FIRST_RESERVED:
            raise ValueError(f"domain number {domid} is not free")
        self._known[domid] = domain
        self._last = domid

    def begin(self, guest: Guest) -> None:
        """The guest is built."""
        self._present[guest.domid] = guest

    def retire(self, guest: Guest) -> None:
        """The guest is about to be taken away; its number stays taken until it leaves."""
        del self._present[guest.domid]
