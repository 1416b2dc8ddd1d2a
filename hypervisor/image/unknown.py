"""The image of a domain whose kernel another guest has put into its memory: nobody knows what it is."""

from __future__ import annotations

from struct import pack
from typing import Final

from paravane.image.elf import Elf
from paravane.image.image import Image
from paravane.image.notes import Notes, PaeMode

_EXECUTABLE, _I386, _VERSION, _HEADER = 2, 3, 1, 52
_NOTHING: Final = pack(
    "<16s2H5I6H", b"\x7fELF\x01\x01\x01", _EXECUTABLE, _I386, _VERSION, 0, 0, 0, 0, _HEADER, 32, 0, 40, 0, 0
)


def unknown_image() -> Image:
    """An image for PAE without contents, symbols and lines: every address is outside it."""
    return Image(Elf(_NOTHING), Notes("", pae=PaeMode.YES), (), 0, 0, 0, 0, 0, None, None)
