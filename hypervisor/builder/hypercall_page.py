"""The page of entry points a kernel calls hypercalls through (public/arch-x86/xen-x86_32.h)."""

from functools import cache

from paravane.abi.hypercall import (
    ENTRY_INT,
    ENTRY_MOV_EAX,
    ENTRY_PUSH_EAX,
    ENTRY_RET,
    HYPERCALL_PAGE_ENTRIES,
    HYPERCALL_PAGE_ENTRY_SIZE,
    HYPERCALL_VECTOR,
    Hypercall,
)

_INT3 = b"\xcc"


@cache
def hypercall_page() -> bytes:
    """4096 bytes: entry n is `mov $n, %eax; int $0x82; ret`; a call that goes astray past it meets int3.

    Guests jump to the entry of iret instead of calling it: it pushes EAX, the first word of the frame that
    the hypercall takes, and has no way back.
    """
    return b"".join(
        _entry(number).ljust(HYPERCALL_PAGE_ENTRY_SIZE, _INT3) for number in range(HYPERCALL_PAGE_ENTRIES)
    )


def _entry(number: int) -> bytes:
    call = bytes((ENTRY_MOV_EAX, *number.to_bytes(4, "little"), ENTRY_INT, HYPERCALL_VECTOR))
    if number == Hypercall.iret:
        return bytes((ENTRY_PUSH_EAX,)) + call
    return call + bytes((ENTRY_RET,))
