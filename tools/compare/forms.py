"""A kernel that is for Xen and for a bare PC, and says what it is doing."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass
from paravane.image.elf import PT_LOAD, Elf
from paravane.image.symbols import read_symbols
from paravane.tools import images
from paravane.tools.status import UsageError

if TYPE_CHECKING:
    from paravane import Image
    from paravane.guest_kernels import GuestKernel

PHASE, NAMES = "phase", "phase_names"
"""The word that has the number of the present phase, and the names of all, with an empty one after the
last."""
_MOST_PHASES: Final = 64
_WITHOUT_PHASES: Final = ("all",)


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a kernel: its file, where its `phase` is (None: nowhere), and the names of its phases."""

    data: bytes
    phase: int | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Twice:
    """Both forms, and the memory (bytes) and command line of either; `image` is the one for Xen, loaded."""

    name: str
    memory: int
    cmdline: str
    image: Image
    xen: Form
    bare: Form

    @property
    def phases(self) -> tuple[str, ...]:
        """The names of its phases; the first is for all that is in none."""
        return self.xen.names


def build(kernel: GuestKernel) -> Twice:
    """Both forms of a kernel that has `bare`. UsageError as `find`."""
    return find(kernel, sources_of(kernel))


def sources_of(kernel: GuestKernel) -> argparse.Namespace:
    """As if its folder were on the command line."""
    return argparse.Namespace(image=str(kernel.folder), include=[], define=[])


def find(kernel: GuestKernel, options: argparse.Namespace) -> Twice:
    """Build both forms of a kernel that has `bare`. UsageError for one whose forms have different phases."""
    xen, bare = (form(options, personality) for personality in ("xen", "full"))
    if xen.names != bare.names:
        raise UsageError(f"{kernel.name} has other phases for a bare PC than for Xen")
    image = images.load(options, xen.data)
    return Twice(kernel.name, kernel.memory, kernel.cmdline, image, xen, bare)


def form(options: argparse.Namespace, personality: str) -> Form:
    """Build one. UsageError for errors in it."""
    data = images.find(argparse.Namespace(**vars(options) | {"personality": personality})).data
    elf = Elf(data)  # it was made here
    symbols = read_symbols(elf)
    phase, names = symbols.address_of(PHASE), symbols.address_of(NAMES)
    if phase is None or names is None:
        return Form(data, None, _WITHOUT_PHASES)
    return Form(data, phase, _names(elf, names))


def _names(elf: Elf, at: int) -> tuple[str, ...]:
    """The strings there, until an empty one. UsageError for what is no list of them."""
    for segment in elf.segments:
        if segment.p_type == PT_LOAD and 0 <= at - segment.p_vaddr < segment.p_filesz:
            data = elf.contents(segment.p_offset, segment.p_filesz, "a segment")
            words = bytes(data[at - segment.p_vaddr :]).split(b"\0", _MOST_PHASES)[:-1]
            names = tuple(word.decode("ascii", "replace") for word in words)
            if "" in names[1:]:
                found = names[: names.index("")]
                # They are printed and drawn as they are.
                fit = all(name.isascii() and name.isprintable() for name in found)
                if found and fit and len(set(found)) == len(found):
                    return found
    raise UsageError(
        f"{NAMES} has to be 1 to {_MOST_PHASES - 1} strings of printable ASCII, no two alike, and an empty "
        "one at the end"
    )
