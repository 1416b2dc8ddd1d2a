"""Code one processor translated and another one's guest may have changed behind its back."""

from collections.abc import Iterable

from paravane.cpu.ram import Ram
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE


class CodeGroup:
    """Processors whose guests may store into each other's code: the vcpus of one domain.

    An engine notices its own guest's stores into translated code, not those made through another engine. So
    each member remembers the frames as they were when it translated them, and compares when it runs again
    after another member did.
    """

    def __init__(self) -> None:
        self.last_runner: object | None = None


class CodeCopies:
    """What the frames looked like when one member of `group` last translated from them."""

    def __init__(self, ram: Ram, group: CodeGroup) -> None:
        self._ram = ram
        self._group = group
        self._copies: dict[int, bytes] = {}

    def note(self, mfn: int) -> None:
        """Code is translated from frame `mfn` as it is now."""
        self._copies[mfn] = self._frame(mfn)

    def forget(self, mfns: Iterable[int]) -> None:
        """Nothing translated from these frames is left."""
        for mfn in mfns:
            self._copies.pop(mfn, None)

    def changed_since(self, runner: object) -> list[int]:
        """The frames that other members changed since `runner`, who runs now, last ran."""
        previous, self._group.last_runner = self._group.last_runner, runner
        if previous is runner:
            return []
        return [mfn for mfn, copy in self._copies.items() if self._frame(mfn) != copy]

    def _frame(self, mfn: int) -> bytes:
        return self._ram.bytes[mfn << PAGE_SHIFT : (mfn << PAGE_SHIFT) + PAGE_SIZE].tobytes()
