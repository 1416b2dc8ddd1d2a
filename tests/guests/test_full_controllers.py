"""The interrupt controller of a bare PC does what QEMU's does, word by word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.full.state import Sensitive
from tests.guests import controller_probes
from tests.support.probes import in_monitor, in_qemu

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_words_by_chance_do_what_they_do_in_qemu(tmp_path: Path) -> None:
    probes = controller_probes.sequences()
    pairs = zip(probes, in_qemu(probes, tmp_path), in_monitor(probes, Sensitive.REWRITE), strict=True)
    assert [(str(probe), found) for probe, there, here in pairs if (found := there.differs(here))] == []
