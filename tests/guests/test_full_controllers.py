"""The interrupt controller and the timer of a bare PC do what QEMU's do, word by word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.full.state import Sensitive
from tests.guests import controller_probes, timer_probes
from tests.support.probes import Probe, in_monitor, in_qemu

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("subject", [controller_probes.sequences, timer_probes.statuses])
def test_words_do_what_they_do_in_qemu(subject: Callable[[], list[Probe]], tmp_path: Path) -> None:
    probes = subject()
    pairs = zip(probes, in_qemu(probes, tmp_path), in_monitor(probes, Sensitive.REWRITE), strict=True)
    assert [(str(probe), found) for probe, there, here in pairs if (found := there.differs(here))] == []
