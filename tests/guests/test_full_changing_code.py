"""Code that changes, with instructions in it that are made to trap: it does
what QEMU does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from tests.guests import changing_probes
from tests.support.bare_pc import lines_of
from tests.support.probes import Probe, in_monitor, in_qemu

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

SUBJECTS = (changing_probes.changing_code, changing_probes.changing_pages, changing_probes.code_of_16_bits)


@pytest.mark.parametrize("shadow", Policy, ids=lambda policy: policy.value)
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.__name__)
def test_rewritten_code_does_what_hardware_does(
    subject: Callable[[], list[Probe]], shadow: Policy, tmp_path: Path
) -> None:
    probes = subject()
    pairs = zip(probes, in_qemu(probes, tmp_path), in_monitor(probes, Sensitive.REWRITE, shadow), strict=True)
    assert [(str(probe), found) for probe, there, here in pairs if (found := there.differs(here))] == []


@pytest.mark.parametrize("store", ["movw $0x9090, here", "adcw $0, here", "movb $0x90, here + 1"])
@pytest.mark.parametrize("before", ["cmp $0x7f, %al", "cmp $1, %al; cmp $0x7f, %al", "stc; adc $0x7f, %al"])
def test_a_store_into_its_own_block_leaves_the_flags_that_there_were(before: str, store: str) -> None:
    """In counted slices too, where each instruction has a hook."""
    code = (
        f"mov $0x90, %eax; jmp 1f; 1: {before}; {store}; here: nop; nop; pushf; pop %eax; call hex; jmp exit"
    )
    body = code.replace("; ", "\n") + "\n"
    timed, counted = (
        lines_of(body, Sensitive.REWRITE, slice_instructions=number) for number in (0, 1_000_000)
    )
    assert counted == timed
