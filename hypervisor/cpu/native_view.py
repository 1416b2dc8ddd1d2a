"""What native code that serves traps has to know of one processor."""

import ctypes
from typing import NamedTuple

from unicorn import x86_const

from paravane.cpu.engine import library as api
from paravane.cpu.state import ProcessorState

DATA_SEGMENTS = ("ds", "es", "fs", "gs")


class NativeView(NamedTuple):
    """Addresses in this process, and where in the processor's state (`words`) its parts are, counted in
    32-bit words. `addseg` is a mask of the word `hflags`."""

    words: int
    reg_read: int
    reg_write: int
    eflags_register: int
    """EFLAGS as those two functions call it."""
    eax: int
    ebx: int
    esp: int
    eip: int
    eflags: int
    hflags: int
    cr3: int
    is_int: int
    cs: int
    ss: int
    ds_base: int
    es_base: int
    data_flags: tuple[int, ...]
    addseg: int


def native_view(cpu: ProcessorState) -> NativeView:
    """The processor's, for as long as it is open. Its state must be seen in place."""
    layout, slots = cpu._layout, cpu._layout.segments
    eax, ebx, esp = (layout.regs + number * layout.reg_stride for number in (0, 3, 4))
    return NativeView(
        words=cpu._engine.bytes_address,
        reg_read=_address(api.reg_read),
        reg_write=_address(api.reg_write),
        eflags_register=x86_const.UC_X86_REG_EFLAGS,
        eax=eax,
        ebx=ebx,
        esp=esp,
        eip=layout.eip,
        eflags=layout.eflags,
        hflags=layout.hflags,
        cr3=layout.cr3,
        is_int=layout.is_int,
        cs=slots["cs"].selector,
        ss=slots["ss"].selector,
        ds_base=slots["ds"].base,
        es_base=slots["es"].base,
        data_flags=tuple(slots[name].flags for name in DATA_SEGMENTS),
        addseg=layout.addseg,
    )


def _address(function: object) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert address is not None
    return address
