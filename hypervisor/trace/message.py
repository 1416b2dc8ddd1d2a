"""What a machine tells the writer of its trace, packed: messages of a few words, to be put into bytes later.

A message begins with one word: its kind in the low byte, above that its size in bytes, that word included.
Numbers are little endian. `pickle` is for what only the writer reads, in the same program; nothing of it
comes from a guest but numbers and text.

After the first word there is, by kind:

- 0 to 6: a `CALL`, a hypercall with a declaration that uses so many argument registers.
- The same and `MORE`: a `CALL`, then pickled the name of the declaration, copies, errno, sentence, how many
  items were done before it was preempted, and the bytes of the struct that the guest got back.
- `RECORD`: `TIMES`, `SITE`, then pickled the number of a class in `CLASSES` and its own fields.
- `ENTRY`: pickled, an entry that is no record of these classes.
- `MET`: pickled, the domain, vcpu and place of the next site; sites are numbered from 0.
- `FORGET`: nothing. All sites are forgotten, the next one is 0.
- `PART`: the beginning of what comes after the first word of the next message, which is too long for one.
- `END`: nothing. The trace is complete.
"""

from __future__ import annotations

import struct
from typing import Final

from paravane.trace.records import (
    BreakpointRecord,
    ConsoleRecord,
    DomainRecord,
    GrantRecord,
    InstructionRecord,
    PageRecord,
    Record,
    RefusalRecord,
    RingRecord,
    ScheduleRecord,
    SendRecord,
    StoreRecord,
    TimerRecord,
    TrapRecord,
    UpcallRecord,
    VirqRecord,
)

MORE: Final = 0x08
RECORD, ENTRY, MET, FORGET, PART, END = range(0x10, 0x16)

HEAD: Final = struct.Struct("<I")
TIMES: Final = struct.Struct("<QQ")
"""`time` and `end`, the same for what takes none."""

SITE: Final = struct.Struct("<I")
CALL: Final = struct.Struct("<IQQIIq6I")
"""The first word, times, site, number, result, and the argument registers, EBX to EBP."""

NO_RESULT: Final = 1 << 32
"""As a result: there is none. No register has it."""

KEY: Final = HEAD.size + TIMES.size
"""Where that begins which is equal in a `CALL` or a `RECORD` that says the same at another time."""

WORDS: Final = CALL.size - 6 * 4
"""Where the argument registers begin. Those that are not used are no part of what a call says."""

LARGEST: Final = 1 << 16
"""Bytes of the longest message."""

SITES: Final = 1 << 12
"""Sites that are known at a time: a guest that asks from ever new addresses fills no memory."""

CLASSES: Final[tuple[type[Record], ...]] = (
    TrapRecord,
    RefusalRecord,
    SendRecord,
    VirqRecord,
    UpcallRecord,
    TimerRecord,
    ScheduleRecord,
    PageRecord,
    GrantRecord,
    RingRecord,
    StoreRecord,
    ConsoleRecord,
    DomainRecord,
    InstructionRecord,
    BreakpointRecord,
)
"""What comes as `RECORD`; a hypercall comes as a call."""


def first_word(kind: int, size: int) -> int:
    """The first word of a message of `size` bytes."""
    return size << 8 | kind
