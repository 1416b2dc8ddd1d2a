"""Hypercalls that are not for guests: each errno is the one that Xen 4.17 gives to a 32-bit PV domain.

The order of the checks shows: an argument that cannot be read, another version of the interface, a domain
that does not exist, and only then the privilege.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from tests.support.answering import answering, hypercall
from tests.support.boot import paravane

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.testing.plugin import Boot

MEMORY = 4 << 20

HOLE = 0xFF000000
EPERM, ESRCH = 1, 3
SELF = int(DomId.SELF)


class Answers(Protocol):
    """What a kernel is answered that makes calls: number, EBX, ECX, ...; strings are symbols of `data`."""

    def __call__(self, *calls: tuple[int, ...], data: str = "") -> list[int]: ...


@pytest.fixture
def answers(boot: Boot) -> Answers:
    def answered(*calls: tuple[int, ...], data: str = "") -> list[int]:
        return [int(line) for line in boot(answering(made(calls), data), memory=MEMORY).lines]

    return answered


def made(calls: tuple[tuple[int, ...], ...]) -> str:
    """The code of these calls, each of which prints what comes back."""
    return "".join(hypercall(number, *arguments) for number, *arguments in calls)


def domctl(label: str, cmd: int, domain: int, version: int = 0x15) -> str:
    return f"{label}: .long {cmd}, {version:#x}\n    .short {domain}\n    .skip 134\n"


def test_numbers_that_a_32_bit_guest_does_not_have(answers: Answers) -> None:
    absent = (11, 25, 27, 38, 39, 43, 47, 50, 55, 56, 1000, 0xFFFFFFFF)
    assert answers(*((number, 0, 0) for number in absent)) == [-Errno.ENOSYS] * len(absent)


def test_domctl_checks_the_argument_the_version_the_domain_and_the_privilege(answers: Answers) -> None:
    calls = {
        "old": -Errno.EACCES,
        "nobody": -Errno.ESRCH,
        "myself": -Errno.ESRCH,
        "pause": -EPERM,
        "control": -EPERM,
        "create": -EPERM,
        "info": -EPERM,
        "next": -EPERM,
        "beyond": -Errno.ESRCH,
        "reserved": -Errno.EINVAL,
        "assign": -Errno.ESRCH,
        "quarantine": -EPERM,
        "test": -EPERM,
    }
    data = (
        domctl("old", 3, 1, 0x14)
        + domctl("nobody", 3, 7)
        + domctl("myself", 3, SELF)
        + domctl("pause", 3, 1)
        + domctl("control", 3, 0)
        + domctl("create", 1, 7)
        + domctl("info", 5, 1)
        + domctl("next", 5, 0)
        + domctl("beyond", 5, 2)
        + domctl("reserved", 5, SELF)
        + domctl("assign", 37, int(DomId.INVALID))
        + domctl("quarantine", 37, int(DomId.IO))
        + domctl("test", 45, int(DomId.INVALID))
    )
    asked = [(Hypercall.domctl, label) for label in calls]
    found = answers((Hypercall.domctl, HOLE), *asked, data=data)  # type: ignore[arg-type]  # symbols
    assert found == [-Errno.EFAULT, *calls.values()]


def test_the_rest_of_a_paging_operation_is_no_domctl(answers: Answers) -> None:
    data = domctl("pause", 3, 1) + domctl("shadow", 10, 1) + domctl("nobody", 10, 9)
    calls = [(Hypercall.arch_1, where) for where in (HOLE, "pause", "shadow", "nobody")]
    assert answers(*calls, data=data) == [  # type: ignore[arg-type]  # symbols
        -Errno.EFAULT,
        -Errno.EOPNOTSUPP,
        -EPERM,
        -Errno.ESRCH,
    ]


def test_sysctl_and_platform_op_check_the_argument_and_the_version_first(answers: Answers) -> None:
    data = (
        "old: .long 1, 1\n .skip 128\nsys: .long 1, 0x15\n .skip 128\nplat: .long 1, 0x03000001\n .skip 128\n"
    )
    calls = [
        (Hypercall.sysctl, HOLE),
        (Hypercall.sysctl, "old"),
        (Hypercall.sysctl, "sys"),
        (Hypercall.platform_op, HOLE),
        (Hypercall.platform_op, "old"),
        (Hypercall.platform_op, "plat"),
    ]
    expected = [-Errno.EFAULT, -Errno.EACCES, -EPERM] * 2
    assert answers(*calls, data=data) == expected  # type: ignore[arg-type]  # symbols


def test_some_look_at_the_privilege_before_the_argument(answers: Answers) -> None:
    numbers = (Hypercall.mca, Hypercall.kexec_op, Hypercall.hypfs_op)
    assert answers(*((number, HOLE, HOLE, HOLE) for number in numbers)) == [-EPERM] * 3


def test_profiling_is_switched_off_or_for_others(answers: Answers) -> None:
    assert answers(
        (Hypercall.xenpmu_op, 4, HOLE),
        (Hypercall.xenoprof_op, 0xFFFFFFFF, 0),
        (Hypercall.xenoprof_op, 18, 0),
        (Hypercall.xenoprof_op, 3, HOLE),
    ) == [-Errno.EOPNOTSUPP, -Errno.EINVAL, -Errno.EINVAL, -EPERM]


def test_device_models_serve_others_and_there_is_nobody_to_serve(answers: Answers) -> None:
    assert answers(
        (Hypercall.dm_op, 0, 0, 0),
        (Hypercall.dm_op, 0, 3, 0),
        (Hypercall.dm_op, 0, 1, HOLE),
        (Hypercall.dm_op, SELF, 0, "buffers"),  # type: ignore[arg-type]  # a symbol
        (Hypercall.dm_op, 1, 2, "buffers"),  # type: ignore[arg-type]  # a symbol
        (Hypercall.dm_op, 9, 2, "buffers"),  # type: ignore[arg-type]  # a symbol
        (Hypercall.dm_op, 0, 2, "buffers"),  # type: ignore[arg-type]  # a symbol
        data="buffers: .skip 16",
    ) == [-Errno.EINVAL, -Errno.E2BIG, -Errno.EFAULT, -Errno.ESRCH, -EPERM, -Errno.ESRCH, -Errno.EINVAL]


def test_hvm_op_gives_a_paravirtual_domain_the_time_and_little_else(answers: Answers) -> None:
    data = (
        f"own: .short {SELF}, 0\n .long 1, 0, 0\n"
        "nobody: .short 9, 0\n .long 1, 0, 0\n"
        f"beyond: .short {SELF}, 0\n .long 39, 0, 0\n"
        "other: .short 0, 0\n .long 1, 0, 0\n"
    )
    calls: list[tuple[object, ...]] = [
        (Hypercall.hvm_op, 1, HOLE),
        (Hypercall.hvm_op, 1, "beyond"),
        (Hypercall.hvm_op, 1, "nobody"),
        (Hypercall.hvm_op, 1, "own"),
        (Hypercall.hvm_op, 0, "other"),
        (Hypercall.hvm_op, 15, "nobody"),
        (Hypercall.hvm_op, 15, "other"),
        (Hypercall.hvm_op, 15, "own"),
        (Hypercall.hvm_op, 9, "other"),
        (Hypercall.hvm_op, 9, "own"),
        (Hypercall.hvm_op, 10, HOLE),
        (Hypercall.hvm_op, 10, "own"),
        (Hypercall.hvm_op, 5, 0),
        (Hypercall.hvm_op, 23, HOLE),
        (Hypercall.hvm_op, 24, 1),
        (Hypercall.hvm_op, 24, 0),
        (Hypercall.hvm_op, 99, 0),
    ]
    assert answers(*calls, data=data) == [  # type: ignore[arg-type]  # symbols
        -Errno.EFAULT,
        -Errno.EINVAL,
        -Errno.ESRCH,
        -Errno.EINVAL,
        -Errno.EINVAL,
        -Errno.ESRCH,
        -EPERM,
        -Errno.EINVAL,
        -Errno.EOPNOTSUPP,
        -Errno.EINVAL,
        -Errno.EFAULT,
        0,
        -Errno.EINVAL,
        -Errno.EINVAL,
        -Errno.EINVAL,
        0,
        -Errno.ENOSYS,
    ]


EOI_MAP = """
    .include "runtime.inc"
    .include "paging.inc"
    XEN_NOTES
main:
    movl $page, %eax
    call va_to_mfn
    movl %eax, eoi
    movl %eax, pin + MMUEXT_OP_arg1
    movl $PHYSDEVOP_pirq_eoi_gmfn_v2, %ebx
    movl $eoi, %ecx
    HYPERCALL physdev_op
    call show
    movl $page, %ebx                        # not mapped at all: the bitmap is what holds it
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $UVMF_INVLPG, %esi
    HYPERCALL update_va_mapping
    call show
    movl $MMUEXT_PIN_L1_TABLE, pin
    movl $pin, %ebx
    movl $1, %ecx
    xorl %edx, %edx
    movl $DOMID_SELF, %esi
    HYPERCALL mmuext_op
    call show
    ret
show:
    negl %eax
    call print_dec
    PRINT "\\n"
    ret
    .data
    .balign 4
eoi: .long 0
pin: .skip MMUEXT_OP_sizeof
    .balign PAGE_SIZE
page: .skip PAGE_SIZE
"""


def test_the_eoi_bitmap_stays_a_page_of_data(boot: Boot) -> None:
    outcome = boot(EOI_MAP, memory=MEMORY)
    registered, unmapped, pinned = map(int, outcome.console.splitlines())
    assert (registered, unmapped) == (0, 0)
    assert pinned in (Errno.EBUSY, Errno.EINVAL)
    assert outcome.audit == ()


EARLY = """
    .include "runtime.inc"
    XEN_NOTES
main:
    movl $CONSOLEIO_write, %ebx
    movl $text_end - text, %ecx
    movl $text, %edx
    HYPERCALL console_io
    pushl %eax
    PRINT "console_io "
    popl %eax
    negl %eax
    call print_dec
    movl $99, %ebx
    HYPERCALL console_io
    pushl %eax
    PRINT " unknown "
    popl %eax
    negl %eax
    call print_dec
    PRINT "\\n"
    ret
    .data
text: .ascii "one\\n\\033[2Jtwo\\ttabs\\r\\n"
    .fill 150, 1, 'a'
    .fill 150, 1, 'b'
text_end:
"""


def test_a_debug_build_prints_what_is_printable_line_by_line(
    boot: Boot, caplog: pytest.LogCaptureFixture
) -> None:
    assert boot(EARLY, memory=MEMORY).console == "console_io 0 unknown 1\n"
    printed = [line for line in caplog.messages if line.startswith("(d1) ")]
    long = "a" * 150 + "b" * 150
    assert printed == ["(d1) one", "(d1) [2Jtwo\ttabs", f"(d1) {long[:254]}", f"(d1) {long[254:]}"]


def test_a_release_build_refuses_its_console(tmp_path: Path) -> None:
    source = tmp_path / "early.S"
    source.write_text(EARLY)
    release = paravane("boot", str(source), "--xen-build", "release")
    assert (release.returncode, release.stdout) == (0, b"console_io 1 unknown 1\n")
    assert release.stderr == b""
    debug = paravane("boot", str(source))
    assert debug.stdout == b"console_io 0 unknown 1\n"
    assert debug.stderr.startswith(b"(d1) one\n(d1) [2Jtwo\ttabs\n")
