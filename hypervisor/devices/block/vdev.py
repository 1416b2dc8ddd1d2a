"""What a guest calls a disk, and the number that says so (xen-vbd-interface(7))."""

from __future__ import annotations

import re
from typing import Final

_NAMED: Final = re.compile(r"(xvd|hd|sd)([a-z]{1,3})([0-9]{0,3})")
_BY_POSITION: Final = re.compile(r"d([0-9]{1,7})(?:p([0-9]{1,3}))?")
_NUMBER: Final = re.compile(r"0x[0-9a-f]{1,8}|0|[1-9][0-9]{0,9}")
_EXTENDED: Final = 1 << 28
_XVD_MAJOR: Final = 202
_SD_MAJOR: Final = 8
_HD_MAJORS: Final = (3, 22)
MOST: Final = (1 << 29) - 1


def looks_like_vdev(text: str) -> bool:
    """Whether a word can only be meant as a disk's name, be there such a disk or not."""
    return bool(_NAMED.fullmatch(text) or _BY_POSITION.fullmatch(text))


def number_of(vdev: str) -> int:
    """The number of `xvda`, `xvda1`, `sdb`, `hdc`, `d2p3`, 51712 or 0xca00. Raises ValueError, a sentence."""
    if named := _NAMED.fullmatch(vdev):
        family, letters, digits = named.groups()
        disk = 0
        for letter in letters:
            disk = disk * 26 + ord(letter) - ord("a") + 1
        number = _encode(family, disk - 1, int(digits or 0))
    elif placed := _BY_POSITION.fullmatch(vdev):
        number = _encode("xvd", int(placed[1]), int(placed[2] or 0))
    else:
        number = int(vdev, 0) if _NUMBER.fullmatch(vdev) else None
    if number is None or number > MOST:
        raise ValueError(f"no disk can be called {vdev[:40]!r}: it would be xvda, xvda1, hda, sda, d0p1...")
    return number


def _encode(family: str, disk: int, partition: int) -> int | None:
    if family == "hd":
        if disk < 2 * len(_HD_MAJORS) and partition < 64:
            return _HD_MAJORS[disk // 2] << 8 | (disk & 1) << 6 | partition
        return None
    if family == "sd":
        return _SD_MAJOR << 8 | disk << 4 | partition if disk < 16 and partition < 16 else None
    if disk < 16 and partition < 16:
        return _XVD_MAJOR << 8 | disk << 4 | partition
    return _EXTENDED | disk << 8 | partition if disk < 1 << 20 and partition < 256 else None
