"""A TLB fill in C in the place of the engine's own (`paravane.cpu.engine.fill_place`)."""

import mmap
from collections.abc import Iterable
from ctypes import c_void_p
from typing import Final, Protocol

from paravane.classes import NamedTuple
from paravane.cpu.engine import machine_code
from paravane.cpu.engine.context_offsets import ContextLayout
from paravane.cpu.engine.fill_place import FillPlace, FillSwap, find
from paravane.cpu.engine.library import Engine
from paravane.cpu.ram import Ram

# mov $user, %rdx; mov $function, %rax; jmp *%rax
_LOAD_USER: Final = b"\x48\xba"
_LOAD_FUNCTION: Final = b"\x48\xb8"
_JUMP: Final = b"\xff\xe0"


class FillView(NamedTuple):
    """Addresses in this process: of the processor's state, of machine memory, which has `ram_size` bytes, and
    of the library's functions; and the places of control registers in the state, counted in 32-bit words."""

    words: int
    ram: int
    ram_size: int
    own: int
    set_page: int
    flush: int
    cr0: int
    cr3: int
    cr4: int


class NativeFill(Protocol):
    """A function in C of the type FILL, but for its third argument, which is the `user` it belongs to. It
    remembers which frames it let code be fetched from."""

    @property
    def address(self) -> int:
        """Of the function."""
        ...

    @property
    def user(self) -> int:
        """What the function is called with."""
        ...

    def connect(self, view: FillView, /) -> None:
        """The function is about to be called for this processor."""
        ...

    def forget(self, mfns: Iterable[int], /) -> None:
        """No code of these frames is left, and no translation."""
        ...

    def forget_all(self) -> None:
        """No code is left, and no translation."""
        ...


class InstalledFill:
    """A fill that one engine calls instead of its own, until the engine is closed; then close this."""

    def __init__(self, engine: Engine, place: FillPlace, fill: NativeFill, way: mmap.mmap) -> None:
        """`way` leads to its function."""
        self._fill = fill
        self._way = way
        self._swap = FillSwap(engine, place, c_void_p(machine_code.address(way)))
        self.forget, self.forget_all = fill.forget, fill.forget_all

    def close(self) -> None:
        """Nobody calls it any more."""
        self._way.close()


def install(
    engine: Engine, layout: ContextLayout, ram: Ram, cr4: int, fill: NativeFill
) -> InstalledFill | None:
    """Have `engine`, whose memory is `ram` and whose CR4 is `cr4`, call `fill`; None where that cannot be."""
    place = find(engine.place)
    # The control registers are an array, of two words each.
    cr4_at = 2 * layout.cr3 - layout.cr2
    if isinstance(place, str) or engine.words[cr4_at] != cr4:
        return None
    # The engine's function is called without anything of ours, but with a size that no x86 processor needs.
    way = machine_code.place(
        _LOAD_USER
        + fill.user.to_bytes(8, "little")
        + _LOAD_FUNCTION
        + fill.address.to_bytes(8, "little")
        + _JUMP
    )
    if way is None:
        return None
    fill.connect(
        FillView(
            words=engine.bytes_address,
            ram=ram.host_address,
            ram_size=ram.size,
            own=place.own,
            set_page=place.set_page,
            flush=place.flush,
            cr0=layout.cr0,
            cr3=layout.cr3,
            cr4=cr4_at,
        )
    )
    return InstalledFill(engine, place, fill, way)
