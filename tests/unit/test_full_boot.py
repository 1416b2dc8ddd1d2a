"""`paravane boot --personality full`: its console, its statuses, and what it refuses."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from tests.support import forked
from tests.support.boot import HOST_TIMEOUT, paravane

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

KERNEL = """
        .globl _start
        .align 4
        .long 0x1BADB002, 0, -0x1BADB002
_start: mov $text, %esi
        mov $0x3f8, %edx
1:      lodsb
        test %al, %al
        jz 2f
        outb %al, %dx
        jmp 1b
2:      END
text:   .asciz "a bare PC\\n"
"""


@pytest.fixture
def image(tmp_path: Path) -> Callable[[str], str]:
    """Makes a kernel that says something and does `end` then: where its file is."""

    def image(end: str) -> str:
        path = tmp_path / "bare.elf"
        path.write_bytes(write_elf(assemble_text(KERNEL.replace("END", end), base=0x100000)))
        return str(path)

    return image


def _boot(image: str, *options: str) -> tuple[int, str, str]:
    """Exit status, console and what is said beside it."""
    done = paravane("boot", "--personality", "full", image, *options)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def _exit(code: int) -> str:
    return f"mov ${code}, %al\noutb %al, $0xf4\nhlt"


def test_console_is_the_serial_port_and_the_end_the_debug_exit(image: Callable[[str], str]) -> None:
    assert _boot(image(_exit(0))) == (0, "a bare PC\n", "")


def test_other_codes_are_failures(image: Callable[[str], str]) -> None:
    status, _, told = _boot(image(_exit(7)))
    assert (status, told) == (3, "paravane: bare ended with 7 at the debug exit\n")


def test_kernel_that_cannot_go_on_is_said_so(image: Callable[[str], str]) -> None:
    status, console, told = _boot(image("ud2"))
    assert (status, console) == (3, "a bare PC\n")
    assert "paravane: bare cannot go on: it has no handler" in told


def test_sensitive_instructions_show_the_ring_where_they_are_ignored(image: Callable[[str], str]) -> None:
    """The debug exit is given CS less 8."""
    kernel = image("mov %cs, %eax\nsub $8, %eax\noutb %al, $0xf4\nhlt")
    assert [_boot(kernel, "--sensitive", mode)[0] for mode in ("rewrite", "state", "ignore")] == [0, 0, 3]


@pytest.mark.parametrize(("option", "value"), [("--sensitive", "state"), ("--screen", "-")])
def test_only_a_bare_pc_has(option: str, value: str) -> None:
    done = paravane("boot", "hello", option, value)
    assert done.returncode == 2
    assert done.stderr.decode() == f"paravane: {option} is for --personality full\n"


def _shown(text: str) -> str:
    """Stores that put `text` into the corner of the screen, white on black."""
    return "".join(
        f"movw ${0x0700 | ord(character)}, {0xB8000 + 2 * at}\n" for at, character in enumerate(text)
    )


def test_screen_is_written_where_it_is_asked_for(image: Callable[[str], str], tmp_path: Path) -> None:
    kernel = image(_shown("on the screen") + _exit(0))
    assert _boot(kernel, "--screen", "-") == (0, "a bare PC\n", "on the screen\n")
    assert _boot(kernel, "--screen", str(tmp_path / "screen")) == (0, "a bare PC\n", "")
    assert (tmp_path / "screen").read_text() == "on the screen\n"
    status, console, told = _boot(kernel, "--screen", kernel)
    assert (status, console, told.count("\n")) == (2, "", 1)
    assert "would overwrite" in told


def test_screen_cannot_be_a_folder(image: Callable[[str], str], tmp_path: Path) -> None:
    told = _boot(image(_exit(0)), "--screen", str(tmp_path))
    assert told == (2, "", f"paravane: {tmp_path} is a folder\n")


def test_reader_who_has_seen_enough_is_told_in_a_line(image: Callable[[str], str]) -> None:
    with forked.start(("boot", "--personality", "full", image("jmp _start"))) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(100)
        process.stdout.close()
        told = process.stderr.read()
        assert process.wait(HOST_TIMEOUT) == 130
    assert told == b"paravane: bare did not end: nobody reads its console any more\n"


def test_ramdisk_is_its_module(image: Callable[[str], str], tmp_path: Path) -> None:
    ramdisk = tmp_path / "ramdisk"
    ramdisk.write_bytes(b"of the ramdisk\n")
    say = "mov 24(%ebx), %ebx\nmov (%ebx), %esi\nmov 4(%ebx), %ecx\nsub %esi, %ecx\nrep outsb\n"
    kernel = image(say + _exit(0))
    assert _boot(kernel, "--ramdisk", str(ramdisk)) == (0, "a bare PC\nof the ramdisk\n", "")
    told = _boot(kernel, "--ramdisk", str(ramdisk), "--screen", str(ramdisk))
    assert (told[0], told[2].count("\n"), ramdisk.read_bytes()) == (2, 1, b"of the ramdisk\n")
    ramdisk.write_bytes(bytes(2 << 20))
    status, _, sentence = _boot(kernel, "--ramdisk", str(ramdisk), "--memory", "2M")
    assert (status, sentence.count("\n")) == (5, 1)
    assert "the ramdisk of 2097152 bytes does not fit after the kernel" in sentence


def test_signal_that_ends_it_is_named(image: Callable[[str], str]) -> None:
    with forked.start(("boot", "--personality", "full", image("3: jmp 3b"))) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10) == b"a bare PC\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(HOST_TIMEOUT) == 130
        assert process.stderr.read() == b"paravane: bare did not end: SIGINT came\n"


def test_console_that_is_full_is_an_error(image: Callable[[str], str]) -> None:
    with (
        Path("/dev/full").open("wb") as full,
        forked.start(
            ("boot", "--personality", "full", image("jmp _start")),
            stdout=full.fileno(),
        ) as process,
    ):
        assert process.stderr is not None
        told = process.stderr.read()
        assert process.wait(HOST_TIMEOUT) == 1
    assert b"console output was lost: No space left on device" in told


def test_reset_ends_the_machine_with_a_status_of_its_own(image: Callable[[str], str]) -> None:
    status, _, told = _boot(image("mov $0xfe, %al\noutb %al, $0x64\nhlt"))
    assert (status, told) == (4, "paravane: bare reset its machine by the keyboard controller\n")


def test_machine_that_is_reset_starts_again_if_it_is_to(image: Callable[[str], str]) -> None:
    """With --max-traps both lives are cut short together."""
    reset = image("mov $0xfe, %al\noutb %al, $0x64\nhlt")
    status, console, _ = _boot(reset, "--on-reboot", "restart", "--max-traps", "25")
    assert status == 124
    assert console.startswith("a bare PC\na bare PC\n")


def test_shadow_of_either_policy_is_audited(image: Callable[[str], str]) -> None:
    for policy in ("vtlb", "wp"):
        told = _boot(image(_exit(0)), "--shadow", policy, "--audit")
        assert told == (0, "a bare PC\n", "audit: no difference\n")


def test_only_a_bare_pc_has_a_shadow() -> None:
    done = paravane("boot", "hello", "--shadow", "wp")
    assert (done.returncode, done.stderr) == (2, b"paravane: --shadow is for --personality full\n")


def test_kernel_reads_what_is_typed(image: Callable[[str], str]) -> None:
    """It echoes a byte, by polling."""
    poll = "mov $0x3fd, %edx\n3: inb %dx, %al\ntest $1, %al\njz 3b\n"
    echo = f"{poll}mov $0x3f8, %edx\ninb %dx, %al\noutb %al, %dx\n"
    done = paravane("boot", "--personality", "full", image(echo + _exit(0)), stdin=b"x")
    assert (done.returncode, done.stdout) == (0, b"a bare PC\nx")


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        (("--vcpus", "2"), 2, "--vcpus is not for --personality full"),
        (("--sched", "rr"), 2, "--sched is not for --personality full"),
        (("--xen-build", "release"), 2, "--xen-build is not for --personality full"),
        (("--break", "_start"), 2, "--break is not for --personality full"),
        (("--memory", "4G"), 2, "a bare PC has 1 MiB to 3 GiB"),
        (("--memory", "1M"), 5, "the machine has 1 MiB of memory"),
        (("--max-traps", "3"), 124, "bare did not end"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(
    image: Callable[[str], str], options: tuple[str, ...], status: int, sentence: str
) -> None:
    found, _, told = _boot(image(_exit(0)), *options)
    assert (found, told.count("\n")) == (status, 1)
    assert sentence in told


def test_xen_kernel_is_no_multiboot_kernel() -> None:
    status, _, told = _boot("hello")
    assert (status, told.count("\n")) == (5, 1)
    assert "there is no multiboot header" in told
