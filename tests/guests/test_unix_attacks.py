"""The unix guest kernel against programs, archives and headers that mean harm: only the guilty ends."""

from __future__ import annotations

import random
import re

import pytest

from tests.support.boot import boot, finished
from tests.support.unix_archive import SMALL, archive, entry, kernel, program, run_unix


@pytest.mark.parametrize(
    ("body", "signal", "vector"),
    [
        ("movl $0, 0", 11, 14),
        ("movl 0xC0100000, %eax", 11, 14),
        ("movl $1, _start", 11, 14),
        ("movb $0xC3, -64(%esp)\n leal -64(%esp), %eax\n call *%eax", 11, 14),
        ("hlt", 11, 13),
        ("movl $29, %eax\n int $0x82", 11, 13),
        ("inb $0x60, %al", 11, 13),
        ("movl $0x33, %eax\n movl %eax, %gs", 11, 13),
        ("ud2", 4, 6),
        ("xorl %ecx, %ecx\n divl %ecx", 8, 0),
        ("int3", 5, 3),
    ],
)
def test_fault_in_ring_3_ends_the_process_with_its_signal(body: str, signal: int, vector: int) -> None:
    outcome = finished(
        run_unix("/bin/bad", files={"bin/bad": program(body)}, with_busybox=False, memory=SMALL)
    )
    first, last = outcome.console.splitlines()
    assert first.startswith(f"bad[1]: trap {vector} at ")
    assert last == f"exit status {128 + signal}"


def test_shell_goes_on_after_a_crash_of_its_child() -> None:
    outcome = finished(run_unix("sh", "-c", "/bin/bad; echo $?", files={"bin/bad": program("movl $0, 0")}))
    assert outcome.console.splitlines()[1:] == ["Segmentation fault", "139"]


# EFLAGS.VM is for ring 0 only. With CS, SS and ESP of one's choice it would choose where the next frame goes.
_VIRTUAL_8086 = """
    .rept 4
    pushl $0                        # GS, FS, DS, ES
    .endr
    pushl $0xE033                   # SS
    pushl $0xC0102000               # ESP, in the kernel's memory
    pushl $0x20202                  # EFLAGS with VM
    pushl ${cs}
    pushl $0
    iret
"""


@pytest.mark.parametrize("cs", ["0", "1", "0x1000", "0xE008", "0xE019", "0xFFFF"])
def test_an_iret_to_virtual_8086_mode_ends_the_process_and_writes_nothing(cs: str) -> None:
    bad = program(_VIRTUAL_8086.format(cs=cs))
    outcome = finished(run_unix("sh", "-c", "/bin/bad; echo $?; /bin/bad; echo $?", files={"bin/bad": bad}))
    lines = outcome.console.splitlines()
    assert lines[0].startswith("bad[2]: trap 13 at ")
    assert lines[0].endswith(f"error code {int(cs, 16) & ~3:#010x}")
    assert lines[1:] == [
        "Segmentation fault",
        "139",
        lines[0].replace("[2]", "[3]"),
        "Segmentation fault",
        "139",
    ]


# Every system call that does not end, stop or endlessly fork the caller, with one value in all arguments.
_ALL_CALLS = """
    .equ ARGUMENT, {argument}
    movl $0, number
1:  incl number
    movl number, %eax
    cmpl $460, %eax
    je 3f
    movl $spared, %edi
    movl $(spared_end - spared) / 4, %ecx
    repne scasl
    je 1b
    movl $0, buffer                 # a time that earlier calls have left there would be years to sleep
    movl $0, buffer + 4
    .irp register, ebx, ecx, edx, esi, edi, ebp
    movl $ARGUMENT, %\\register
    .endr
    int $0x80
    jmp 1b
3:  movl $1, %ebx
    print "survived\\n"
    quit $0
    .section .rodata
    .balign 4
spared:
    .long 1, 2, 3, 29, 37, 90, 91, 119, 120, 125, 168, 173, 190, 192, 238, 252, 309, 414
spared_end:
    .bss
    .balign 4
number:
    .skip 4
buffer:
    .skip 8192
"""


@pytest.mark.parametrize("argument", ["0xC0101000", "0xFFFFFFF8", "0xBFFFFFFC", "0x10", "0", "-1", "buffer"])
def test_no_system_call_falls_over_bad_arguments(argument: str) -> None:
    files = {"bin/bad": program(_ALL_CALLS.format(argument=argument))}
    outcome = finished(run_unix("/bin/bad", files=files, with_busybox=False, memory=SMALL))
    lines = outcome.console.splitlines()
    assert lines[-1] == "survived"
    unsupported = [line for line in lines if line.endswith("is not supported")]
    assert len(unsupported) == len(set(unsupported)) > 100


# GS names a segment that is taken away before the process is switched away from and back to.
_LOST_SEGMENT = """
    movl $243, %eax                 # set_thread_area
    movl $segment, %ebx
    int $0x80
    movl segment, %eax
    leal 3(,%eax,8), %eax
    movl %eax, %gs
    movl %gs:0, %esi
    movl $0x28, flags
    movl $243, %eax
    int $0x80
    movl $2, %eax
    int $0x80
    movl $10, %edi
1:  movl $158, %eax
    int $0x80
    decl %edi
    jnz 1b
    cmpl magic, %esi
    jne 2f
    movl %gs, %eax
    testl %eax, %eax
    jnz 2f
    print "still here\\n"
2:  movl $7, %eax
    movl $-1, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    int $0x80
    quit $0
    .data
segment:
    .long -1, magic, 0xfffff
flags:
    .long 0x51
magic:
    .long 0x12345678
"""


def test_selector_without_its_segment_does_not_hurt_the_kernel() -> None:
    files = {"bin/tls": program(_LOST_SEGMENT)}
    outcome = finished(run_unix("/bin/tls", files=files, with_busybox=False, memory=SMALL))
    assert outcome.console == "still here\nstill here\n"


# The system calls that a random caller may use without waiting for somebody, ending itself or its code.
_RANDOM_CALLS = [
    *(5, 6, 11, 12, 19, 33, 41, 42, 45, 54, 55, 57, 60, 63, 66, 76, 85, 91, 116, 122, 125, 132, 133, 140),
    *(163, 172, 174, 175, 176, 180, 183, 192, 195, 196, 197, 220, 240, 243, 265, 268, 295, 300, 305, 307),
    *(330, 331, 340, 355, 383, 91, 125, 192, 192, 45),
]
_ADDRESSES = ("0x3f600000", "0x3f5ff000", "0x200000", "0x50000000", "0xBFFFF000")
_VALUES = (
    *("0", "1", "2", "3", "4", "5", "8", "16", "32", "0x22", "0x32", "4096", "8192", "65536", "-1", "-100"),
    *("0x7fffffff", "0x80000000", "0xC0000000", "0x80000", "buffer", "buffer + 8", "path", "vector"),
    *_ADDRESSES,
)

_RANDOM = """
    movl $table, %esp               # the calls come off the stack, so they cannot spoil their own list
1:  cmpl $table_end, %esp
    jae 2f
    popl %eax
    .irp register, ebx, ecx, edx, esi, edi, ebp
    popl %\\register
    .endr
    movl %esp, saved
    int $0x80
    movl saved, %esp
    jmp 1b
2:  quit $42
    .section .rodata
    .balign 4
table:
{table}
table_end:
    .data
saved:
    .long 0
path:
    .asciz "/dev/zero"
    .balign 4
vector:
    .long buffer, 100, path, 3, 0, 0
    .bss
    .balign 4096
buffer:
    .skip 65536
"""


def _random_program(seed: int) -> str:
    chance = random.Random(seed)
    rows = []
    for _ in range(600):
        call = chance.choice(_RANDOM_CALLS)
        arguments = [chance.choice(_VALUES) for _ in range(6)]
        if call in {91, 125, 192}:
            arguments[0] = chance.choice(_ADDRESSES)
            arguments[1] = chance.choice(("4096", "8192", "65536", "0x100000"))
        rows.append(f"    .long {call}, {', '.join(arguments)}")
    return _RANDOM.replace("{table}", "\n".join(rows))


@pytest.mark.parametrize("seed", range(8))
def test_random_system_calls_hurt_nobody(seed: int) -> None:
    files = {"bin/random": program(_random_program(seed))}
    outcome = finished(run_unix("/bin/random", files=files, with_busybox=False, memory=SMALL))
    assert outcome.console.endswith("exit status 42\n")


@pytest.mark.parametrize("length", [0, 1, 109, 110, 150, 400, 5000])
def test_archive_that_ends_too_early_is_reported(length: int) -> None:
    whole = archive({"bin/true": program("quit $0")}, with_busybox=False)
    outcome = finished(boot(kernel(), memory=SMALL, cmdline="true", ramdisk=whole[:length]))
    assert re.search("damaged at byte|no file system", outcome.console)


@pytest.mark.parametrize(
    "damaged",
    [
        b"070701" + b"F" * 104 + bytes(4000),
        entry("bin/true", 0o100755, b"\x7fELF").replace(b"00000004", b"7FFFFFFF"),
        entry("a", 0o100644, b"x") + entry("a/b/c", 0o100755, b"y") + entry("TRAILER!!!", 0),
        entry("../../bin/true", 0o100755, b"y") + entry("dev", 0o100644, b"x") + entry("TRAILER!!!", 0),
        entry("bin/true", 0o120777, b"/bin/true") + entry("TRAILER!!!", 0),
        b"not an archive at all" * 10,
    ],
)
def test_hostile_archive_only_fails_to_provide_programs(damaged: bytes) -> None:
    outcome = finished(boot(kernel(), memory=SMALL, cmdline="/bin/true", ramdisk=damaged))
    assert outcome.console.endswith("exit status 127\n")


def _patched(image: bytes, offset: int, value: int, size: int = 4) -> bytes:
    return image[:offset] + value.to_bytes(size, "little") + image[offset + size :]


@pytest.mark.parametrize(
    ("offset", "value", "size"),
    [
        (4, 2, 1),  # 64-bit
        (18, 62, 2),  # for another processor
        (28, 0xFFFFFFF0, 4),  # program headers outside the file
        (44, 200, 2),  # too many of them
        (52 + 4, 0x7FFFFFFF, 4),  # a segment outside the file
        (52 + 8, 0xC0100000, 4),  # a segment in the kernel
        (52 + 8, 0x00000000, 4),  # a segment at the null pointer
        (52 + 20, 0xFFFFFFFF, 4),  # a segment around the address space
        (52 + 0, 3, 4),  # a program that wants an interpreter
    ],
)
def test_program_with_bad_headers_is_refused(offset: int, value: int, size: int) -> None:
    bad = _patched(program("quit $0"), offset, value, size)
    outcome = finished(run_unix("/bin/bad", files={"bin/bad": bad}, with_busybox=False, memory=SMALL))
    assert outcome.console == "unix: cannot run /bin/bad: error 8\nexit status 127\n"
