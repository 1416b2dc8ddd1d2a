"""Which hypercalls a kernel image seems to use, judged by its code alone.

Three patterns are looked for: `mov $n, %eax ... int $0x82`, branches into the hypercall page, and calls of
a function that does `int $0x82` with the number it was given. What is computed at run time stays unseen, and
data that looks like code is counted: the answer is a hint.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, deque
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from capstone import CS_ARCH_X86, CS_GRP_CALL, CS_GRP_INT, CS_GRP_JUMP, CS_GRP_RET, CS_MODE_32, Cs
from capstone.x86 import X86_REG_AH, X86_REG_AL, X86_REG_AX, X86_REG_EAX

from paravane.abi.hypercall import (
    ENTRY_INT,
    HYPERCALL_PAGE_ENTRIES,
    HYPERCALL_PAGE_ENTRY_SIZE,
    HYPERCALL_VECTOR,
    Hypercall,
)
from paravane.classes import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.image import Image

WINDOW: Final = 64
"""Bytes before a call in which its number must have been loaded."""

MAX_TRAPS: Final = 5_000
"""`int $0x82` instructions looked at. No kernel has so many; a file full of them must not take minutes."""

MAX_CALLS: Final = 20_000
"""Branches to near a trap looked at, for the same reason."""

_TRAP = bytes((ENTRY_INT, HYPERCALL_VECTOR))
_BRANCH = re.compile(rb"[\xe8\xe9](?=(....))", re.DOTALL)
_LOADS = re.compile(rb"(?=\xb8(....)|\x6a(.)|\xc7\x04\x24(....)|[\x31\x33]\xc0())", re.DOTALL)
"""`mov $n, %eax`, `push $n`, `movl $n, (%esp)`, `xor %eax, %eax`."""

_EAX = frozenset((X86_REG_EAX, X86_REG_AX, X86_REG_AH, X86_REG_AL))
_GOES_AWAY = (CS_GRP_RET, CS_GRP_JUMP, CS_GRP_CALL, CS_GRP_INT)
"""Groups of instructions after which another one may follow than the next, or EAX may be another."""

_NUMBERS = frozenset(int(number) for number in Hypercall)


class HypercallUse(NamedTuple):
    """Places in the code by hypercall number, and calls whose number could not be told."""

    places: Counter[int]
    unknown: int


def scan_hypercalls(image: Image) -> HypercallUse:
    """Look through all code of the image. Takes about a second for 20 MB."""
    places: Counter[int] = Counter()
    unknown = 0
    for address, code in _code(image):
        wrappers: list[int] = []
        for at in _traps(code):
            number = _number_before(code, at)
            if number is None:
                wrappers.append(at)
            else:
                places[number] += 1
        calls = 0
        for at, target in _branches(code, address):
            entry = _page_entry(image, target)
            if entry is not None:
                places[entry] += 1
            elif code[at] == 0xE8 and _is_near(wrappers, target - address) and calls < MAX_CALLS:
                calls += 1
                if not _is_wrapper(code, wrappers, target - address):
                    continue
                number = _number_before(code, at)
                unknown += number is None
                if number is not None:
                    places[number] += 1
    return HypercallUse(places, unknown)


def _code(image: Image) -> Iterator[tuple[int, bytes]]:
    """Address and bytes of each piece of code that the file holds."""
    ranges = deque(image.code_ranges)
    for segment in sorted(image.segments, key=attrgetter("address")):
        file_end = segment.address + len(segment.data)
        # Both are in order and apart from each other: each range is looked at once, and once more for each
        # segment that it reaches into.
        while ranges and ranges[0][0] < file_end:
            start, end = ranges[0]
            first, last = max(start, segment.address), min(end, file_end)
            if first < last:
                yield first, bytes(segment.data[first - segment.address : last - segment.address])
            if end > file_end:
                break
            ranges.popleft()


def _traps(code: bytes) -> Iterator[int]:
    at = code.find(_TRAP)
    for _ in range(MAX_TRAPS):
        if at < 0:
            return
        yield at
        at = code.find(_TRAP, at + 1)


def _branches(code: bytes, address: int) -> Iterator[tuple[int, int]]:
    """(offset, target) of whatever looks like `call` or `jmp` with a 32-bit distance."""
    for match in _BRANCH.finditer(code):
        at = match.start()
        yield at, address + at + 5 + int.from_bytes(match[1], "little") & 0xFFFFFFFF


def _page_entry(image: Image, target: int) -> int | None:
    """The hypercall that an address in the hypercall page belongs to."""
    if image.hypercall_page is None:
        return None
    number, inside = divmod(target - image.hypercall_page, HYPERCALL_PAGE_ENTRY_SIZE)
    return number if not inside and 0 <= number < HYPERCALL_PAGE_ENTRIES and number in _NUMBERS else None


def _number_before(code: bytes, at: int) -> int | None:
    """The hypercall number that EAX, or the top of the stack, has when the instruction at `at` is reached."""
    start = max(0, at - WINDOW)
    for match in reversed(list(_LOADS.finditer(code[start:at]))):
        number = int.from_bytes(next(group for group in match.groups() if group is not None), "little")
        if number in _NUMBERS and _runs_through(code[start + match.start() : at], keeps_eax=True):
            return number
    return None


def _is_near(traps: list[int], at: int) -> bool:
    """Whether one of the traps comes soon after `at`."""
    index = bisect_left(traps, at)
    return at >= 0 and index < len(traps) and traps[index] - at <= WINDOW


def _is_wrapper(code: bytes, traps: list[int], at: int) -> bool:
    """Whether a function at `at`, which is near one of the traps, comes straight to it."""
    return _runs_through(code[at : traps[bisect_left(traps, at)]], keeps_eax=False)


def _runs_through(code: bytes, *, keeps_eax: bool) -> bool:
    """Whether `code` is instructions that run, in order, exactly to its last byte.

    With `keeps_eax` none but the first of them may write EAX. Bytes that only look like code miss the end.
    """
    decoder = Cs(CS_ARCH_X86, CS_MODE_32)
    decoder.detail = True
    end = 0
    for instruction in decoder.disasm(code, 0):
        if any(instruction.group(group) for group in _GOES_AWAY):
            return False
        if keeps_eax and end and not _EAX.isdisjoint(instruction.regs_access()[1]):
            return False
        end += instruction.size
    return end == len(code)
