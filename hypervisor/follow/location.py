"""Places in a guest as people name them: `main`, `main+0x10`, `0xc0100000`, `kernel.S:80`, and ranges."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from paravane.text import number_in

if TYPE_CHECKING:
    from paravane.image import Image

EVERYWHERE: Final = range(1 << 32)

_PLACE: Final = re.compile(r"(?P<name>[^+]+?)(?:\+(?P<offset>0[xX][0-9a-fA-F]+|\d+))?")
_LINE: Final = re.compile(r"(?P<file>.+):(?P<line>\d+)")


class LocationError(ValueError):
    """What was named is not in the image; the message is one sentence."""


def location(image: Image, text: str) -> range:
    """The linear addresses that `text` names: an address, `SYMBOL+N` or `FILE:LINE` is one, a symbol goes on
    to the next one, `A-B` goes from the first of A to before the first of B. Raises LocationError."""
    whole = _single(image, text)
    if whole is not None:
        return whole
    for at in (at for at, character in enumerate(text) if character == "-"):
        first, last = _single(image, text[:at]), _single(image, text[at + 1 :])
        if first is not None and last is not None:
            if last.start <= first.start:
                raise LocationError(f"{text} ends before it begins")
            return range(first.start, last.start)
    raise LocationError(_complaint(image, text))


def data_at(image: Image, text: str) -> int:
    """The linear address of data that `text` names. Raises LocationError."""
    found = _single(image, text)
    if found is None:
        raise LocationError(_complaint(image, text))
    return found.start


def _single(image: Image, text: str) -> range | None:
    line = _LINE.fullmatch(text)
    if line is not None:
        row = number_in(line["line"])
        starts = () if row is None else image.lines.starting(line["file"], row)
        return range(starts[0], starts[0] + 1) if starts else None
    place = _PLACE.fullmatch(text)
    if place is None:
        return None
    number = number_in(place["name"])
    start = image.symbols.address_of(place["name"]) if number is None else number
    if start is None:
        return None
    if place["offset"] is not None:
        offset = number_in(place["offset"])
        if offset is None:
            return None
        start += offset
    elif number is None:
        return range(start, max(start + 1, image.symbols.end_of(place["name"], image.virt_end)))
    return range(start, start + 1) if start in EVERYWHERE else None


def _complaint(image: Image, text: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - loaded for who asks for it only

    close = get_close_matches(text, image.symbols.names, 1)
    hint = f": did you mean {close[0]}?" if close else ", nor is it an address or a line with code"
    return f"the image has no symbol {text!r}{hint}"
