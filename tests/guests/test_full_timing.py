"""When interrupts and single steps come on a bare PC, and what prefixes do to instructions that are made to
trap: as in QEMU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.full.state import Sensitive
from tests.guests import timing_probes
from tests.support.probes import Probe, in_monitor, in_qemu

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

_LOCKED = (".byte 0xf0, 0x9c", ".byte 0xf0, 0x8c, 0xc9", ".byte 0xf0\nsmsw %ax")
_UD = 6
SUBJECTS = (timing_probes.interrupts, timing_probes.single_steps, timing_probes.prefixes)


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.__name__)
def test_it_is_when_and_as_on_hardware(subject: Callable[[], list[Probe]], tmp_path: Path) -> None:
    probes = subject()
    pairs = zip(probes, in_qemu(probes, tmp_path), in_monitor(probes, Sensitive.REWRITE), strict=True)
    assert [(str(probe), found) for probe, there, here in pairs if (found := there.differs(here))] == []


@pytest.mark.parametrize("sensitive", Sensitive)
@pytest.mark.parametrize("ring", [0, 3])
def test_a_locked_one_is_an_invalid_opcode(ring: int, sensitive: Sensitive) -> None:
    """As the manual says of LOCK (SDM volume 2), and QEMU does not."""
    found = in_monitor([Probe(code, ring) for code in _LOCKED], sensitive)
    assert [outcome.registers["vector"] for outcome in found] == [_UD] * len(_LOCKED)


@pytest.mark.parametrize("sensitive", [Sensitive.REWRITE, Sensitive.STATE], ids=lambda mode: mode.value)
def test_a_single_step_comes_after_sti(sensitive: Sensitive) -> None:
    """Of which QEMU takes it for one that loads SS."""
    code = "pushl $0x102\npopf\nsti\nnop\npushl $2\npopf\nnop"
    (found,) = in_monitor([Probe(code, resumed=(1,))], sensitive)
    assert [event.eip for event in found.events] == [7, 8, 10, 11]
