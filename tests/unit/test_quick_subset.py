"""The quick subset stays quick: none of its tests can start a process or fetch a guest."""

import subprocess

import pytest

from tests.support.needs import GRUB, require


def test_a_quick_test_starts_no_process() -> None:
    with pytest.raises(pytest.fail.Exception, match="mark it `slow`"):
        subprocess.run(["true"], check=True)


def test_a_quick_test_has_no_guest_fetched() -> None:
    with pytest.raises(pytest.fail.Exception, match="mark it `slow`"):
        require(GRUB)
