"""Whether a vcpu may run, and what it waits for: one object, with a verb for every change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from paravane.abi.errno import Errno
from paravane.abi.vcpu import Runstate
from paravane.classes import dataclass
from paravane.refusal import Refusal
from paravane.time.timers import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from paravane.time.timers import TimerQueue
    from paravane.time.vcpu_time import VcpuTime


class Wakers(Protocol):
    """What may end a vcpu's sleep: the event channels of its domain."""

    def upcall_due(self, vcpu_id: int, /) -> bool:
        """Whether an upcall is pending that the vcpu has not masked."""
        ...

    def poll(self, vcpu_id: int, ports: Iterable[int]) -> bool:
        """Whether the vcpu is to sleep until one of `ports` fires. Raises Refusal for a bad port."""
        ...

    def stop_poll(self, vcpu_id: int) -> None:
        """The vcpu polls no more."""
        ...


@dataclass(slots=True)
class Waiting:
    """All that has to be kept of a run state: a vcpu restored with it waits for what it waited for.

    `blocked`: until an event, or until `poll_deadline` (system time; NEVER: for ever). `down`: until
    VCPUOP_up, which `initialised`, that it has a context to run in, must precede. `unwoken`: it is up, but
    nobody has told the scheduler. `ended`: its domain is gone. `paused`: the administrator of its domain does
    not let it run. `polls`: it sleeps until a port of its
    choice fires, or any upcall is due.
    """

    blocked: bool = False
    down: bool = False
    initialised: bool = True
    unwoken: bool = False
    ended: bool = False
    paused: bool = False
    poll_deadline: int = NEVER
    polls: bool = False


def not_started() -> Waiting:
    """The state of a new vcpu: it has no context yet."""
    return Waiting(down=True, initialised=False)


class RunState:
    """The run state of one vcpu, told to its time records as it changes.

    `yielded` says that the vcpu gave up the rest of its present slice; `begin_slice` forgets it. `held` is
    set by a debugger that does not let it run; the guest sees nothing of that. `observer`, if there is one,
    is told when a sleep ends. `scheduler`, if there is one, is told whenever `runnable` has changed.
    """

    def __init__(
        self,
        vcpu_id: int,
        wakers: Wakers,
        time: VcpuTime,
        timers: TimerQueue,
        stop: Callable[[], None],
        waiting: Waiting | None = None,
    ) -> None:
        """`stop` makes the processor leave the guest after the trap it serves."""
        self.waiting = Waiting() if waiting is None else waiting
        self.yielded = False
        self.observer: Callable[[], None] | None = None
        self._scheduler: Callable[[bool], None] | None = None
        self._kick: Callable[[], None] | None = None
        self._told = False
        self._held = False
        self._vcpu_id = vcpu_id
        self._wakers = wakers
        self._time = time
        self._stop = stop
        self._poll_timer = timers.timer(time.owner, "poll", self.wake)
        self._poll_timer.arm(self.waiting.poll_deadline)

    @property
    def runnable(self) -> bool:
        waiting = self.waiting
        return not (
            waiting.blocked
            or waiting.down
            or waiting.unwoken
            or waiting.ended
            or waiting.paused
            or self._held
        )

    @property
    def held(self) -> bool:
        """Whether a debugger does not let the vcpu run."""
        return self._held

    @held.setter
    def held(self, held: bool) -> None:
        self._held = held
        self._tell_scheduler()

    @property
    def down(self) -> bool:
        """Whether the vcpu is not to run before VCPUOP_up."""
        return self.waiting.down

    @property
    def initialised(self) -> bool:
        """Whether the vcpu has a context to run in."""
        return self.waiting.initialised

    @property
    def has_processor(self) -> bool:
        """Whether the vcpu was given the processor and has not lost it since."""
        return self._time.states.state is Runstate.running

    @property
    def blocked(self) -> bool:
        """Whether the vcpu sleeps until an event comes."""
        return self.waiting.blocked

    @property
    def polls(self) -> bool:
        """Whether the vcpu sleeps until a port of its choice fires, or any event comes."""
        return self.waiting.blocked and self.waiting.polls

    @property
    def why_stopped(self) -> str:
        """Why the slice that ended now did not go on, for the trace."""
        waiting = self.waiting
        if waiting.ended or waiting.down:
            return "ended" if waiting.ended else "down"
        if waiting.blocked:
            return "polling" if waiting.polls else "blocked"
        if self._held or waiting.paused:
            return "held" if self._held else "paused"
        return "yielded" if self.yielded else "slice over"

    @property
    def resting(self) -> Runstate:
        """The state a guest sees of its vcpu while that does not have the processor."""
        waiting = self.waiting
        if waiting.blocked:
            return Runstate.blocked
        # A vcpu that could run but for its administrator is shown offline, as Xen's vcpu_sleep has it.
        offline = waiting.down or waiting.unwoken or waiting.ended or waiting.paused
        return Runstate.offline if offline else Runstate.runnable

    def restore(self, waiting: Waiting) -> None:
        """Wait for what was kept. Its timer is armed by whoever keeps those of the machine; no scheduler has
        been told of it yet."""
        self.waiting = waiting

    # What the machine does with the vcpu.

    def schedule(self, scheduler: Callable[[bool], None], kick: Callable[[], None]) -> None:
        """Tell `scheduler` from now on whether the vcpu could use the processor; now, if it could. `kick` is
        called when the vcpu has something to look at, whether it slept or not."""
        self._scheduler, self._kick, self._told = scheduler, kick, False
        self._tell_scheduler()

    def switch_in(self) -> None:
        """The vcpu gets the processor."""
        self._time.switch_in()

    def switch_out(self) -> None:
        """The vcpu loses the processor."""
        self._time.switch_out(self.resting)

    def begin_slice(self) -> None:
        self.yielded = False

    def set_paused(self, paused: bool) -> None:
        """Whether the administrator of its domain keeps it from running."""
        self.waiting.paused = paused
        if not paused:
            # As Xen's vcpu_unpause, it wakes whoever can run, also a vcpu that was given its context online.
            self.waiting.unwoken = False
        if paused:
            self._leave()
        else:
            self._time.woken(self.resting)
            self._tell_scheduler()

    def end(self) -> None:
        """The domain has ended: the vcpu never runs again."""
        self.waiting.ended = True
        self._leave()

    def resume(self) -> None:
        """The domain that had ended goes on after all: the vcpu waits for what it waited for, or runs."""
        self.waiting.ended = False
        self._time.woken(self.resting)
        self._tell_scheduler()

    def close(self) -> None:
        """Nothing fires any more."""
        self._time.stop()
        self._poll_timer.disarm()

    # What the guest asks for.

    def yield_(self) -> None:
        """Let others run first."""
        self.yielded = True
        self._stop()

    def block(self) -> None:
        """Sleep until an upcall is due; one that is due already wins."""
        if not self._wakers.upcall_due(self._vcpu_id):
            self._sleep()

    def poll(self, ports: Iterable[int], deadline: int) -> None:
        """Sleep until a port is pending, an upcall is due or `deadline` (system time; 0: never) has come.
        Raises Refusal (-EINVAL) for a port that is not in use, and what reading `ports` raises."""
        if not self._wakers.poll(self._vcpu_id, ports):
            return
        if deadline:
            self.waiting.poll_deadline = deadline
            self._poll_timer.arm(deadline)
        self.waiting.polls = True
        self._sleep()

    def initialise(self, *, online: bool = False) -> None:
        """The vcpu has a context now. `online` has it up at once, without waking it: as in Xen it runs only
        after it was taken down and brought up again."""
        waiting = self.waiting
        waiting.initialised, waiting.down, waiting.unwoken = True, not online, online
        self._tell_scheduler()

    def uninitialise(self) -> None:
        """The vcpu has no context any more, and waits for nothing."""
        waiting = self.waiting
        if waiting.blocked:
            self.wake()
        waiting.initialised, waiting.down, waiting.unwoken = False, True, False
        self._leave()

    def bring_up(self) -> None:
        """VCPUOP_up; a vcpu that is up stays as it is. Raises Refusal (-EINVAL) for one without a context."""
        waiting = self.waiting
        if not waiting.initialised:
            raise Refusal(Errno.EINVAL, f"vcpu {self._vcpu_id} has not been initialised")
        if waiting.down:
            waiting.down = False
            self._time.woken(self.resting)
            self._tell_scheduler()

    def set_online(self, *, online: bool) -> None:
        """XEN_DOMCTL_setvcpucontext: be up or down. Xen pauses the domain around it, and the end of that
        pause wakes a vcpu that is up."""
        if not online:
            self.take_down()
            return
        self.waiting.down = self.waiting.unwoken = False
        self._time.woken(self.resting)
        self._tell_scheduler()

    def take_down(self) -> None:
        """VCPUOP_down: stop until VCPUOP_up."""
        self.waiting.down, self.waiting.unwoken = True, False
        self._leave()

    # What happens to it.

    def wake(self) -> None:
        """Something happened that the vcpu waits for."""
        slept = self.waiting.blocked
        if self.observer is not None and slept:
            self.observer()
        if self.waiting.polls:
            # Another reason than its port: that one must not wake it again, from a later sleep.
            self.waiting.polls = False
            self._wakers.stop_poll(self._vcpu_id)
        self.waiting.blocked = False
        self.waiting.poll_deadline = NEVER
        self._poll_timer.disarm()
        self._time.woken(self.resting)
        self._tell_scheduler()
        if slept or self._wakers.upcall_due(self._vcpu_id):
            self.kick()

    def kick(self) -> None:
        """The vcpu has something to look at now, not when its turn comes."""
        if self._kick is not None:
            self._kick()

    def _sleep(self) -> None:
        self.waiting.blocked = True
        self._stop()
        self._tell_scheduler()

    def _leave(self) -> None:
        """Not to go on for now, whoever asked for that: the vcpu itself, or another one."""
        if self.has_processor:
            self._stop()
        else:
            self._time.rest(self.resting)
        self._tell_scheduler()

    def _tell_scheduler(self) -> None:
        """To be called after every change of what `runnable` depends on."""
        runnable = self.runnable
        if runnable is not self._told and self._scheduler is not None:
            self._told = runnable
            self._scheduler(runnable)
