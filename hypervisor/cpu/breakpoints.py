"""Execution breakpoints of DR0-DR3, which the engine does not honour by itself.

An address that is armed once gets a hook of its own, which then costs only where it is reached. Data
breakpoints are in `watchpoints.py`; port breakpoints never fire, since port instructions never execute.
"""

from paravane.cpu.engine import library as api
from paravane.cpu.engine import numbers
from paravane.cpu.engine.context_offsets import ContextLayout
from paravane.cpu.engine.library import Engine
from paravane.cpu.registers import EFLAGS_RF

# A guest picks these addresses: beyond this many one hook on everything takes over (slow, but bounded).
_MOST_HOOKS = 1024
_DR7_TYPE_SHIFT = 16
_ENABLED = 0xFF


class Breakpoints:
    """The armed addresses of one processor."""

    def __init__(self, engine: Engine, layout: ContextLayout) -> None:
        self._engine = engine
        self._words = engine.words
        self._dr = layout.dr
        self._hooked: set[int] = set()
        self._suspects: set[int] = set()
        self._everywhere = False

    def hooked(self, address: int) -> bool:
        """The instruction at linear `address` was translated with a hook."""
        return self._everywhere or address in self._hooked

    @property
    def everywhere(self) -> bool:
        """Every instruction that is translated from now on has the hook."""
        return self._everywhere

    @property
    def enabled(self) -> bool:
        """Some address is armed."""
        return bool(self._armed())

    def matching(self, address: int) -> int:
        """DR6 bits of the enabled execution breakpoints at linear `address`."""
        return sum(1 << index for index, armed in self._armed() if armed == address)

    def arm(self, on_code: api.HookFunction) -> bool:
        """Hook every enabled address not hooked yet. True when translated code must be dropped for it."""
        return self._hook({address for _, address in self._armed()}, on_code)

    def suspect(self, addresses: set[int], on_code: api.HookFunction) -> bool:
        """As `arm`, for instructions at these linear addresses, which are to be looked at each time."""
        if self._everywhere:
            return False
        self._suspects |= addresses
        return self._hook(addresses, on_code)

    def is_suspect(self, address: int) -> bool:
        """The instruction at linear `address` is to be looked at."""
        return self._everywhere or address in self._suspects

    def places(self) -> tuple[set[int], set[int]]:
        """The linear addresses with a hook of their own, and those of them that are to be looked at."""
        return set(self._hooked), set(self._suspects)

    def restore(
        self, hooked: set[int], suspects: set[int], on_code: api.HookFunction, *, everywhere: bool
    ) -> None:
        """Have the hooks that `places` told of in another processor, before anything is translated."""
        self._suspects |= suspects
        self._hook(hooked, on_code)
        if everywhere and not self._everywhere:
            self._everywhere = True
            self._engine.hook(numbers.UC_HOOK_CODE, api.CODE_HOOK, on_code)

    def _hook(self, addresses: set[int], on_code: api.HookFunction) -> bool:
        wanted = addresses - self._hooked
        if not wanted or self._everywhere:
            return False
        if len(self._hooked) + len(wanted) > _MOST_HOOKS:
            self._everywhere = True
            self._engine.hook(numbers.UC_HOOK_CODE, api.CODE_HOOK, on_code)
            return True
        for address in wanted:
            self._engine.hook(numbers.UC_HOOK_CODE, api.CODE_HOOK, on_code, begin=address, end=address)
        self._hooked |= wanted
        return True

    def resume_flag_spent(self) -> bool:
        """RF was set: this instruction is not to be broken at, the next ones are."""
        flags = self._engine.read_register(numbers.UC_X86_REG_EFLAGS)
        if not flags & EFLAGS_RF:
            return False
        self._engine.write_register(numbers.UC_X86_REG_EFLAGS, flags & ~EFLAGS_RF)
        return True

    def _armed(self) -> list[tuple[int, int]]:
        dr7 = self._words[self._dr + 14]
        if not dr7 & _ENABLED:
            return []
        return [
            (index, self._words[self._dr + 2 * index])
            for index in range(4)
            if dr7 >> 2 * index & 3 and not dr7 >> (_DR7_TYPE_SHIFT + 4 * index) & 3
        ]
