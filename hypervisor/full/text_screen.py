"""A PC's screen in text mode 3, 80 columns and 25 lines (IBM VGA Technical Reference, 1992).

What is on it is plain memory, which the guest writes, two bytes for a character: its code (code page 437) and
its colours. The registers are kept and read back; but for the address that the page begins at, and the
cursor's, which only guests look at, they change nothing: there are no other modes, fonts or palettes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from paravane.full.physical_memory import PhysicalMemory

COLUMNS, LINES = 80, 25
PAGE: Final = 0xB8000
_WINDOW: Final = 0x8000
"""Bytes of it: a page that reaches beyond goes on at its beginning."""

_ATTRIBUTE, _ATTRIBUTE_READ, _MISCELLANEOUS, _MISCELLANEOUS_READ = 0x3C0, 0x3C1, 0x3C2, 0x3CC
CRTC: Final = 0x3D4
_SEQUENCER, _GRAPHICS = 0x3C4, 0x3CE
_STATUS: Final = 0x3DA
_INDEXED: Final = {_SEQUENCER: 8, _GRAPHICS: 16, CRTC: 32}
"""Ports of an index, each followed by that of its data, and how many registers are there."""

PORTS: Final = (
    *(_ATTRIBUTE, _ATTRIBUTE_READ, _MISCELLANEOUS, _MISCELLANEOUS_READ, _STATUS),
    *(port + step for port in _INDEXED for step in (0, 1)),
)

_START_HIGH, _START_LOW = 0x0C, 0x0D
_MODE_3: Final = bytes.fromhex("5f4f50825581bf1f004f0d0e000000009c8e8f281f96b9a3ff")
"""The CRTC's registers as a BIOS leaves them."""
_MISCELLANEOUS_3: Final = 0x67
_RETRACES: Final = 0x09
_BLANK: Final = b" \x07"

_LOW_GLYPHS: Final = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
_GLYPHS: Final = (
    _LOW_GLYPHS + bytes(range(0x20, 0x7F)).decode() + "⌂" + bytes(range(0x80, 0x100)).decode("cp437")
)


class TextScreen:
    """The screen, and its registers at `PORTS`."""

    def __init__(self, memory: PhysicalMemory) -> None:
        """It comes up blank."""
        self._memory = memory
        self._indexes = dict.fromkeys(_INDEXED, 0)
        self._registers = {port: bytearray(count) for port, count in _INDEXED.items()}
        self._registers[CRTC][: len(_MODE_3)] = _MODE_3
        self._attributes = bytearray(32)
        self._attribute = 0
        self._attribute_data = False
        self._miscellaneous = _MISCELLANEOUS_3
        self._retrace = 0
        memory.write(PAGE, _BLANK * (_WINDOW // len(_BLANK)))

    def text(self) -> str:
        """What is shown: lines without the blanks that they end in, each ended by a line feed, down to the
        last that is not blank."""
        crtc = self._registers[CRTC]
        start = (crtc[_START_HIGH] << 8 | crtc[_START_LOW]) * len(_BLANK)
        window = self._memory.read(PAGE, _WINDOW) * 2
        start %= _WINDOW
        codes = window[start : start + LINES * COLUMNS * len(_BLANK) : len(_BLANK)]
        characters = "".join(_GLYPHS[code] for code in codes)
        lines = [characters[at : at + COLUMNS].rstrip(" \xa0") for at in range(0, LINES * COLUMNS, COLUMNS)]
        while lines and not lines[-1]:
            lines.pop()
        return "".join(f"{line}\n" for line in lines)

    def read(self, port: int) -> int:
        if port in _INDEXED:
            return self._indexes[port]
        if port - 1 in _INDEXED:
            return self._data(port - 1)[0]
        if port == _STATUS:
            self._attribute_data = False
            self._retrace ^= _RETRACES  # who waits for it to begin, or to end, does not wait for long
            return self._retrace
        if port == _ATTRIBUTE:
            return self._attribute
        if port == _ATTRIBUTE_READ:
            return self._attributes[self._attribute % len(self._attributes)]
        return self._miscellaneous if port == _MISCELLANEOUS_READ else 0

    def write(self, port: int, value: int) -> None:
        if port in _INDEXED:
            self._indexes[port] = value
        elif port - 1 in _INDEXED:
            registers, index = self._registers[port - 1], self._indexes[port - 1]
            if index < len(registers):
                registers[index] = value
        elif port == _ATTRIBUTE:
            if self._attribute_data:
                self._attributes[self._attribute % len(self._attributes)] = value
            else:
                self._attribute = value
            self._attribute_data = not self._attribute_data
        elif port == _MISCELLANEOUS:
            self._miscellaneous = value

    def _data(self, port: int) -> bytes:
        """The register that `port` chooses; 0 where there is none."""
        index = self._indexes[port]
        return bytes(self._registers[port][index : index + 1]) or b"\0"
