"""The kernels about memory in both shapes of page tables, and what their refusals teach."""

from __future__ import annotations

from pathlib import Path

import pytest

import guest_kernels
from asm import build
from guest_kernels.expected import differences
from hypervisor import Ending
from hypervisor.abi.sched import ShutdownReason
from tests.guests.harness import Outcome, boot

TWO_LEVEL = {"TWO_LEVEL": 1}
BOTH_FORMS = ("attack", "batch", "paging", "segments", "writable")
MEMORY_KERNELS = (*BOTH_FORMS, "balloon", "twolevel")


def run(name: str, *, two_level: bool = False, seed: int = 0) -> Outcome:
    kernel = guest_kernels.load(name)
    image = build(kernel.sources, defines=TWO_LEVEL if two_level else {})
    return boot(image, memory=kernel.memory, cmdline=kernel.cmdline, seed=seed)


def check(outcome: Outcome, expected: str) -> None:
    assert outcome.ending is Ending.DONE, outcome.console
    assert outcome.reason is ShutdownReason.poweroff, outcome.crash_report
    assert differences(expected, outcome.console) == []
    assert outcome.audit == []


@pytest.mark.parametrize("name", BOTH_FORMS)
def test_kernel_prints_the_same_with_two_levels_of_page_tables(name: str) -> None:
    folder = Path(guest_kernels.__file__).parent / name
    own = folder / "expected-twolevel.txt"
    expected = own if own.exists() else folder / "expected.txt"
    check(run(name, two_level=True), expected.read_text())


@pytest.mark.parametrize("name", MEMORY_KERNELS)
def test_console_does_not_depend_on_which_frames_the_domain_got(name: str) -> None:
    expected = guest_kernels.load(name).expected
    for seed in (1, 2):
        check(run(name, seed=seed), expected)
