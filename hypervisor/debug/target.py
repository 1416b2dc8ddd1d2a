"""One domain under a debugger: stopped or running, its breakpoints, and why it stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from paravane.cpu.debugger import Watched
from paravane.cpu.moving_breakpoints import MOST as MOST_BREAKPOINTS
from paravane.debug.probe import Points, Probe
from paravane.debug.resume import ALL, Action
from paravane.debug.stops import BEGINNING, Kind, PointError, Signo, Stop, thread_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane.domain import Domain
    from paravane.history import History, Hit
    from paravane.vcpu import Vcpu

Changed = TypeVar("Changed")

NOT_REPEATABLE: Final = "nobody can go back in a run that cannot be repeated"

MOST_WATCHED: Final = 32
LONGEST_WATCHED: Final = 0x4000
"""Bytes in one range: each page of it is looked at with every access of the guest's."""


class Holdable(Protocol):
    """What is asked of the machine (`paravane.machine.Machine`)."""

    def hold(self) -> None: ...
    def release(self) -> None: ...
    def post(self, call: Callable[[], object], /) -> None: ...


class Target:
    """A domain from the moment a debugger comes until it goes.

    While it is stopped the whole machine is held: no guest executes and virtual time stands still, so that
    nobody who talks to the domain sees it pause. `stopped` is called, between two time slices, when it has
    stopped; `ended` when it is over with the domain, which is then no more to be looked at.
    """

    def __init__(
        self,
        machine: Holdable,
        domain: Domain,
        stopped: Callable[[Stop], None],
        ended: Callable[[], None],
        history: History | None = None,
        moved: Callable[[Domain], None] = lambda _: None,
        why_not_back: str = NOT_REPEATABLE,
    ) -> None:
        """`history` is what the machine can go back in, if it can (`why_not_back` is a sentence); `moved`
        hears that the domain is another one then."""
        self.domain = domain
        self.history = history
        self._moved = moved
        self._why_not_back = why_not_back
        self.points = Points()
        self.last = Stop(Signo.TRAP, domain.vcpus[0])
        self.is_stopped = False
        self._machine = machine
        self._stopped = stopped
        self._ended = ended
        self._due: Stop | None = None
        self._postponed: Callable[[], None] | None = None
        self._condemned = False
        self._interrupted = False
        self._probes = [Probe(self, vcpu) for vcpu in domain.vcpus]

    # A debugger comes and goes. Both between two time slices.

    def attach(self) -> None:
        """Stop the domain and watch it."""
        for probe in self._probes:
            probe.vcpu.cpu.debuggers.attach(probe)
        self.domain.debugger = self
        if self.history is not None:
            self.history.attach(self)
        self._hold()

    def detach(self) -> None:
        """Let the domain go on as if nobody had been there. What was put off, its crash, happens now."""
        self.domain.debugger = None
        if self.history is not None:
            self.history.detach()
        for probe in self._probes:
            probe.vcpu.run_state.held = False
            probe.vcpu.cpu.debuggers.detach(probe)
        self._due = None
        self._go_on()

    # What a debugger asks for while the domain is stopped.

    def insert(self, kind: Kind, address: int, size: int) -> None:
        """Set a breakpoint, or watch `size` bytes. Raises PointError where that cannot be."""
        points = self.points
        if kind <= Kind.HARDWARE:
            for probe in self._probes:
                # Those of others too: the processor has hooks for so many addresses, whoever wants them.
                taken = probe.vcpu.cpu.debuggers.breakpoints()
                if address not in taken and len(taken) >= MOST_BREAKPOINTS:
                    others = len(taken - points.kinds.keys())
                    whose = f", and {others} are not the debugger's" if others else ""
                    raise PointError(f"a processor can have {MOST_BREAKPOINTS} breakpoints at a time{whose}")
            points.kinds.setdefault(address, set()).add(kind)
        else:
            if not 0 < size <= LONGEST_WATCHED or address + size > 1 << 32:
                raise PointError(f"{size} bytes at {address:#x} cannot be watched")
            if len(points.watched) >= MOST_WATCHED and (kind, address, size) not in points.watched:
                raise PointError(f"{MOST_WATCHED} ranges can be watched at a time")
            points.watched[kind, address, size] = Watched(
                address, size, reads=kind is not Kind.WRITE, writes=kind is not Kind.READ
            )

    def remove(self, kind: Kind, address: int, size: int) -> None:
        """Undo an `insert`; one that was not made is fine."""
        if kind <= Kind.HARDWARE:
            kinds = self.points.kinds.get(address, set())
            kinds.discard(kind)
            if not kinds:
                self.points.kinds.pop(address, None)
        else:
            self.points.watched.pop((kind, address, size), None)

    def resume(self, actions: Sequence[Action]) -> None:
        """Go on, each vcpu by the first action that names it; those that none names stay where they are. In a
        run that can be gone back in they do not: it goes as it would go without a debugger."""
        for probe in self._probes:
            vcpu = probe.vcpu
            vcpu.cpu.debuggers.update()
            action = next((one for one in actions if one.thread in {ALL, thread_of(vcpu)}), None)
            vcpu.run_state.held = action is None and self.history is None
            if action is None or not action.steps or self._postponed is not None:
                continue
            if self.history is None:
                vcpu.cpu.debuggers.step(probe, action.within)
            else:
                self.history.timeline.step(vcpu, action.within, probe.stepped)
        self._go_on()

    def change(self, make: Callable[[Domain], Changed]) -> Changed:
        """Change something in the domain, which `make` does."""
        changed = make(self.domain)
        if self.history is not None:
            self.history.change(make)
        return changed

    # Going back.

    @property
    def why_not_back(self) -> str:
        """Why nobody can go back in this run: a sentence, or nothing."""
        return self._why_not_back if self.history is None else self.history.why_not

    @property
    def crash_put_off(self) -> bool:
        """A crash has been put off."""
        return self._postponed is not None

    @property
    def at_beginning(self) -> bool:
        """Nothing is there to go back to: who comes in the middle of a slice has a history from its end."""
        return self.history is not None and not self.history.size[0]

    def back(self, thread: int, *, steps: bool) -> None:
        """Go back: to before the last instruction of a thread, or as far as something was met that is set."""
        assert self.history is not None
        self._due = self._postponed = None
        self._interrupted = False
        if steps:
            self.history.step_back(thread - 1)
        else:
            self.history.run_back()
        self._release()

    def moved(self, domain: Domain) -> None:
        """The domain is this one now, somewhere on the way back."""
        self.domain = domain
        self._due = self._postponed = None
        self._condemned = False
        self.last = Stop(Signo.TRAP, domain.vcpus[self.last.vcpu.vcpu_id])
        self._probes = [Probe(self, vcpu) for vcpu in domain.vcpus]
        for probe in self._probes:
            probe.vcpu.cpu.debuggers.attach(probe)
        domain.debugger = self
        self._moved(domain)

    def arrived(self, hit: Hit | None) -> None:
        """The way back is over: here, or at the beginning."""
        vcpus = self.domain.vcpus
        if hit is None:
            self.stop(Stop(Signo.TRAP, self.last.vcpu, BEGINNING))
        else:
            signal = Signo.INT if self._interrupted else Signo.TRAP
            self.stop(Stop(signal, vcpus[hit.vcpu_id], hit.reason))

    def interrupt(self) -> None:
        """Stop the domain where it is; on the way back, have it return."""
        if self.history is not None and self.history.traveling:
            if not self._interrupted:  # else it is on its way already
                self._interrupted = True
                self.history.give_up()
        elif not self.is_stopped:
            self.stop(Stop(Signo.INT, self.last.vcpu))

    def kill(self) -> None:
        """End the domain."""
        self._condemned = True
        self.domain.crash("its debugger killed it", self.domain.dump(self.last.vcpu.vcpu_id))

    # What happens to the domain.

    def stop(self, stop: Stop) -> bool:
        """Have it stop here, in the middle of a run or between two. Of several reasons the first one counts.
        True: the run is to end."""
        if self._due is None and not self.is_stopped:
            self._due = stop
            self._machine.post(self._deliver)
        return True

    def crashing(self, sentence: str, crash: Callable[[], None], *, own: bool) -> bool:
        """The domain is about to crash: by what it did or, with `own`, because its kernel said so. Whether
        that is put off, to be looked at first."""
        if self._condemned:
            return False
        if self._postponed is not None:
            return True
        self._postponed = crash
        if self.history is not None and self.history.traveling:
            for probe in self._probes:
                probe.vcpu.run_state.held = True
                probe.vcpu.stop()
            return True
        for probe in self._probes:
            probe.vcpu.run_state.held = True
            probe.vcpu.stop()
        self._due = None  # nothing that happened before is of interest now
        return self.stop(Stop(Signo.ABRT if own else Signo.SEGV, self._running(), sentence=sentence))

    def repeated(self) -> None:
        """The run that is repeated has come to its end."""
        self.stop(Stop(Signo.TRAP, self.last.vcpu, "replaylog:end"))

    def over(self) -> None:
        """The domain has ended, or is being taken away."""
        self._due = self.domain.debugger = None
        if self.history is not None:
            self.history.detach()
        self._ended()
        self._release()

    def _running(self) -> Vcpu:
        """The vcpu that has the processor; one that was looked at where none of the domain's has it."""
        _, number, _ = self.domain.platform.trace.here(self.domain.domid)
        return self.last.vcpu if number is None else self.domain.vcpus[number]

    def _deliver(self) -> None:
        stop, self._due = self._due, None
        if stop is not None:
            for probe in self._probes:
                probe.vcpu.cpu.debuggers.cancel(probe)
            if self.history is not None:
                self.history.timeline.cancel_step()
            self._hold()
            self.last = stop
            self._stopped(stop)

    def _hold(self) -> None:
        self.is_stopped = True
        self._machine.hold()

    def _go_on(self) -> None:
        postponed, self._postponed = self._postponed, None
        if postponed is not None:
            self._condemned = True
            postponed()
        self._release()

    def _release(self) -> None:
        if self.is_stopped:
            self.is_stopped = False
            self._machine.release()
