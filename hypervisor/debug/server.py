"""Debuggers of one domain: they come in at a listening socket, one at a time, by the machine's inputs."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from paravane.abi.sched import ShutdownReason
from paravane.debug.link import Link
from paravane.debug.monitor import Monitor
from paravane.debug.stops import Signo
from paravane.debug.stub import Stub
from paravane.debug.target import NOT_REPEATABLE, Target
from paravane.ending import StopReason

if TYPE_CHECKING:
    from paravane.debug.listener import Listener
    from paravane.debug.packets import Signal
    from paravane.debug.stops import Stop
    from paravane.domain import Domain
    from paravane.history import History
    from paravane.machine import Machine


PORTION: Final = 16
"""Packets that are answered at a time: each takes a millisecond at most."""


class Server:
    """Lets debuggers look at a domain, from now until it is closed or the domain ends.

    Everything happens in the machine's own thread between two time slices, when no guest executes. A debugger
    that comes stops the domain, and one that goes, in whatever way, lets it go on. Close it before the
    machine.
    """

    def __init__(
        self,
        machine: Machine,
        domain: Domain,
        listener: Listener,
        history: History | None = None,
        why_not_back: str = NOT_REPEATABLE,
    ) -> None:
        """With `history`, of the same machine and domain, debuggers can go back in the run; without, they are
        told why they cannot."""
        self._machine = machine
        self._domain = domain
        self._history = history
        self._why_not_back = why_not_back
        self._listener = listener
        self._link: Link | None = None
        self._stub: Stub | None = None
        self._monitor: Monitor | None = None
        self._target: Target | None = None
        self._unanswered: deque[bytes | Signal] = deque()
        self._waits = False
        self._closed = False
        machine.add_input(listener.fileno(), self._come_in, for_guests=False)
        machine.when_stalled(self._stalled)

    def wait(self) -> None:
        """Hold the machine until the first debugger has come."""
        if not self._waits and self._target is None:
            self._waits = True
            self._machine.hold()

    def close(self) -> None:
        """Let the debugger go, and nobody come. Idempotent."""
        if not self._closed:
            self._closed = True
            self._machine.remove_input(self._listener.fileno())
            self._let_go()
            self._wait_no_more()

    def _come_in(self) -> None:
        connection = self._listener.accept()
        if connection is None:
            return
        if self._history is not None:
            self._domain = self._history.domain  # the machine may have gone back after a debugger had left
        if self._link is not None or not self._domain.alive:
            connection.close()  # one at a time, and of the living
            return
        if not self._domain.vcpus:
            # A debugger's threads are vcpus, and it has always one: there is nothing to show it.
            self._domain.log.warning("a debugger was sent away: %s has no vcpu yet", self._domain.name)
            connection.close()
            return
        link = self._link = Link(connection, lambda: self._machine.post(self._go_on))
        self._target = Target(
            self._machine,
            self._domain,
            self._stopped,
            self._ended,
            self._history,
            self._moved,
            self._why_not_back,
        )
        self._monitor = Monitor(self._machine, self._domain, self._say)
        self._stub = Stub(link, self._target, self._monitor)
        self._machine.add_input(link.fileno(), self._hear, for_guests=False)
        self._target.attach()
        self._wait_no_more()

    def _hear(self) -> None:
        """Something has come from the debugger, or it has gone. While answers are due it is left there: who
        floods us waits, and costs no memory."""
        if self._link is not None and not self._unanswered:
            self._unanswered += self._link.receive()
            self._go_on()

    def _go_on(self) -> None:
        """Answer a portion of what has come; signals and time-outs have their turn before the next one."""
        link, stub = self._link, self._stub
        if link is None:
            return
        for _ in range(min(PORTION, len(self._unanswered))):
            item = self._unanswered.popleft()
            if stub is not None and self._target is not None and not stub.wants_to_go:
                stub.handle(item)  # else there is nothing left to ask about, or nobody left
        if not link.is_open or (stub is not None and stub.wants_to_go):
            self._let_go()
        elif self._unanswered:
            self._machine.post(self._go_on)

    def _stopped(self, stop: Stop) -> None:
        assert self._stub is not None
        self._stub.tell_stop(stop)

    def _moved(self, domain: Domain) -> None:
        """The machine has gone back."""
        self._domain = domain
        if self._monitor is not None:
            self._monitor.moved(domain)

    def _stalled(self) -> None:
        """Nothing but a debugger can wake a guest any more: that is said where one would look."""
        if self._closed:
            return
        why = StopReason.STALLED.value
        if self._link is None:
            address = self._listener.address
            self._domain.log.warning("%s: %s; a debugger may come to %s", self._domain.name, why, address)
        else:
            if any(vcpu.run_state.held for vcpu in self._domain.vcpus):
                why = "every vcpu that is to go on sleeps, and the others are held"
            self._say(f"{why}: interrupt the guest to look at it\n")

    def _say(self, text: str) -> None:
        if self._stub is not None:
            self._stub.say(text)

    def _ended(self) -> None:
        """The domain has ended, perhaps in the middle of its hypercall."""
        link, self._target = self._link, None
        if link is None or self._stub is None or self._stub.wants_to_go:
            return
        reason = self._domain.reason
        if reason is ShutdownReason.poweroff:
            link.send(b"W00")
        elif reason is None or reason is ShutdownReason.crash:
            link.send(b"X%02x" % Signo.ABRT)
        else:
            self._say(f"the guest has ended: {reason.name}\n")
            link.send(b"W%02x" % reason)
        self._stub = None

    def _let_go(self) -> None:
        link, self._link, self._stub = self._link, None, None
        target, self._target = self._target, None
        monitor, self._monitor = self._monitor, None
        self._unanswered.clear()
        if link is not None:
            self._machine.remove_input(link.fileno())
            link.close()
        if monitor is not None:
            monitor.close()
        if target is not None:
            target.detach()

    def _wait_no_more(self) -> None:
        if self._waits:
            self._waits = False
            self._machine.release()
