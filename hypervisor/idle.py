"""What a machine does while nobody has anything to do: time passes, and the host rests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.sched import FOREVER
from paravane.time.timers import NEVER

if TYPE_CHECKING:
    from paravane.inbox import Inbox
    from paravane.platform import Platform
    from paravane.sched import Policy

YIELD_TIME: Final = 1_000_000
"""Nanoseconds that pass at least when the only vcpu that is ready yields."""

SMALL_AGAINST: Final = 64
"""Who polls by yielding waits in steps of this part of what it has waited already: it ends a wait of an hour
after some hundred yields, and a 64th part late at most."""

OUTSIDE: Final = 24 * 3600 * 10**9
"""Nanoseconds after which who still polls must be waiting for something else than time."""

WATCHFUL_TIME: Final = 50_000_000
"""Nanoseconds between two looks of one that waits for something from outside."""

FARTHEST: Final = 365 * 24 * 3600 * 10**9
"""Nanoseconds: an idle machine waits for no timer that is set for later than a year from now. On Xen it would
hardly go off in the machine's life; a clock that jumped there, for one guest, would come to the end of its
bits, where no timer of any domain is due any more."""

LONGEST_WAIT: Final = 60 * 10**9
"""Nanoseconds of the host's time after which it is looked anew what there is to wait for."""


class Idler:
    """Lets time pass. A clock that jumps costs the host nothing, one that follows the host's is waited for:
    until exactly the next timer, and not longer than until something comes from outside."""

    def __init__(self, platform: Platform, inbox: Inbox, policy: Policy) -> None:
        self._platform = platform
        self._inbox = inbox
        self._policy = policy
        self._polling = 0  # nanoseconds since somebody did anything but yield

    @property
    def polling(self) -> int:
        """Nanoseconds since somebody did anything but yield: all that has to be kept."""
        return self._polling

    @polling.setter
    def polling(self, nanoseconds: int) -> None:
        self._polling = nanoseconds

    def worked(self, nanoseconds: int) -> None:
        """Somebody ran for so long: if that is long, it did something else than to yield."""
        if nanoseconds > YIELD_TIME:
            self._polling = 0

    def polled(self, longest: float | None) -> None:
        """The only vcpu that is ready has yielded: it waits for something, and may wait by the clock. Nothing
        else can run before a timer is due or something comes from outside. Takes at most `longest` seconds of
        the host's time (None: no limit)."""
        step = max(YIELD_TIME, self._polling // SMALL_AGAINST)
        watchful = False
        if self._polling >= OUTSIDE:
            # Time will not bring what it waits for. Steps that went on growing would soon take the clock to
            # where no timer is due any more, of no other domain either.
            watchful = self._inbox.expecting
            step = WATCHFUL_TIME if watchful else YIELD_TIME
        timer = self._platform.timers.next_deadline() - self._platform.clock.now()
        step = max(0, min(step, timer))
        self._polling += step
        if self._pass(step, longest, at_least=step if watchful else 0):
            self._polling = 0

    def wait(self, longest: float | None) -> bool:
        """Nobody may run. Wait for the next timer or for the policy to let somebody run, `longest` seconds
        at most (None: no limit) and until something comes from outside. False when there is neither, or no
        timer before `FARTHEST`."""
        self._polling = 0
        deadline = self._platform.timers.next_deadline()
        timer = deadline - self._platform.clock.now()
        patience = self._policy.patience()
        if deadline == NEVER or timer > FARTHEST:
            if patience == FOREVER:
                return False
            timer = patience
        self._pass(min(timer, patience), longest)
        return True

    def _pass(self, nanoseconds: int, longest: float | None, at_least: int = 0) -> bool:
        """Let time pass with nobody running, `at_least` nanoseconds of the host's unless something comes from
        outside. Whether that happened."""
        clock = self._platform.clock
        began = clock.now()
        if self._platform.bus.host_works:
            # Waited for by the host's time, and no more: what its disk takes is nobody's virtual time.
            wait = min(nanoseconds, LONGEST_WAIT) / 1e9
        else:
            wait = max(clock.idle_until(began + nanoseconds), at_least) / 1e9
        came = self._inbox.look(wait if longest is None else min(wait, longest))
        self._policy.idled(max(0, clock.now() - began))
        return came
