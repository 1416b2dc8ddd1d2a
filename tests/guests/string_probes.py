"""INS and OUTS over the edges of pages and of offsets, both ways, and interrupts between their elements:
probes for `tests.support.probes`."""

from __future__ import annotations

from tests.support.probes import Probe

_NOBODY, _SCRATCH = 0x2E0, 0x3FF
_SERIAL = 0x24


def edges() -> list[Probe]:
    """WINDOW is two pages that are apart in physical memory, after a page that is not there comes one that
    cannot be written. The last byte that went to the scratch register tells the order."""
    ins = [
        f"mov ${_NOBODY}, %edx\nmov ${at}, %edi\nmov ${count}, %ecx\n{way}\nrep ins{size}\ncld"
        for size in "bwl"
        for way in ("cld", "std")
        for at, count in (
            ("WINDOW + 0x3fd", 5),
            ("WINDOW + 0xffd", 3),
            ("WINDOW + 0x1001", 600),
            ("WINDOW + 16", 5),
            ("WINDOW + 12", 9),
            ("ABSENT - 5", 6),
            ("ABSENT + 0xffe", 2),
            ("READ_ONLY + 4", 3),
        )
    ]
    outs = [
        f"mov ${_SCRATCH}, %edx\nmovl $0x04030201, WINDOW + 0x10\nmovl $0x08070605, WINDOW + 0xffe\n"
        f"mov ${at}, %esi\nmov ${count}, %ecx\n{way}\nrep outsb\ncld\nin %dx, %al"
        for way in ("cld", "std")
        for at, count in (
            ("WINDOW + 0x10", 4),
            ("WINDOW + 0x13", 3),
            ("WINDOW + 0xffe", 3),
            ("WINDOW + 0x1001", 4),
            ("WINDOW + 2", 6),
        )
    ]
    small = [
        f"mov ${_NOBODY}, %edx\nmov ${edi:#x}, %edi\nmov ${ecx:#x}, %ecx\n"
        f"{way}\n.byte 0x67\nrep ins{size}\ncld"
        for way in ("cld", "std")
        for size in "bw"
        for edi, ecx in ((0xABCDFFFE, 0x50003), (0x12340001, 0x70002))
    ]
    return [Probe(code) for code in (*ins, *outs, *small)]


def interrupts() -> list[Probe]:
    """The serial port sends to itself: what it receives makes it interrupt, before the next element."""
    return [
        Probe(
            "movl $0x3fc, %edx\nmovb $0x10, %al\noutb %al, %dx\nmovl $0x3f9, %edx\nmovb $1, %al\n"
            f"outb %al, %dx\ndecl %edx\nmovl ${count}, %ecx\n{allow}\nrep outsb\nnop\ncli\n"
            "inb %dx, %al\nmovb %al, %ah\nmovl $0x3fc, %edx\nmovb $0, %al\noutb %al, %dx",
            eflags=2,
            resumed=(_SERIAL,),
        )
        for count in (2, 5)  # after the last one QEMU looks at ECX once more, and hardware does not
        for allow in ("sti\nnop", "sti", "nop")
    ]
