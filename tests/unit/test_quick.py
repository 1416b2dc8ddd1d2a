"""A kernel booted in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import ImageError, ShutdownReason, StopReason, boot, load_image
from paravane.asm.diagnostics import AssemblyError
from paravane.guest_kernels import UnknownKernel
from paravane.tools.status import Status
from tests.support.boot import HOST_TIMEOUT, kernel_image

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

HEAD = '.include "runtime.inc"\nXEN_NOTES\n.text\nmain:\n'
SAYS = HEAD + 'PRINT "said"\nret\n'


def test_a_source_an_image_and_a_loaded_one_are_booted_alike(tmp_path: Path) -> None:
    source, image = tmp_path / "say.S", tmp_path / "say.elf"
    source.write_text(SAYS)
    image.write_bytes(kernel_image(SAYS))
    for kernel in (source, str(source), image, load_image(image.read_bytes())):
        result = boot(kernel, timeout=HOST_TIMEOUT)
        assert result.console == "said"
        assert (result.status, result.ending, result.reason, result.crash_report) == (
            Status.OK,
            StopReason.DONE,
            ShutdownReason.poweroff,
            "",
        )


def test_a_kernel_that_comes_along_gets_what_it_asks_for() -> None:
    result = boot("crash", timeout=HOST_TIMEOUT)
    assert result.status == Status.CRASHED
    assert result.reason is ShutdownReason.crash
    assert "domain 1 (crash) crashed" in result.crash_report


def test_a_kernel_that_waits_for_ever_has_a_status(tmp_path: Path) -> None:
    source = tmp_path / "wait.S"
    source.write_text(HEAD + "movl $29, %eax\nmovl $1, %ebx\nint $0x82\nret\n")
    result = boot(source, timeout=HOST_TIMEOUT)
    assert (result.status, result.ending, result.reason) == (Status.STALLED, StopReason.STALLED, None)


def test_a_time_limit_has_a_status(tmp_path: Path) -> None:
    source = tmp_path / "spin.S"
    source.write_text(HEAD + "jmp .\n")
    assert boot(source, timeout=0).status == Status.TIMEOUT


def test_options_reach_the_kernel(tmp_path: Path) -> None:
    source = tmp_path / "options.S"
    source.write_text(
        HEAD + ".if ANSWER != 42\n.error\n.endif\n"
        "movl start_info, %ebx\nleal START_INFO_cmd_line(%ebx), %eax\ncall print_string\nret\n"
    )
    result = boot(source, cmdline="to you", defines={"ANSWER": 42}, memory=8 << 20, timeout=HOST_TIMEOUT)
    assert result.console == "to you"


def test_what_is_no_kernel_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnknownKernel, match="no guest kernel is called 'nobody'"):
        boot("nobody")
    for missing in ("nobody.elf", tmp_path / "nobody"):
        with pytest.raises(FileNotFoundError):
            boot(missing)
    (tmp_path / "text").write_text("text")
    with pytest.raises(ImageError):
        boot(tmp_path / "text")
    (tmp_path / "wrong.S").write_text("movl %eax\n")
    with pytest.raises(AssemblyError):
        boot(tmp_path / "wrong.S")
    with pytest.raises(ValueError, match="stdin has 100000 bytes"):
        boot("hello", stdin=bytes(100000))
