"""Every guest kernel boots by its name from the command line, and ends as it promises.

That it prints its console and leaves the books right is a test by itself: for pytest each folder is one.
"""

import pytest

from paravane import guest_kernels
from paravane.testing.expectation import Expected
from paravane.testing.matching import difference
from tests.support.boot import paravane


@pytest.mark.parametrize("name", guest_kernels.names())
def test_guest_kernel_boots_by_name_with_its_exit_status(name: str) -> None:
    kernel = guest_kernels.load(name)
    result = paravane("boot", name, stdin=kernel.input)
    assert result.returncode == kernel.exit_status, result.stderr.decode()
    assert difference(Expected(kernel.expected), result.stdout.decode()) == []
    assert b"Traceback" not in result.stderr
