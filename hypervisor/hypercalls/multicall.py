"""multicall (public/xen.h, struct multicall_entry): several hypercalls in one trap."""

from struct import Struct
from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.hypercall import MULTICALL_ENTRY, Hypercall
from paravane.hypercalls.table import Ptr, UInt, hypercall
from paravane.preemption import ENTRY_WORK, ITEMS, Preempted
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

_SIZE: Final = MULTICALL_ENTRY.size
_RESULT: Final = MULTICALL_ENTRY.offsets["result"]
_WORDS: Final = Struct(f"<{_SIZE // 4}I")
"""An entry as its words: the hypercall's number, its result, its six arguments."""
_WORD: Final = Struct("<I")
_IN_PAGE: Final = PAGE_SIZE - 1
_LAST: Final = PAGE_SIZE - _SIZE
"""Offset in its page of the last entry that does not go on in the next one."""


@hypercall(Hypercall.multicall)
def multicall(caller: "Caller", call_list: Ptr, nr_calls: UInt) -> int | None:
    """Run the entries in order. Each gets its own result; only an unusable list stops the batch.

    An iret entry leaves for where it says at once. What makes the vcpu wait, or makes an upcall due, takes
    effect before the next entry; that one then is the first when the guest goes on.
    """
    if caller.in_multicall:
        raise Refusal(Errno.EINVAL, "a multicall within a multicall is not allowed")
    entries, run, goes_on = _Entries(caller), caller.hypercall, caller.budget.goes_on
    caller.in_multicall = True
    address, done = call_list, caller.budget.begun[ITEMS]
    try:
        if done:
            address += done * _SIZE
            if caller.budget.take_up():
                entries.take_over(address - _SIZE)
            if not goes_on(0):
                raise Preempted(done, address, nr_calls - done)
        while done < nr_calls:
            words = entries.read(address)
            try:
                result = run(words[0], words[2:])
            except Preempted as rest:
                entries.keep(address, words, rest)
                raise Preempted(done, address, nr_calls - done) from None
            if result is None:
                return None
            entries.answer(address, result)
            done += 1
            address += _SIZE
            if not goes_on(ENTRY_WORK) and done < nr_calls:
                raise Preempted(done, address, nr_calls - done)
    finally:
        caller.in_multicall = False
    return 0


class _Entries:
    """The list in the guest's memory: read entry by entry, for a hypercall may change those after it.

    It remembers where the page with the last entry is, as the processor's TLB would, until that is flushed:
    whoever takes a page away has it flushed at once.
    """

    def __init__(self, caller: "Caller") -> None:
        self._caller = caller
        self._cpu = caller.cpu
        self._ram = caller.cpu.ram
        self._page = self._flushes = -1
        self._frame = 0
        self._writable = False

    def read(self, address: int) -> tuple[int, ...]:
        """The words of the entry there. Raises PageFault."""
        at = address & _IN_PAGE
        if address >> PAGE_SHIFT == self._page and self._cpu.flushes == self._flushes and at <= _LAST:
            return _WORDS.unpack_from(self._ram.bytes, self._frame + at)
        words = _WORDS.unpack(self._caller.copy_from_guest(address, _SIZE))
        if at <= _LAST:
            self._page, self._flushes = address >> PAGE_SHIFT, self._cpu.flushes
            self._frame, self._writable = self._cpu.translate(address) - at, False
        return words

    def answer(self, address: int, result: int) -> None:
        """Store the result of the entry there. Raises PageFault."""
        page = address >> PAGE_SHIFT
        known = page == self._page and self._cpu.flushes == self._flushes and address & _IN_PAGE <= _LAST
        if known and self._writable:
            maddr = self._frame + (address & _IN_PAGE) + _RESULT
            _WORD.pack_into(self._ram.bytes, maddr, result & 0xFFFF_FFFF)
            self._ram.code_changed(maddr >> PAGE_SHIFT)
        else:
            self._caller.copy_to_guest(address + _RESULT, _WORD.pack(result & 0xFFFF_FFFF))
            self._writable = known

    def take_over(self, address: int) -> None:
        """Native code has answered the entry there, and that did not move the list: as if done here."""
        self.read(address)
        self._writable = address & _IN_PAGE <= _LAST

    def keep(self, address: int, words: tuple[int, ...], rest: Preempted) -> None:
        """Replace an entry by what is left of it; until that is done its result is its number, as in Xen."""
        number, left = words[0], rest.arguments
        self._caller.copy_to_guest(address, _WORDS.pack(number, number, *left, *words[2 + len(left) :]))
