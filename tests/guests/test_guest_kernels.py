"""Every guest kernel prints the console it promises, ends as it promises, and leaves the books right."""

import pytest

from paravane import StopReason, guest_kernels
from paravane.asm import build
from paravane.guest_kernels.expected import differences
from tests.support.boot import boot, paravane


@pytest.mark.parametrize("name", guest_kernels.names())
def test_guest_kernel_prints_its_console_and_leaves_the_books_right(name: str) -> None:
    kernel = guest_kernels.load(name)
    outcome = boot(build(kernel.sources), memory=kernel.memory, cmdline=kernel.cmdline)
    assert outcome.ending is StopReason.DONE, outcome.console
    assert differences(kernel.expected, outcome.console) == []
    assert outcome.audit == []


@pytest.mark.parametrize("name", guest_kernels.names())
def test_guest_kernel_boots_by_name_with_its_exit_status(name: str) -> None:
    kernel = guest_kernels.load(name)
    result = paravane("boot", name)
    assert result.returncode == kernel.exit_status, result.stderr.decode()
    assert differences(kernel.expected, result.stdout.decode()) == []
    assert b"Traceback" not in result.stderr
