"""How far a run with a budget has come, and where it is to pause."""

from paravane.cpu.engine import library as api
from paravane.cpu.engine.progress import instructions_begun


class Progress:
    """Counts the instructions of one processor's run.

    `executed` is how much of the budget is used, in instructions. `begun` has the instructions alone: what
    else is charged to the budget (`charges`) is not among them, so that it names a place in the run
    whatever was translated before. With `pauses`, a run that a debugger ends is not over: what is left of its
    budget is for the next one that goes on. It pauses at `pause_at`, too, counted as `begun`.
    """

    def __init__(self, engine: api.Engine) -> None:
        self.executed = 0
        self.begun = 0
        self.pauses = False
        self.pause_at: int | None = None
        self.charges = True
        self._engine = engine
        self._budget = 0
        self._mark: int | None = None

    @property
    def budget(self) -> int:
        """Instructions that the run may take; 0: no limit."""
        return self._budget

    def begin(self, budget: int) -> None:
        """A run begins."""
        self._budget, self.executed, self.begun, self._mark = budget, 0, 0, None

    @property
    def used_up(self) -> bool:
        """Nothing is left of the budget."""
        return 0 < self._budget <= self.executed

    @property
    def at_pause(self) -> bool:
        """The run has come to where it is to pause."""
        return self.pauses and self.pause_at is not None and self.begun >= self.pause_at

    def next(self) -> int:
        """How many instructions are to be executed before the run ends or pauses."""
        left = self._budget - self.executed
        if self.pauses and self.pause_at is not None:
            left = min(left, self.pause_at - self.begun)
        return max(left, 0)

    def mark(self) -> None:
        """In the middle of a run: it ends before the instruction that has been counted just now."""
        if self._budget:
            self._mark = instructions_begun(self._engine) - 1

    @property
    def before(self) -> int:
        """In a hook of an instruction that is the next: as `begun`."""
        return self.begun + max(instructions_begun(self._engine) - 1, 0)

    def account(self, limit: int) -> None:
        """The engine has come back, which was to execute `limit` instructions. It counts the first one that
        was too many: of a whole budget that stays, for slices are as long as they always were."""
        count, self._mark = instructions_begun(self._engine) if self._mark is None else self._mark, None
        whole = limit == self._budget - self.executed
        self.begun += min(count, limit)
        self.executed += count if whole else min(count, limit)

    def charge(self, instructions: int) -> None:
        """The run has cost as much as so many instructions besides."""
        if self.charges:
            self.executed += instructions
