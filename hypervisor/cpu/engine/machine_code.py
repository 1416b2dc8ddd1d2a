"""Machine code of our own, for functions that the engine calls where Python would be too slow."""

import ctypes
import mmap
import os
import sys


def place(code: bytes) -> mmap.mmap | None:
    """`code`, for x86-64 and the System V calling convention, in a page of memory of its own; close it when
    nobody calls it any more. None where it cannot be executed."""
    if sys.platform == "win32" or os.uname().machine not in {"x86_64", "amd64"}:
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        # A hardened system: no memory that is both writable and executable.
        return None
    page[: len(code)] = code
    return page


def address(page: mmap.mmap) -> int:
    """Where the code of `place` starts."""
    return ctypes.addressof(ctypes.c_char.from_buffer(page))
