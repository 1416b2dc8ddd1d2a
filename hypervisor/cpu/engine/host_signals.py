"""Signals of this process as the C library sees them: Linux on x86-64 with glibc, through ctypes.

Python's own `signal` module cannot do it: its handlers run later, and the instruction that died would first
die again. Numbers are those of sigaction(2), <bits/types/siginfo_t.h>, <sys/ucontext.h> and dladdr(3).
"""

import ctypes
import os
import signal
from functools import lru_cache
from typing import Final

HANDLER: Final = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
"""Number, siginfo_t *, ucontext_t *."""

_SA_SIGINFO: Final = 4
_SI_TKILL: Final = -6
_SI_CODE_AT, _SI_PID_AT = 8, 16
_RDI, _RSI, _RSP, _RIP, _EFL = (40 + 8 * register for register in (8, 9, 15, 16, 17))
_RED_ZONE: Final = 128
_DIRECTION_FLAG: Final = 1 << 10
_SIG_DFL, _SIG_IGN = 0, 1

# Some 30 of them are of the interpreter that runs the handler.
_MOST_FRAMES: Final = 128
# Called with the interpreter lock held; none of them waits for anything.
_libc: Final = ctypes.PyDLL(None)


class Action(ctypes.Structure):
    """struct sigaction."""

    _fields_ = (
        ("handler", ctypes.c_size_t),
        ("mask", ctypes.c_uint8 * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_size_t),
    )


class _Symbol(ctypes.Structure):
    """Dl_info."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def missing() -> str:
    """What this process lacks for all this; nothing when it has all."""
    names = ("backtrace", "dladdr", "sigaction")
    return next((f"a C library with {name}" for name in names if not hasattr(_libc, name)), "")


def get_action(number: int) -> Action:
    """What is done about signal `number` now."""
    action = Action()
    _libc.sigaction(number, None, ctypes.byref(action))
    return action


def set_action(number: int, action: Action) -> None:
    """Do this about signal `number`, in all threads."""
    _libc.sigaction(number, ctypes.byref(action), None)


def action_for(handler: object) -> Action:
    """The action that calls `handler`, made by `HANDLER`, which must be kept alive as long."""
    return Action(handler=address(handler), flags=_SA_SIGINFO)


def address(function: object) -> int:
    """Where a C function is."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def take(action: Action, number: int, info: int, context: int) -> None:
    """Do what `action` does about a signal that is being handled."""
    if action.handler not in {_SIG_DFL, _SIG_IGN}:
        ctypes.PYFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(action.handler)(
            number, info, context
        )
        return
    set_action(number, action)
    if ctypes.c_int.from_address(info + _SI_CODE_AT).value <= 0:
        # Sent, not met: nothing on return would bring it about once more.
        signal.raise_signal(number)


def sent_by_another(info: int) -> bool:
    """Some process sent the signal, and not this one to itself as abort() does."""
    code = ctypes.c_int.from_address(info + _SI_CODE_AT).value
    own = code == _SI_TKILL and ctypes.c_int.from_address(info + _SI_PID_AT).value == os.getpid()
    return code <= 0 and not own


def interrupted_frames(context: int) -> list[int]:
    """Addresses in the interrupted function and its callers, as far as they can be told."""
    frames = (ctypes.c_size_t * _MOST_FRAMES)()
    found = frames[: _libc.backtrace(frames, _MOST_FRAMES)]
    pc = ctypes.c_size_t.from_address(context + _RIP).value
    return found[found.index(pc) :] if pc in found else [pc]


# The C library searches the whole symbol table of a file each time, and the same few places die.
@lru_cache(maxsize=256)
def function_at(pc: int) -> str | None:
    """The exported function that `pc` is in, "" where it has no name; None outside every loaded file."""
    symbol = _Symbol()
    if not _libc.dladdr(ctypes.c_size_t(pc), ctypes.byref(symbol)):
        return None
    name: bytes | None = symbol.name
    return (name or b"").decode()


def go_on_in(context: int, function: int, *arguments: int) -> None:
    """Make the interrupted thread call `function`, which must not return, with up to two arguments."""
    stack = ctypes.c_size_t.from_address(context + _RSP)
    # As just after a call: 8 bytes off a multiple of 16.
    stack.value = (stack.value - _RED_ZONE & ~15) - 8
    ctypes.c_size_t.from_address(context + _EFL).value &= ~_DIRECTION_FLAG
    ctypes.c_size_t.from_address(context + _RIP).value = function
    for place, argument in zip((_RDI, _RSI), arguments, strict=False):
        ctypes.c_size_t.from_address(context + place).value = argument


def load_unwinder() -> None:
    """The first call of backtrace() loads a library, which must not happen in a handler."""
    _libc.backtrace((ctypes.c_size_t * 1)(), 1)
