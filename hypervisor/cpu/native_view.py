"""What native code that serves traps has to know of one processor."""

import ctypes
from ctypes import addressof, c_char

from paravane.classes import NamedTuple
from paravane.cpu.engine import library as api
from paravane.cpu.engine import numbers
from paravane.cpu.engine.flushes import Flushes, flushes
from paravane.cpu.state import ProcessorState

DATA_SEGMENTS = ("ds", "es", "fs", "gs")


class NativeView(NamedTuple):
    """Addresses in this process, and where in the processor's state (`words`) its parts are, counted in
    32-bit words. `regs` are the general registers in hardware order, `reg_stride` words each; `flags` the
    arithmetic flags where they were computed for a code hook. The last four are masks of the word
    `hflags`."""

    words: int
    reg_read: int
    reg_write: int
    eflags_register: int
    """EFLAGS as those two functions call it."""
    hooked_map: int
    regs: int
    reg_stride: int
    eax: int
    ecx: int
    edx: int
    ebx: int
    esp: int
    ebp: int
    esi: int
    edi: int
    eip: int
    eflags: int
    hflags: int
    flags: int
    cr0: int
    cr2: int
    cr3: int
    error_code: int
    is_int: int
    in_flight: int
    cs: int
    cs_base: int
    cs_limit: int
    ss: int
    data_selector: tuple[int, ...]
    data_base: tuple[int, ...]
    data_limit: tuple[int, ...]
    data_flags: tuple[int, ...]
    addseg: int
    cs32: int
    inhibit: int
    task_switched: int
    flushes: Flushes | None
    """The engine's own, where they can be had."""


def native_view(cpu: ProcessorState) -> NativeView:
    """The processor's, for as long as it is open. Its state must be seen in place."""
    layout, slots = cpu._layout, cpu._layout.segments
    eax, ecx, edx, ebx, esp, ebp, esi, edi = (
        layout.regs + number * layout.reg_stride for number in range(len(api.GPRS))
    )
    return NativeView(
        words=cpu._engine.bytes_address,
        reg_read=_address(api.reg_read),
        reg_write=_address(api.reg_write),
        eflags_register=numbers.UC_X86_REG_EFLAGS,
        hooked_map=addressof(c_char.from_buffer(cpu.hooked_map)),
        regs=layout.regs,
        reg_stride=layout.reg_stride,
        eax=eax,
        ecx=ecx,
        edx=edx,
        ebx=ebx,
        esp=esp,
        ebp=ebp,
        esi=esi,
        edi=edi,
        eip=layout.eip,
        eflags=layout.eflags,
        hflags=layout.hflags,
        flags=layout.flags,
        cr0=layout.cr0,
        cr2=layout.cr2,
        cr3=layout.cr3,
        error_code=layout.error_code,
        is_int=layout.is_int,
        in_flight=layout.old_exception,
        cs=slots["cs"].selector,
        cs_base=slots["cs"].base,
        cs_limit=slots["cs"].limit,
        ss=slots["ss"].selector,
        data_selector=tuple(slots[name].selector for name in DATA_SEGMENTS),
        data_base=tuple(slots[name].base for name in DATA_SEGMENTS),
        data_limit=tuple(slots[name].limit for name in DATA_SEGMENTS),
        data_flags=tuple(slots[name].flags for name in DATA_SEGMENTS),
        addseg=layout.addseg,
        cs32=layout.cs32,
        inhibit=layout.inhibit,
        task_switched=layout.task_switched,
        flushes=flushes(cpu._engine),
    )


def _address(function: object) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert address is not None
    return address
