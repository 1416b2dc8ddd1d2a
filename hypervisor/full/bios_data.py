"""The words that a PC's BIOS leaves in its data area at 0x400 for who looks there (IBM PC AT Technical
Reference, 1985): there is no BIOS here that anybody could call."""

from __future__ import annotations

from struct import pack
from typing import Final

from paravane.full import serial_port, text_screen

LOW_KIB: Final = 640
"""KiB of memory below the devices."""

END: Final = 0x500
"""Of the data area."""

_COM1, _EQUIPMENT, _MEMORY, _VIDEO, _CRTC, _ROWS = 0x400, 0x410, 0x413, 0x449, 0x463, 0x484
_COPROCESSOR, _COLOUR_80, _ONE_SERIAL_PORT = 0x0002, 0x0020, 0x0200
_MODE: Final = 3
_PAGE_BYTES, _CELL_LINES = 0x1000, 16


def pieces() -> tuple[tuple[int, bytes], ...]:
    """Physical addresses, and what lies there; all else of the data area is zero, the address of an extended
    one (0x40E) too: there is none."""
    return (
        (_COM1, pack("<H", serial_port.BASE)),
        (_EQUIPMENT, pack("<H", _COPROCESSOR | _COLOUR_80 | _ONE_SERIAL_PORT)),
        (_MEMORY, pack("<H", LOW_KIB)),
        (_VIDEO, pack("<BHH", _MODE, text_screen.COLUMNS, _PAGE_BYTES)),
        (_CRTC, pack("<H", text_screen.CRTC)),
        (_ROWS, pack("<BH", text_screen.LINES - 1, _CELL_LINES)),
    )
