"""A disk in one line of text: that of `--disk`, of xl's `disk = [...]`, and of `kernel.toml`.

disk.img,xvda                           a file, and what the guest calls it
disk.img,xvda,ro                        only to be read
base.img,xvda,cow                       what is written is kept in memory, and lost
base.img,xvda,cow=changes.cow           what is written goes into that file
ram:64M,xvdb                            zeros in memory
/srv/disk.img,raw,xvda,w                xl's: target, format, vdev, access (xl-disk-configuration(5))
vdev=xvda, access=ro, target=/a,b.img   a target by its key is last, and takes all that follows
phy:/dev/vg/guest,xvda,w                the older form
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from paravane.devices.block.config import Disk
from paravane.devices.block.vdev import looks_like_vdev
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_POSITIONS: Final = ("target", "format", "vdev", "access")
_FLAGS: Final = ("discard", "no-discard", "direct-io-safe", "cdrom", "cow")
_KEYS: Final = (*_POSITIONS, "devtype", "cow", "sector-size")
_NOT_HERE: Final = ("backend", "backendtype", "script", "backend-type")
"""What xl knows and has no meaning here, where there is one backend."""

_FORMATS: Final = ("raw", "empty", "qcow", "qcow2", "vhd", "qed")
_ACCESS: Final = {"r": True, "ro": True, "w": False, "rw": False}
_MEMORY: Final = re.compile(r"ram:([0-9]{1,9})([KMG]?)", re.IGNORECASE)
_UNITS: Final = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LONGEST: Final = 80


def parse_disk(text: str) -> Disk:
    """The disk that a text describes. Raises ValueError, a sentence."""
    try:
        return _disk(_split(text))
    except ValueError as error:
        raise ValueError(f"disk {shown(text[:_LONGEST])!r}: {error}") from None


def disk_text(disk: Disk) -> str:
    """The text of a disk, from which `parse_disk` makes it again."""
    words = [f"vdev={disk.vdev}", f"sector-size={disk.sector_size}"]
    words += ["access=r"] if disk.read_only else []
    words += ["cdrom"] if disk.cdrom else []
    if disk.cow:
        words.append("cow" if disk.cow_file is None else f"cow={os.fspath(disk.cow_file)}")
    target = f"ram:{disk.memory >> 10}K" if disk.path is None else os.fspath(disk.path)
    return ",".join([*words, f"target={target}"])


def located(disk: Disk, place: Callable[[str], str | os.PathLike[str]]) -> Disk:
    """The disk with its files where `place` says that those of such names are."""
    path, cow_file = (None if name is None else place(os.fspath(name)) for name in (disk.path, disk.cow_file))
    return replace(disk, path=path, cow_file=cow_file)


def disks_of(texts: Iterable[str], folder: Path) -> tuple[Disk, ...]:
    """The disks of these texts, whose files are in a folder. Raises ValueError."""
    return tuple(located(parse_disk(text), lambda name: folder / name) for text in texts)


def _split(text: str) -> dict[str, str]:
    """What is said by key, by position or by a word alone ("")."""
    head, marked, rest = text.partition("target=")
    found = {"target": rest.strip()} if marked else {}
    prefix, colon, old = text.partition(":")
    if not marked and colon and prefix.strip() in ("phy", "file", "tap"):
        fields = [field.strip() for field in old.split(",")]
        if len(fields) != 3:
            raise ValueError(f"this is no {prefix.strip()}:TARGET,VDEV,ACCESS")
        return dict(zip(("target", "vdev", "access"), fields, strict=True))
    positions = [name for name in _POSITIONS if name not in found]
    for field in (part.strip() for part in head.rstrip(", ").split(",")) if head.strip(", ") else ():
        key, equals, value = (part.strip() for part in field.partition("="))
        if not equals and key in _FLAGS:
            found[key] = ""
        elif equals and key in (*_KEYS, *_NOT_HERE):
            if key == "cow" and not value:
                raise ValueError("cow= is followed by a file; cow alone keeps what is written in memory")
            found[key] = value
        elif equals:
            raise ValueError(f"there is no setting {shown(key)}")
        else:
            _place(field, positions, found)
    return found


def _place(word: str, positions: list[str], found: dict[str, str]) -> None:
    """A word by its position; the format may be left out."""
    if positions[:1] == ["format"] and looks_like_vdev(word):
        del positions[0]
    if not positions:
        raise ValueError(f"one word too many: {shown(word)}")
    found[positions.pop(0)] = word


def _disk(found: dict[str, str]) -> Disk:
    if not found.get("vdev"):
        raise ValueError("what does the guest call it? vdev=xvda, or xvda after the file")
    kind = found.get("format") or "raw"
    if kind not in _FORMATS:
        raise ValueError(f"{shown(kind)} is none of {', '.join(_FORMATS)}")
    if kind != "raw":
        raise ValueError(f"{kind} disks cannot be read; `qemu-img convert -O raw` makes raw ones of most")
    access = found.get("access") or "rw"
    if access not in _ACCESS:
        raise ValueError(f"access is r or w, not {shown(access)}")
    if found.get("backend", "0") not in ("0", "Domain-0"):
        raise ValueError("disks are in domain 0")
    if found.get("devtype", "disk") not in ("disk", "cdrom"):
        raise ValueError(f"devtype is disk or cdrom, not {shown(found['devtype'])}")
    sector_size = found.get("sector-size", "512")
    target = found.get("target", "")
    memory = _MEMORY.fullmatch(target)
    return Disk(
        path=None if memory else target or None,
        vdev=found["vdev"],
        read_only=_ACCESS[access],
        cow="cow" in found,
        cow_file=found.get("cow") or None,
        memory=int(memory[1]) * _UNITS[memory[2].upper()] if memory else 0,
        cdrom="cdrom" in found or found.get("devtype") == "cdrom",
        sector_size=int(sector_size) if sector_size in ("512", "4096") else 0,
    )
