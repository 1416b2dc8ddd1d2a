"""Random streams of instructions for the kernel of probes.S: ordinary ones between those that are sensitive
or privileged, in rings 0 and 3, paged and not.

Where a stream goes stays known: EBX, EBP, ESI, EDI and ESP point to memory that each stream finds the same,
and only EAX, ECX and EDX hold anything. Flags that an instruction leaves undefined are set before anybody
reads them. Left out is what is not virtualised, where QEMU does otherwise than the manuals say (for both see
tests/guests/test_full_privileged.py; reserved bits of CR4 hang it), and two after which the engine has other
flags (hypervisor/cpu/README.md): SETcc of memory that faults, LOOPE and LOOPNE.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.support.probes import DONE, PAGED, Stream, stream_labels
from tests.support.stream_parts import TF, WINDOW, Parts, long

if TYPE_CHECKING:
    from collections.abc import Callable

_UNPAGED: Final = 0x10011
_SELECTORS: Final = (
    *(0x00, 0x03, 0x08, 0x10, 0x13, 0x18, 0x1B, 0x20, 0x23, 0x28, 0x30, 0x38, 0x40, 0x48, 0x50, 0x53, 0x58),
    *(0x63, 0x68, 0xA8, 0xB8, 0xD0, 0xD3, 0xDB, 0xE3, 0x100, 0xFFFF),
    *(0x04, 0x07, 0x0C, 0x0F, 0x14, 0x1C, 0x24, 0x27, 0x2C, 0x34, 0x37),
)
_DATA_SELECTORS: Final = (0x23, 0x1B, 0x07, 0x0F, 0x53)
"""Those that any ring may load, and that begin at 0."""
_CR0: Final = (PAGED, PAGED, PAGED & ~0x10000, PAGED | 0x20, PAGED | 0x2A, PAGED | 0x40000)
_CR4: Final = (0, 0, 4, 0x10, 0x80, 0x100, 0x94, 0x200, 0x400)
_PAGE_FLAGS: Final = (0x67, 0x65, 0x63, 0x61, 0x47, 0x27, 0x07, 0x05, 0x66, 0x00)
_PORTS: Final = (0x80, 0x2E0, 0x2E7, 0x3FF)


class Writer(Parts):
    """Writes one stream, of which `pieces` says where each instruction or little group of them begins."""

    def stream(self, length: int) -> Stream:
        """A stream of `length` pieces."""
        chance = self.chance
        eflags = self._flags()
        if self._steps and chance.random() < 0.5:
            eflags |= TF
        for _ in range(length):
            self.pieces.append(len(self._code))
            self._pieces(1)
        self.pieces.append(len(self._code))
        self._put(b"\xcd" + bytes((DONE,)))
        cr0 = chance.choice(_CR0) if self._paged else _UNPAGED
        resumed = (1, 3, 4, 5) if chance.random() < 0.7 else (1,)
        return Stream(bytes(self._code), self._address, self.ring, eflags, resumed, cr0)

    # What a stream is made of.

    def _pieces(self, count: int, *, balanced: bool = False) -> None:
        """So many; `balanced`: none that leaves ESP elsewhere, as a rule."""
        table, weights = zip(*self._kinds(balanced=balanced).items(), strict=True)
        for _ in range(count):
            self.chance.choices(table, weights)[0]()

    def _kinds(self, *, balanced: bool) -> dict[Callable[[], None], float]:
        kinds: dict[Callable[[], None], float] = {
            self._arithmetic: 8,
            self._move: 8,
        }
        if not self._steps:  # for a handler sees what is undefined
            kinds |= {self._group: 6, self._bits: 4}
        if balanced:
            return kinds
        kinds |= {
            self._stack: 6,
            self._string: 4,
            self._branch: 5,
            self._flag: 3,
            self._sensitive: 14,
            self._pop_flags: 4,
            self._system: 8,
            self._segment: 6,
            self._transfer: 5,
            self._interrupt: 1.5,
            self._ports: 2,
            self._stored_code: 3,
        }
        if self._paged and not self.ring:
            kinds[self._tables] = 3
        return kinds

    def _branch(self) -> None:
        """Over a few pieces, taken or not, or by a call that comes back."""
        chance = self.chance
        which = chance.random()
        if which < 0.2:
            # Over what is called, and then back to there: everything in it is executed, if nothing branches.
            self._put(0xEB, 0)
            mark = len(self._code)
            self._pieces(chance.randrange(1, 3), balanced=True)
            self._put(0x0E, 0x58, b"" if self._by_state else b"\x9c\x59", 0xC3)
            if len(self._code) - mark > 127:
                del self._code[mark - 2 :]
                return
            self._code[mark - 1] = len(self._code) - mark
            self._put(0xE8, long(mark - len(self._code) - 5))
            return
        code = 0x70 | chance.randrange(16) if which < 0.8 else chance.choice((0xE2, 0xE3, 0xEB))
        self._put(code, 0)
        mark = len(self._code)
        self._pieces(chance.randrange(1, 4))
        if len(self._code) - mark > 127:
            del self._code[mark:]
        self._code[mark - 1] = len(self._code) - mark

    def _sensitive(self) -> None:
        chance = self.chance
        repeated = chance.choice((b"", b"", b"", b"\xf3", b"\x3e", b"\x67", b"\x66\x66"))
        prefix = self._prefix(0.2) + (repeated if repeated != b"\x67" or chance.random() < 0.5 else b"")
        which = chance.randrange(1, 4) if self._by_state else chance.randrange(9)
        if which == 0:
            self._put(prefix, 0x9C)
        elif which == 1:
            self._put(prefix, chance.choice((0x0E, 0x16, 0x1E, 0x06)))
        elif which in (2, 3):
            segment = chance.choice((1, 2, 1, 2, 3))
            self._put(prefix.replace(b"\x67", b""), 0x8C, self._operand(segment))
        elif which == 4:
            group = chance.choice((0, 1, 4))
            memory = group != 4 or chance.random() < 0.5
            self._put(
                prefix.replace(b"\x67", b""),
                0x0F,
                0x01,
                self._memory(group) if memory else 0xE0 | self._data(),
            )
        elif which == 5:
            self._put(prefix.replace(b"\x67", b""), 0x0F, 0x00, self._operand(chance.randrange(2)))
        elif which == 6:
            self._selector()
            self._put(
                prefix.replace(b"\x67", b""), 0x0F, 0x00, self._register_or_memory(chance.choice((4, 5)))
            )
        else:
            self._selector()
            self._put(
                prefix.replace(b"\x67", b""),
                0x0F,
                chance.choice((2, 3)),
                self._register_or_memory(self._data()),
            )

    def _selector(self) -> None:
        self._put(0xB8, long(self.chance.choice(_SELECTORS)))

    def _register_or_memory(self, reg: int) -> bytes:
        """EAX, or memory."""
        return bytes((0xC0 | reg << 3,)) if self.chance.random() < 0.8 else self._memory(reg)

    def _pop_flags(self) -> None:
        value = self._flags(2 | TF, self.chance.getrandbits(32))
        value &= ~0x4000  # NT: IRET would go to another task
        if not self._steps:
            value &= ~TF
        self._put(0x68, long(value), self._prefix(0.0), 0x9D)

    def _system(self) -> None:
        """What needs ring 0. Ring 3 does it now and then, and faults."""
        chance = self.chance
        if self.ring and chance.random() < 0.7:
            chance.choice((self._identify, self._time))()
            return
        data = self._data()
        which = chance.randrange(16)
        if which < 2:
            self._put(0x0F, 0x20, 0xC0 | chance.choice((0, 2, 4)) << 3 | data)
        elif which == 2 and self._paged:
            self._put(0xB8, long(chance.choice(_CR0)), 0x0F, 0x22, 0xC0)
        elif which == 3:
            self._put(0x0F, 0x22, 0xD0 | data)
        elif which == 4:
            self._put(0xB8, long(chance.choice(_CR4)), 0x0F, 0x22, 0xE0)
        elif which == 5:
            self._put(b"\x0f\x20\xd8\x0f\x22\xd8")  # CR3 as it is
        elif which == 6:
            self._put(0x0F, 0x21, 0xC0 | chance.choice((0, 1, 2, 3, 6, 7)) << 3 | data)
        elif which == 7:
            self._put(0x0F, 0x23, 0xC0 | chance.choice((0, 1, 2, 3, 6)) << 3 | data)
        elif which == 8:
            enabled = b"\xfa" if self._steps else b"\xfb"
            self._put(chance.choice((b"\x0f\x06", b"\x0f\x08", b"\x0f\x09", b"\xfa", enabled)))
        elif which == 9:
            self._put(0x0F, 0x01, self._memory(7))
        elif which == 10:
            name = chance.choice(("gdtr", "idtr"))
            self._put(0x0F, 0x01, 0x15 if name == "gdtr" else 0x1D, long(self._labels[name]))
        elif which == 11:
            self._put(0xB8, long(chance.choice((0, 0x30, 0x30, 0x88, 0xA0, 0x34, 0x10))), 0x0F, 0x00, 0xD0)
        elif which == 12:
            self._put(0xB8, long(chance.choice((0x88, 0x28, 0x98, 0x30, 0x8C))), 0x0F, 0x00, 0xD8)
        elif which == 13:
            self._put(0xB8, long(chance.choice((1, 3, 9, 0xB))), 0x0F, 0x01, 0xF0)
        elif which == 14:
            self._time()
        else:
            self._identify()

    def _time(self) -> None:
        """RDTSC, and nothing left of what it read."""
        if not self._steps:
            self._put(b"\x0f\x31\x31\xc0\x99\x3c\x00")

    def _identify(self) -> None:
        """CPUID, of which the size of a cache line says nothing without CLFLUSH."""
        self._put(0xB8, long(self.chance.randrange(4)), 0x0F, 0xA2, 0xBB, long(self._labels["scratch"]))

    def _segment(self) -> None:
        """A data segment loaded, that any ring may have or none, and something done by it."""
        chance = self.chance
        pops = {0: b"\x07", 3: b"\x1f", 4: b"\x0f\xa1", 5: b"\x0f\xa9"}
        segment = chance.choice(tuple(pops))
        likely = chance.random() < 0.8
        selector = chance.choice(_DATA_SELECTORS if likely else _SELECTORS)
        if selector in (0, 3) and segment in (0, 3):
            selector = 0x23
        if not self.ring and chance.random() < 0.15:
            selector, segment = 0x10, 2
            self._put(0xB8, long(selector), 0x8E, 0xD0)
        elif chance.random() < 0.4:
            self._put(0x6A if selector < 0x80 else 0x68)
            self._put(selector if selector < 0x80 else long(selector), pops[segment])
        elif chance.random() < 0.7:
            self._put(0xB8, long(selector), 0x8E, 0xC0 | segment << 3)
        else:
            loads = {0: b"\xc4", 3: b"\xc5", 4: b"\x0f\xb4", 5: b"\x0f\xb5"}
            at = long(self._labels["scratch"] + 40)
            self._put(b"\x66\xc7\x05", long(self._labels["scratch"] + 44), selector.to_bytes(2, "little"))
            self._put(loads[segment], self._data() << 3 | 5, at)
        if chance.random() < 0.5:
            override = (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65)[segment]
            if segment < 4 or selector & ~3:
                self._put(override, chance.choice((0x8B, 0x89)), self._memory(self._data()))

    def _transfer(self) -> None:
        """To what comes next, in this ring or, from ring 0, in ring 3 as well."""
        chance = self.chance
        own = 0x1B if self.ring else 0x08
        selector = own if chance.random() < 0.75 else chance.choice((*_SELECTORS, 0x0F, 0x14, 0x50, 0xBB))
        if selector & ~3 in (0x28, 0x68, 0xA8, 0x2C):
            selector = own
        which = chance.randrange(4)
        if which == 0:
            self._put(0xEA, long(self._here + 7), selector.to_bytes(2, "little"))
        elif which == 1:
            self._put(0x9A, long(self._here + 7), selector.to_bytes(2, "little"))
        elif which == 2:
            self._put(0x68, long(selector), 0x68, long(self._here + 11), 0xCB)
        else:
            self._put(0x68, long(self._flags()), 0x68, long(selector), 0x68, long(self._here + 16), 0xCF)

    def _interrupt(self) -> None:
        chance = self.chance
        vector = chance.choice((0, 1, 3, 5, 0x21, 0x61, 0x62, 0x63, 0x64, 0x66, 0x67, 0x80))
        self._put(chance.choice((b"\xcc", b"\xcc", b"\xce", b"\xce", bytes((0xCD, vector)))))

    def _ports(self) -> None:
        chance = self.chance
        if self.ring and chance.random() < 0.5:
            return
        self._put(0xBA, long(chance.choice(_PORTS)))
        if chance.random() < 0.3:
            self._put(0xB9, long(chance.randrange(4)), 0xF3)
        self._put(chance.choice((b"\xec", b"\xee", b"\x6c", b"\x6e", b"\x6e")))

    def _stored_code(self) -> None:
        """A store over what comes next, which is sensitive before or after it, or both."""
        chance = self.chance
        forms = [b"\x90\x90", b"\x8c\xc8", b"\x8c\xd0", b"\x0e\x58", b"\x40\x48", b"\x16\x59"]
        if not self._by_state:
            forms.append(b"\x9c\x58")
        before, after = chance.choice(forms), chance.choice(forms)
        gap = chance.choice((b"", b"\x90", b"\x8c\xc9", b"\xeb\x00"))
        target = self._here + 9 + len(gap)
        self._put(b"\x66\xc7\x05", long(target), after, gap, before)

    def _tables(self) -> None:
        """An entry of the table of WINDOW's, but for that page itself, and what forgets the old one."""
        chance = self.chance
        index = chance.choice((2, 3, 4, 5, 7, 8))
        frame = self._labels["windows"] + chance.choice((0, 0x1000, 0x2000, 0x3000, 0x4000))
        entry = self._labels["high_table"] + 4 * index
        address = WINDOW + (index << 12)
        how = chance.random()
        if how < 0.2:
            self._put(0xC7, 0x05, long(entry), long(frame | chance.choice(_PAGE_FLAGS)))
        elif how < 0.6:
            self._put(0xB8, long(frame | chance.choice(_PAGE_FLAGS)), 0xA3, long(entry))
        else:
            operation = chance.choice((b"\x83\x25", b"\x80\x25"))  # AND: not accessed, not dirty
            self._put(operation, long(entry), chance.choice((0xDF, 0xBF, 0x9F, 0xFD, 0xFB)))
            self._define_flags()
        self._put(chance.choice((b"\x0f\x20\xd8\x0f\x22\xd8", b"\x0f\x01\x3d" + long(address))))


class Written(NamedTuple):
    """A stream, and where its pieces begin; the last one is its end."""

    stream: Stream
    pieces: tuple[int, ...]


def streams(seed: int | str, count: int, *, promised_by_state: bool = False) -> list[Written]:
    """So many, which one kernel can hold; `promised_by_state` is as for `Writer`."""
    labels = stream_labels()
    address, found = labels["codes"], list[Written]()
    for number in range(count):
        address += random.Random(f"{seed} {number} gap").randrange(8)
        writer = Writer(f"{seed} {number}", address, labels, promised_by_state=promised_by_state)
        found.append(Written(writer.stream(writer.chance.randrange(6, 30)), tuple(writer.pieces)))
        address += len(found[-1].stream.code)
    return found
