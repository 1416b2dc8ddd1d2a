"""Bare kernels that do to the devices, to interrupts and to where tables are what nobody should: each ends,
and nothing of the monitor's has changed."""

from __future__ import annotations

import pytest

from paravane import StopReason
from paravane.full.shadow import Policy
from tests.support.boot import HOST_TIMEOUT
from tests.support.hostile_bare import EXITS, MEMORY, TRIPLE, end_after, end_of, guarded, kernel

pytestmark = pytest.mark.slow

_INTERRUPTED = "INTERRUPTED"
_LOST = "where it has no memory"
_COUNT = 0x4000


def _out(*pairs: tuple[int, int]) -> str:
    return "".join(f"mov ${value:#x}, %al\nmov ${port:#x}, %edx\noutb %al, %dx\n" for port, value in pairs)


def _gate(vector: int, handler: str) -> str:
    return (
        f"mov ${handler}, %eax\nmov %ax, idt + {8 * vector}\nmovw $8, idt + {8 * vector + 2}\n"
        f"movw $0x8e00, idt + {8 * vector + 4}\nshr $16, %eax\nmov %ax, idt + {8 * vector + 6}\n"
    )


_TABLES = "lgdt g\nlidt i\njmp 1f\ng: .word 0x2f\n.long gdt\ni: .word 0x7ff\n.long idt\n1:\n"
_EDGES, _LEVELS = 0x11, 0x19


def _controllers(first: int = _EDGES, mode: int = 1, mask: int = 0) -> str:
    return _out((0x20, first), (0x21, 0x20), (0x21, 4), (0x21, mode), (0x21, mask))


def _timer(mode: int, count: int, counter: int = 0) -> str:
    return _out(
        (0x43, counter << 6 | 0x30 | mode << 1), (0x40 + counter, count & 0xFF), (0x40 + counter, count >> 8)
    )


_LOOP = _out((0x3FC, 0x10), (0x3F9, 3))  # the serial port sends to itself, and interrupts for all of it
_STORMS = {
    "timer as fast as it goes": (_controllers(mode=3) + _timer(2, 1), "t: iret"),
    "timer in square waves of one": (_controllers(mode=3) + _timer(3, 1), "t: iret"),
    "handler that never ends one": (_controllers() + _timer(2, 100), "t: iret"),
    "handler that nests until the stack ends": (_controllers(mode=3) + _timer(2, 1), "t: sti\n2: jmp 2b"),
    "level that stays high": (
        _controllers(_LEVELS) + _LOOP + "movb $1, %al\nmov $0x3f8, %edx\noutb %al, %dx\n",
        "t: mov $0x20, %al\noutb %al, $0x20\niret",
    ),
    "level that stays high without an end": (
        _controllers(_LEVELS, mode=3) + _LOOP + "movb $1, %al\nmov $0x3f8, %edx\noutb %al, %dx\n",
        "t: iret",
    ),
    "handler that asks again": (
        _controllers(mode=3) + _LOOP,
        "t: mov $0x3fa, %edx\ninb %dx, %al\nmov $0x3f8, %edx\ninb %dx, %al\noutb %al, %dx\niret",
    ),
}


@pytest.mark.parametrize("rest", ["1: jmp 1b", "1: hlt\njmp 1b"], ids=["busy", "asleep"])
@pytest.mark.parametrize(("devices", "handler"), _STORMS.values(), ids=_STORMS)
def test_storm_leaves_the_host_its_turn(devices: str, handler: str, rest: str) -> None:
    gates = _gate(0x20, "t") + _gate(0x24, "t")
    counted = handler.replace("t: ", f"t: incl {_COUNT:#x}\n", 1)
    body = f"{_TABLES}{gates}{devices}mov $0x3000, %esp\nsti\n{rest}\n{counted}\n"
    with guarded(kernel(body)) as machine:
        end_after(40, machine)
        ending = machine.run(timeout=HOST_TIMEOUT, max_traps=400)
        assert ending.reason in (StopReason.TRAPS, StopReason.INTERRUPTED)
        assert machine.platform.ram.words[_COUNT >> 2] >= 1


def test_handlers_nest_over_the_end_of_the_stack() -> None:
    """From 64 bytes above address 0 down: what is pushed beyond is where no memory is."""
    body = (
        f"{_TABLES}{_gate(0x20, 't')}{_controllers(mode=3)}{_timer(2, 1)}"
        "mov $64, %esp\nsti\n1: jmp 1b\nt: sti\njmp t\n"
    )
    found = end_of(kernel(body), 400, slices=400)
    assert TRIPLE in found or _LOST in found or found in ("TRAPS", _INTERRUPTED)


_HALF_WORDS = {
    "only the first word": ((0x20, 0x11),),
    "the first word twice": ((0x20, 0x11), (0x21, 0x20), (0x20, 0x11)),
    "no end of the words": ((0x20, 0x11), (0x21, 0x20), (0x21, 4)),
    "a single one": ((0x20, 0x13), (0x21, 0xFF), (0x21, 0xFF), (0x21, 0)),
    "special mask": ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x20, 0x68), (0x21, 0)),
    "polls": ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0), (0x20, 0x0C)),
    "rotations": ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0), (0x20, 0xA0), (0x20, 0xC7)),
    "ends of nothing": ((0x20, 0x20), (0x20, 0x67), (0xA0, 0x20), (0xA0, 0x67), (0x21, 0), (0xA1, 0)),
    "no words at all": ((0x21, 0), (0xA1, 0)),
}


@pytest.mark.parametrize("words", _HALF_WORDS.values(), ids=_HALF_WORDS)
def test_controllers_in_odd_states(words: tuple[tuple[int, int], ...]) -> None:
    """Whatever vector comes of it goes to one handler, or there is none."""
    gates = "".join(_gate(vector, "t") for vector in (0, 7, 0x20, 0x24, 0x27, 0xF8, 0xFC))
    reads = "inb $0x20, %al\ninb $0x21, %al\ninb $0xa0, %al\ninb $0xa1, %al\n"
    body = f"{_TABLES}{gates}{_timer(2, 1)}{_out(*words)}{reads}sti\n1: hlt\n{reads}jmp 1b\nt: iret\n"
    found = end_of(kernel(body), 200, slices=40)
    assert found in ("TRAPS", _INTERRUPTED) or TRIPLE in found


@pytest.mark.parametrize("count", [0, 1, 2, 0xFFFF])
@pytest.mark.parametrize("mode", range(8))
def test_timer_in_every_mode_with_every_edge_of_a_count(mode: int, count: int) -> None:
    read = "".join(f"inb ${port:#x}, %al\n" for port in (0x40, 0x41, 0x42, 0x43, 0x61))
    every = "".join(_timer(mode, count, counter) for counter in range(3))
    latched = _out((0x43, 0), (0x43, 0xE2), (0x43, 0xDE), (0x61, 1), (0x61, 0), (0x43, 0x31 | mode << 1))
    body = (
        f"{_TABLES}{_gate(0x20, 't')}{_controllers(mode=3)}"
        f"{every}{read}{latched}{read}{every}{read}sti\nhlt\njmp exit\nt: iret\n"
    )
    assert end_of(kernel(body), 400, slices=40) in (EXITS, _INTERRUPTED)


def test_screen_is_a_stack_and_code() -> None:
    """What it shows then is text all the same."""
    body = (
        "mov $0xb8fa0, %esp\nmov $1f, %esi\nmov $0xb8000, %edi\nmov $2f - 1f, %ecx\nrep movsb\n"
        "pushl $0xffffffff\npushal\nmov $0xb8000, %eax\njmp *%eax\n"
        "1: pushf\nmov $exit, %eax\ncall 3f\n3: jmp *%eax\n2:\n"
    )
    with guarded(kernel(body)) as machine:
        machine.run(max_traps=200)
        assert machine.guest.exit_code == 0
        assert machine.pc.screen.text()


_PAGED = "mov %edi, %cr3\nmov %cr0, %eax\nor $0x80000000, %eax\nmov %eax, %cr0\n"
_DIRECTORIES = {
    "the screen": (0xB8000, True),
    "the last page": (MEMORY - 0x1000, True),
    "where no memory is": (0x40000000, False),
    "the last page there could be": (0xFFFFF000, False),
    "the data of the BIOS": (0, False),
    "the monitor's frames": (MEMORY + 0x1000, False),
}


@pytest.mark.parametrize("shadow", Policy, ids=lambda policy: policy.value)
@pytest.mark.parametrize(("at", "made"), _DIRECTORIES.values(), ids=_DIRECTORIES)
def test_page_tables_where_devices_or_nothing_are(at: int, made: bool, shadow: Policy) -> None:
    """With pages of 4 MiB; a directory that cannot be written is what it happens to be."""
    makes = "movl $0x83, (%edi)\n" if made else ""
    body = (
        f"mov $0x10, %eax\nmov %eax, %cr4\nmov ${at:#x}, %edi\n{makes}{_PAGED}"
        "movl $0x720, 0xb8000 + 8\nmov %cr3, %eax\nmov %eax, %cr3\njmp exit\n"
    )
    found = end_of(kernel(body), 200, shadow)
    assert found == EXITS if made else TRIPLE in found or _LOST in found


def test_table_that_describes_itself() -> None:
    """A GDT three bytes into itself: what is marked accessed or busy there is another entry's."""
    body = (
        "mov $gdt + 3, %esi\nlgdt g\n"
        + "".join(
            f"mov ${selector}, %eax\nmov %ax, %{name}\n"
            for selector in (8, 16, 24, 40)
            for name in ("ds", "gs")
        )
        + "jmp exit\ng: .word 0xffff\n.long gdt + 3\n"
    )
    found = end_of(kernel(body))
    assert TRIPLE in found or found == EXITS


_HALF_DONE = {
    "rep insb": "mov $0x1f0, %edx\nmov $0x1ffff0, %edi\nmov $64, %ecx\nrep insb",
    "rep outsb": "mov $0x80, %edx\nmov $0x1ffff0, %esi\nmov $64, %ecx\nrep outsb",
    "rep movsl": "mov $0x1ffff0, %edi\nmov $0x100000, %esi\nmov $64, %ecx\nrep movsl",
    "pushal": "mov $0x200010, %esp\npushal",
    "lcall": "mov $0x200004, %esp\nlcall $8, $exit",
    "iret": "mov $0x1ffff8, %esp\niret",
    "lret": "mov $0x1ffffc, %esp\nlret",
    "int": "mov $0x200008, %esp\nint $0x20",
    "lds": "lds 0x1ffffc, %eax",
    "sgdt": "sgdt 0x1ffffc",
    "cmpxchg8b": "lock cmpxchg8b 0x1ffffc",
}


@pytest.mark.parametrize("gates", [False, True], ids=["no handlers", "a handler that faults"])
@pytest.mark.parametrize("code", _HALF_DONE.values(), ids=_HALF_DONE)
def test_triple_fault_in_the_middle_of_an_instruction(code: str, gates: bool) -> None:
    """With paging, and nothing mapped after the end of memory."""
    handlers = _TABLES + "".join(_gate(vector, "t") for vector in (8, 11, 12, 13, 14, 0x20)) if gates else ""
    body = (
        f"{handlers}mov $0x110000, %edi\nmovl $0x111003, (%edi)\nmov $0x111000, %esi\nmov $3, %eax\n"
        "1: mov %eax, (%esi)\nadd $4, %esi\nadd $0x1000, %eax\ncmp $0x200003, %eax\njb 1b\n"
        f"{_PAGED}{code}\njmp exit\nt: mov 0x200000, %esp\npush %esp\niret\n"
    )
    assert end_of(kernel(body), 400) not in (EXITS, "STALLED")
