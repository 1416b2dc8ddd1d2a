"""The keys of X, which viewers send, as the keycodes of Linux, which frontends of keyboards take.

A keysym (keysymdef.h) says what is on a key, a keycode (input-event-codes.h) where it is: on a keyboard with
American keys. Both signs of a key are that key; whether shift is held the viewer says itself.
"""

from __future__ import annotations

from typing import Final

_ROWS: Final = (
    # The keycode of the first key, then the keys without shift and with it, as ASCII has them.
    (2, "1234567890-=", "!@#$%^&*()_+"),
    (16, "qwertyuiop[]", "QWERTYUIOP{}"),
    (30, "asdfghjkl;'`", 'ASDFGHJKL:"~'),
    (43, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    (57, " ", " "),
)

_NAMED: Final = {
    0xFF08: 14,  # BackSpace
    0xFF09: 15,  # Tab
    0xFE20: 15,  # ISO_Left_Tab, which is Tab with shift
    0xFF0D: 28,  # Return
    0xFF1B: 1,  # Escape
    0xFF13: 119,  # Pause
    0xFF14: 70,  # Scroll_Lock
    0xFF61: 99,  # Print
    0xFF15: 99,  # Sys_Req
    0xFFFF: 111,  # Delete
    0xFF50: 102,  # Home
    0xFF51: 105,  # Left
    0xFF52: 103,  # Up
    0xFF53: 106,  # Right
    0xFF54: 108,  # Down
    0xFF55: 104,  # Page_Up
    0xFF56: 109,  # Page_Down
    0xFF57: 107,  # End
    0xFF63: 110,  # Insert
    0xFF67: 127,  # Menu
    0xFF7F: 69,  # Num_Lock
    0xFFE1: 42,  # Shift_L
    0xFFE2: 54,  # Shift_R
    0xFFE3: 29,  # Control_L
    0xFFE4: 97,  # Control_R
    0xFFE5: 58,  # Caps_Lock
    0xFFE7: 56,  # Meta_L
    0xFFE8: 100,  # Meta_R
    0xFFE9: 56,  # Alt_L
    0xFFEA: 100,  # Alt_R
    0xFE03: 100,  # ISO_Level3_Shift
    0xFFEB: 125,  # Super_L
    0xFFEC: 126,  # Super_R
    # The pad: what its keys are with and without Num_Lock.
    0xFF8D: 96,  # KP_Enter
    0xFFAA: 55,  # KP_Multiply
    0xFFAB: 78,  # KP_Add
    0xFFAD: 74,  # KP_Subtract
    0xFFAF: 98,  # KP_Divide
    0xFFBD: 117,  # KP_Equal
    **dict(zip(range(0xFFB0, 0xFFBA), (82, 79, 80, 81, 75, 76, 77, 71, 72, 73), strict=True)),  # KP_0...
    0xFFAE: 83,  # KP_Decimal
    0xFF95: 71,  # KP_Home
    0xFF96: 75,  # KP_Left
    0xFF97: 72,  # KP_Up
    0xFF98: 77,  # KP_Right
    0xFF99: 80,  # KP_Down
    0xFF9A: 73,  # KP_Page_Up
    0xFF9B: 81,  # KP_Page_Down
    0xFF9C: 79,  # KP_End
    0xFF9D: 76,  # KP_Begin
    0xFF9E: 82,  # KP_Insert
    0xFF9F: 83,  # KP_Delete
    # F1 to F10, then F11 and F12.
    **dict(zip(range(0xFFBE, 0xFFC8), range(59, 69), strict=True)),
    0xFFC8: 87,
    0xFFC9: 88,
}


def _table() -> dict[int, int]:
    found = dict(_NAMED)
    for first, *signs in _ROWS:
        for row in signs:
            found |= {ord(sign): first + at for at, sign in enumerate(row)}
    return found


KEYCODES: Final = _table()
"""Keysym to keycode."""

BUTTONS: Final = (0x110, 0x112, 0x111)
"""BTN_LEFT, BTN_MIDDLE and BTN_RIGHT: the lowest bits of a viewer's button mask."""

WHEEL_UP: Final = 1 << 3
WHEEL_DOWN: Final = 1 << 4
"""Of the button mask: the wheel has turned by a click."""
