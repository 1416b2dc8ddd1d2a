"""The engine's own functions that forget translations of linear addresses, for native code to call."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.cpu.engine import library

if TYPE_CHECKING:
    from paravane.cpu.engine.library import Engine

_WHOLE: Final = "tlb_flush_x86_64"
_PAGE: Final = "tlb_flush_page_x86_64"


class Flushes(NamedTuple):
    """Addresses in this process: `whole(processor)` forgets all pages, `page(processor, linear)` one."""

    processor: int
    whole: int
    page: int


def flushes(engine: Engine) -> Flushes | None:
    """Those of one engine, for as long as it is open; None where they cannot be had."""
    if not engine.in_place:
        return None
    exported = ctypes.CDLL(library.PATH)
    try:
        whole, page = (_address(getattr(exported, name)) for name in (_WHOLE, _PAGE))
    except AttributeError:
        return None
    return Flushes(engine.processor, whole, page)


def _address(function: object) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert address is not None
    return address
