"""Debian's GRUB for 32-bit PV, unmodified: a kernel nobody here wrote, and a boot loader for ours."""

from __future__ import annotations

import random
import re
import shlex
import subprocess
import sys
import time
import zlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from paravane import StopReason, chosen, guest_kernels
from paravane.abi.sched import ShutdownReason
from paravane.asm import build
from paravane.testing.expectation import Expected
from paravane.testing.matching import difference
from paravane.time.clock import VIRTUAL_EPOCH
from paravane.time.vcpu_time import LONGEST_STEP
from tests.support.boot import HOST_TIMEOUT, boot, paravane
from tests.support.grub import coreutils, lines, standalone
from tests.support.needs import GRUB, require
from tests.support.unix_archive import archive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from paravane import BootResult
    from paravane.devices.xenbus import DeviceConfig
    from paravane.guest_kernels import GuestKernel

MEMORY = 64 << 20
TYPED = b"echo hi\nxen_cat domid\nhalt\n"
NOISE = random.Random("memdisk").randbytes(70_001)


def run(
    script: str,
    files: dict[str, bytes],
    folder: Path,
    *,
    memory: int = MEMORY,
    stdin: bytes = b"",
    vcpus: int = 1,
    devices: Sequence[DeviceConfig] = (),
) -> BootResult:
    """Boot GRUB with a script that ends the domain itself. The frame audit of its last moment is clean."""
    outcome = boot(
        standalone(script, files, folder), memory=memory, stdin=stdin, vcpus=vcpus, devices=devices
    )
    assert outcome.ending is StopReason.DONE, outcome.console
    assert outcome.audit == ()
    return outcome


def said(script: str, folder: Path, **files: bytes) -> list[str]:
    """What a script printed. GRUB tells of what it wrote to the ring when it echoes, not when it halts."""
    outcome = run(f"echo BEGIN\n{script}\necho END\nhalt\n", files, folder)
    assert outcome.reason is ShutdownReason.poweroff, outcome.crash_report
    console = [line for line in lines(outcome.console) if line]
    return console[console.index("BEGIN") + 1 : console.index("END")]


def test_grub_shows_its_prompt_and_obeys_typed_commands() -> None:
    result = paravane("boot", str(require(GRUB)), "--memory", "64M", stdin=TYPED)
    console = lines(result.stdout.decode())
    assert result.returncode == 0, result.stderr.decode()
    assert any(line.startswith("grub>") for line in console), console
    assert "hi" in console
    assert "1" in console
    assert result.stderr == b""


def test_grub_boots_without_a_broken_rule_in_the_frame_table() -> None:
    result = paravane("boot", str(require(GRUB)), "--memory", "64M", "--audit", stdin=TYPED)
    assert result.returncode == 0, result.stderr.decode()
    assert b"audit: no difference" in result.stderr


def test_grub_asks_for_a_reboot_and_the_command_says_so() -> None:
    result = paravane("boot", str(require(GRUB)), "--memory", "64M", "--on-reboot", "stop", stdin=b"reboot\n")
    assert result.returncode == 4, result.stderr.decode()


def test_grub_reboots_into_a_second_life() -> None:
    """Each life is typed to when its prompt is there: what is typed early belongs to the life before."""
    command = [sys.executable, "-m", "paravane.tools.cli", "boot", str(require(GRUB)), "--memory", "64M"]
    options = ["--on-reboot", "restart", "--timeout", str(HOST_TIMEOUT)]
    with subprocess.Popen(
        [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        for typed in (b"reboot\n", b"halt\n"):
            seen = b""
            while b"grub>" not in seen:
                seen += process.stdout.read(1)
            assert seen.count(b"Welcome to GRUB!") == 1
            process.stdin.write(typed)
            process.stdin.flush()
        process.stdout.read()
        errors = process.stderr.read()
    assert process.returncode == 0, errors.decode()


def test_scripts_loop_branch_and_compare(tmp_path: Path) -> None:
    script = """
for word in one two three; do echo word $word; done
set n=x
while [ $n != xxxx ]; do set n=x$n; done
echo grown $n
until [ $n = end ]; do set n=end; done
if [ -f (memdisk)/noise -a ! -f (memdisk)/nothing ]; then echo there; else echo missing; fi
if [ 7 -lt 12 ]; then echo less; elif true; then echo more; fi
if [ 7 -lt 12 -a abc \\> abd ]; then echo wrong; else echo right; fi
function greet { echo "hello, $1"; }
greet world
if cmp (memdisk)/noise (memdisk)/same; then echo equal; fi
if regexp --set 1:digits '([0-9]+)' abc2026def; then echo digits $digits; fi
"""
    # GRUB 2.06 says what cmp compares; later ones say it with -v alone.
    chat = ("Compare file ", "The files are identical.")
    lines = [line for line in said(script, tmp_path, noise=NOISE, same=NOISE) if not line.startswith(chat)]
    assert lines == [
        "word one",
        "word two",
        "word three",
        "grown xxxx",
        "there",
        "less",
        "right",
        "hello, world",
        "equal",
        "digits 2026",
    ]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 70_001])
def test_hashes_of_a_file_are_those_ofcoreutils(size: int, tmp_path: Path) -> None:
    """Hashing is a long run of ordinary instructions over data that GRUB unpacked itself."""
    data = NOISE[:size]
    names = ("md5", "sha1", "sha256", "sha512")
    script = "\n".join([*(f"{name}sum (memdisk)/data" for name in names), "crc (memdisk)/data"])
    # A long digest is wrapped at the edge of the screen.
    words = "".join(said(script, tmp_path, data=data)).replace(" ", "").split("(memdisk)/data")
    crc = f"{zlib.crc32(data):08x}"
    assert words == [*(coreutils(f"{name}sum", data) for name in names), crc, ""]


def dates(script: str, folder: Path, *clock: str) -> tuple[datetime, datetime]:
    """What `date` says before and after a script, by the clock that these options choose."""
    image = folder / "image"
    image.write_bytes(standalone(f"date\n{script}\ndate\nhalt\n", {}, folder))
    done = paravane("boot", str(image), "--memory", "64M", *clock)
    assert done.returncode == 0, done.stderr.decode()
    found = re.findall(r"^\d+-\d\d-\d\d \d\d:\d\d:\d\d", "\n".join(lines(done.stdout.decode())), re.M)
    before, after = (datetime.fromisoformat(date).replace(tzinfo=UTC) for date in found)
    return before, after


@pytest.mark.parametrize("seconds", [1, 20])
def test_sleep_and_date_are_right_by_virtual_time(seconds: int, tmp_path: Path) -> None:
    """GRUB sleeps second by second, reading the clock in a loop; each is late by a step at most. `date` takes
    the system time of its last tick, so only runs that are alike have the same seconds."""
    before, after = dates(f"sleep {seconds}", tmp_path, "--deterministic")
    start = datetime.fromtimestamp(VIRTUAL_EPOCH, UTC)
    assert start <= before < start + timedelta(minutes=1)
    late = seconds * LONGEST_STEP / 1e9
    # A date is a whole second: between two there may be one more than has passed.
    assert seconds <= (after - before).total_seconds() <= seconds + late + 1


def test_sleep_and_date_are_right_by_the_clock_of_the_host(tmp_path: Path) -> None:
    began, start = time.monotonic(), datetime.now(UTC).replace(microsecond=0)
    before, after = dates("sleep 1", tmp_path, "--clock", "host")
    assert time.monotonic() - began >= 1
    assert start <= before < after <= datetime.now(UTC)


# The loader's own page tables are the one thing a kernel of ours says of its boot that GRUB makes otherwise.
BOOT_STATE = re.compile(r"page tables mapped read-only: (\d+) of \1")
SMALL = 16 << 20
"""Bytes of memory of a domain in which GRUB and a small kernel find their place."""
# GRUB boots kernels with PAE only, and needs the rings that a control domain has none of.
CHAINED = [name for name in guest_kernels.names() if name not in ("twolevel", "unix", "domain0")]


@pytest.mark.parametrize("name", CHAINED)
def test_a_kernel_of_ours_says_the_same_when_grub_boots_it(name: str, tmp_path: Path) -> None:
    """It gets other page tables than a direct boot's, used rings, and memory that GRUB has written to."""
    kernel = guest_kernels.load(name)
    image, defaults = build(kernel.sources), chosen.choose(kernel, (), {}).defaults
    direct = boot(
        image,
        memory=SMALL,
        cmdline=kernel.cmdline,
        stdin=kernel.input,
        vcpus=kernel.vcpus,
        devices=defaults.devices,
    )
    script = f"echo LOADING\nlinux (memdisk)/kernel {kernel.cmdline}\nboot\n"
    chained = run(
        script,
        {"kernel": image},
        tmp_path,
        memory=SMALL,
        stdin=kernel.input,
        vcpus=kernel.vcpus,
        devices=defaults.devices,
    )
    assert chained.reason is direct.reason, chained.crash_report
    _, _, console = chained.console.partition("LOADING\n\r")
    assert difference(Expected(_variable(kernel, direct.console)), console) == []


def _variable(kernel: GuestKernel, console: str) -> str:
    """A direct boot's console as a pattern: what may vary from boot to boot may vary here."""
    wanted = zip(kernel.expected.split("\n"), console.split("\n"), strict=True)
    return "\n".join(
        pattern
        if pattern.startswith("~") and re.fullmatch(pattern[1:], line)
        else f"~{BOOT_STATE.pattern}"
        if BOOT_STATE.fullmatch(line)
        else line
        for pattern, line in wanted
    )


def test_a_kernel_is_loaded_with_its_ramdisk(tmp_path: Path) -> None:
    """`unix` with busybox in a ramdisk, both from the memdisk: the whole of the loader's work."""
    words = shlex.quote("echo hello | md5sum; cat etc/motd; seq 1 100 | tail -n 1")
    script = f"linux (memdisk)/kernel sh -c {words}\ninitrd (memdisk)/ramdisk\nboot\n"
    files = {
        "kernel": build(guest_kernels.load("unix").sources),
        "ramdisk": archive({"etc/motd": b"from the ramdisk\n"}),
    }
    outcome = run(script, files, tmp_path)
    assert outcome.reason is ShutdownReason.poweroff, outcome.crash_report
    assert lines(outcome.console)[-4:] == [
        *("b1946ac92492d2347c6235b4d2611184  -", "from the ramdisk", "100", ""),
    ]


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("linux (memdisk)/noise", "error: version too old for xen boot."),
        ("linux (memdisk)/nothing", "error: file `/nothing' not found."),
        ("boot", "error: you need to load the kernel first."),
    ],
)
def test_what_grub_cannot_load_it_says_and_goes_on(script: str, sentence: str, tmp_path: Path) -> None:
    assert said(script, tmp_path, noise=NOISE) == [sentence]
