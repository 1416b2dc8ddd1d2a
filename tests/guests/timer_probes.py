"""Control words of the interval timer's third counter, and what it says of itself: probes for
`tests.support.probes`."""

from __future__ import annotations

from tests.support.probes import Probe


def _out(port: int, value: int) -> str:
    return f"movb ${value:#x}, %al\noutb %al, ${port:#x}\n"


def statuses() -> list[Probe]:
    """For each control word. The level of the output is left out: it is time that changes it."""
    found = []
    for word in range(0x10, 0x40):
        counts = _out(0x42, 0) * (2 if word >> 4 == 3 else 1)
        for loaded in ("", counts):
            for back, reads in ((0xE8, 1), (0xC8, 1), (0xE8, 2)):
                code = _out(0x43, 0x80 | word) + loaded + _out(0x43, back)
                # The status comes before a count that was latched with it, which is what time has made of it.
                code += (
                    f"inb $0x42, %al\nandb $0x7f, %al\nmovb %al, (%ebx)\n{'inb $0x42, %al' * (reads - 1)}\n"
                )
                found.append(Probe(f"{code}movl $0, %eax"))
    return found
