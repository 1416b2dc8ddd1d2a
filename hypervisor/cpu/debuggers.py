"""The debuggers that are attached to one processor: their breakpoints, and their steps."""

from collections.abc import Callable
from typing import Final

from paravane.cpu.debugger import Debugger, Follower, Watched
from paravane.cpu.redirects import Redirects
from paravane.cpu.state import ProcessorState
from paravane.cpu.stepping import Step
from paravane.cpu.watched_contents import Contents, contents
from paravane.cpu.watchpoints import Watch

_FIRST_BIT: Final = 8
"""Below it are the bits of the guest's own data breakpoints, as DR6 has them."""

GUESTS_BITS: Final = (1 << _FIRST_BIT) - 1
"""What of an access concerns the guest itself."""


class Debuggers:
    """All debuggers of one processor. The processor's hooks and runs tell it what happens."""

    def __init__(
        self,
        cpu: ProcessorState,
        redirects: Redirects,
        fail: Callable[[BaseException], None],
        changed: Callable[[], None],
    ) -> None:
        """`fail` takes what a debugger raises inside a hook; `changed` has hooks set up anew."""
        self._cpu = cpu
        self._redirects = redirects
        self._fail = fail
        self._changed = changed
        self._attached: list[Debugger] = []
        self._step: Step | None = None
        self._before_event: Step | None = None
        self._watched: list[tuple[Debugger, Watched]] = []
        self._follower: Follower | None = None
        self._on_block: Callable[[int, int], None] | None = None
        self._contents: list[Contents] = []
        self._stopped = False
        self.telling = False
        """A breakpoint's debuggers are being told of it: in the middle of a block."""

    # What debuggers ask for. The guest must not be executing, or be in one of its traps.

    def attach(self, debugger: Debugger) -> None:
        """Let `debugger` hear from now on of what it says it wants to."""
        self._attached.append(debugger)
        self.update()

    def detach(self, debugger: Debugger) -> None:
        """Let it hear of nothing any more: the guest then runs as if it never had been there."""
        self._attached.remove(debugger)
        self.cancel(debugger)
        self.update()

    def update(self) -> None:
        """A debugger has changed its breakpoints or what it watches. ValueError for too many breakpoints."""
        self._watched = [(one, watched) for one in self._attached for watched in one.watched]
        self.remember()
        self._changed()

    def remember(self) -> None:
        """What is in the watched memory now is known: a store by another than this processor is told of when
        that has changed since."""
        self._contents = [contents(self._cpu, watched) for _, watched in self._watched]

    def step(self, debugger: Debugger, within: range = range(0)) -> None:
        """End the next run after one instruction, or after the first one that does not lead to an address of
        `within`. The hypervisor's part of an instruction counts as that: a trap is over in the handler.

        When a breakpoint or an access ends that run before, the step is given up."""
        self._step = Step(self._cpu, debugger, within)

    def cancel(self, debugger: Debugger) -> None:
        """Take back what is left of its step, if anything is."""
        if self._step is not None and self._step.debugger is debugger:
            self._forget_step()

    def follow(self, follower: Follower | None) -> None:
        """Tell `follower`, and nobody else, of each instruction that he wants to hear of. None: nobody."""
        self._follower = follower
        self._changed()

    def watch_blocks(self, entered: Callable[[int, int], None] | None) -> None:
        """Call `entered`, and nobody else, with the linear address and the size of each block of instructions
        that is about to be executed. None: nobody."""
        self._on_block = entered
        self._changed()

    # What the processor asks.

    @property
    def watches_blocks(self) -> bool:
        """Somebody wants to hear of blocks."""
        return self._on_block is not None

    def block_entered(self, _uc: int, address: int, size: int, _user: int) -> None:
        """A block is about to be executed: called by the engine itself, for every frame between would cost
        each block a quarter of a microsecond.

        A stop is taken here, before the block is told of: it is entered once more when the guest goes on.
        """
        if self._cpu._stop_wanted:
            self._cpu._engine.stop()
        elif self._on_block is not None:
            try:
                self._on_block(address, size)
            except BaseException as failure:
                self._fail(failure)

    @property
    def followed(self) -> range:
        """The linear addresses that somebody follows the guest in."""
        return range(0) if self._follower is None else self._follower.within

    @property
    def attached(self) -> bool:
        """There is any."""
        return bool(self._attached)

    @property
    def busy(self) -> bool:
        """There is any, or a step, or somebody follows the guest."""
        return bool(self._attached) or self._step is not None or self._follower is not None

    def breakpoints(self) -> set[int]:
        """Where somebody wants to be asked."""
        return {at for one in self._attached for at in one.breakpoints}

    def watches(self) -> list[Watch]:
        """What is watched; the bits of a hit are for `accessed`."""
        return [
            Watch(1 << _FIRST_BIT + index, watched.start, watched.size, watched.reads, watched.writes)
            for index, (_, watched) in enumerate(self._watched)
        ]

    @property
    def stepping(self) -> bool:
        """A step has not come to its end."""
        return self._step is not None

    # What the processor tells.

    def reached(self, address: int) -> None:
        """The next instruction, one with a hook, is at linear `address`: ask whose breakpoint it is, and end
        the run if one of them says so."""
        hit = [debugger for debugger in self._attached if address in debugger.breakpoints]
        if not hit or (self._step is not None and self._step.is_first_at(address)):
            return
        cpu = self._cpu
        cpu._take()
        self.telling = True
        try:
            wanted = any([debugger.at_breakpoint(address) for debugger in hit])
        except BaseException as failure:
            self._fail(failure)
            wanted = True
        finally:
            self.telling = False
        if wanted:
            self._stopped = cpu._stop_wanted = True
            cpu.progress.mark()
            self._redirects.leave(None)
            cpu._engine.stop()

    def at_instruction(self, address: int) -> None:
        """The instruction at linear `address` is about to be executed."""
        if self._follower is not None:
            self._cpu._take()
            try:
                self._follower.at_instruction(address)
            except BaseException as failure:
                self._fail(failure)

    def accessed(self, hits: int) -> bool:
        """An instruction with these hits is over. Whether the run is to end."""
        before = self._contents
        self.remember()
        touched = [index for index in range(len(self._watched)) if hits >> _FIRST_BIT + index & 1]
        return self._tell_access(touched, before)

    def look_for_stores(self) -> None:
        """Between two instructions: tell of what is watched and was changed by none of this processor's. That
        was the hypervisor, or another processor."""
        before = self._contents
        self.remember()
        changed = [
            index
            for index, (_, watched) in enumerate(self._watched)
            if watched.writes and before[index].changed_to(self._contents[index])
        ]
        if changed and self._tell_access(changed, before):
            self._cpu._stop_wanted = True

    def puts_off_event(self) -> bool:
        """A run is to begin, and an event is pending. Whether that has to wait for the first instruction of a
        step: who steps over his own breakpoint would be back at it after the handler. Only one step is that
        patient, so that who takes many comes to the handler as well."""
        step = self._step
        if step is None or not step.is_at_first or self._before_event not in (None, step):
            self._before_event = None
            return False
        self._before_event = step
        return True

    def begin_run(self) -> bool:
        """A run is to begin. False: it need not."""
        if self._watched:
            self.look_for_stores()
            if self._stopped:
                return False
        if self._step is None:
            return True
        self._step.begin()
        return not self._step.over

    def single_step(self, *, access_reported: bool) -> bool:
        """#DB arrived. Whether it is for a debugger's step only."""
        swallowed = self._step is not None and self._step.trapped(access_reported=access_reported)
        self._stop_after_step()
        return swallowed

    def trap_served(self) -> None:
        """A trap was served, or its handler has changed what takes effect at once."""
        if self._step is not None:
            self._step.served()
            self._stop_after_step()

    def end_run(self) -> None:
        """A run has ended."""
        step, stopped, self._stopped = self._step, self._stopped, False
        if step is None:
            return
        step.served()  # what the end of the run overtook
        if step.over:
            self._step = None
            step.debugger.stepped()
        elif stopped:
            self._forget_step()

    def _stop_after_step(self) -> None:
        if self._step is not None and self._step.over:
            self._cpu._stop_wanted = True

    def _tell_access(self, indices: list[int], before: list[Contents]) -> bool:
        """Tell whose these of `_watched` are. Whether one of them wants the run to end."""
        hit = [(*self._watched[index], before[index].data * before[index].whole) for index in indices]
        try:
            wanted = any([debugger.accessed(watched, there) for debugger, watched, there in hit])
        except BaseException as failure:
            self._fail(failure)
            wanted = True
        self._stopped |= wanted
        return wanted

    def _forget_step(self) -> None:
        if self._step is not None:
            self._step.give_up()
            self._step = None
