"""Which guest kernels use a hypercall, as their sources say it."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

from paravane import asm, guest_kernels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_INCLUDE: Final = re.compile(r'^\s*\.include\s+"([^"]+)"', re.MULTILINE)
_COMMENT: Final = re.compile(r"#[^\n]*")
_GENERATED: Final = "xen"


def users(words: Sequence[str]) -> Iterator[str]:
    """A line for each file of the runtime and each kernel whose sources have one of these spellings."""
    spelt = re.compile("|".join(rf"(?<![\w.]){word}(?![\w.])" for word in words))
    kernels = {name: _files(name) for name in guest_kernels.names()}
    for path in sorted(asm.INCLUDE_DIR.glob("*.inc")):
        if not path.name.startswith(_GENERATED) and spelt.search(_text(path)):
            including = [name for name, files in kernels.items() if path in files]
            yield f"{path.name} of the runtime, which {_listed(including, len(kernels))}"
    for name, files in kernels.items():
        own = [path.name for path in files if path.parent != asm.INCLUDE_DIR and spelt.search(_text(path))]
        if own:
            yield f"{name}: {', '.join(own)}"


def _listed(names: list[str], all_of_them: int) -> str:
    if not names:
        return "no kernel includes"
    if len(names) == all_of_them:
        return "every kernel includes"
    return f"{', '.join(names)} include{'s' * (len(names) == 1)}"


def _files(kernel: str) -> tuple[Path, ...]:
    """The sources of a kernel, and all that they include."""
    todo = list(guest_kernels.load(kernel).sources)
    found: list[Path] = []
    while todo:
        path = todo.pop(0)
        if path not in found:
            found.append(path)
            for name in _INCLUDE.findall(_text(path)):
                places = (folder / name for folder in (path.parent, asm.INCLUDE_DIR))
                todo += [place for place in places if place.exists()][:1]
    return tuple(found)


@cache
def _text(path: Path) -> str:
    """A source without its comments."""
    return _COMMENT.sub("", path.read_text(encoding="utf-8"))
