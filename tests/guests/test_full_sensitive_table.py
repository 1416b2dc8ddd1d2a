"""The table of sensitive instructions: QEMU judges what bare hardware shows, and all that the rewriter
does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane.full.state import Sensitive
from tests.guests.sensitive_table import SHOWN
from tests.support.probes import DONE, Probe, in_monitor, in_qemu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.probes import Outcome

pytestmark = pytest.mark.slow

RINGS = (0, 3)
PROBES = [Probe(shown.code.replace("; ", "\n"), ring) for shown in SHOWN for ring in RINGS]
README = Path(__file__).parents[2] / "hypervisor" / "full" / "README.md"
# | `pushfl` | 00000002 | ... : the code, ring 0 and 3 of bare hardware, rings 0 and 3 ignored.
ROW = re.compile(r"\| `([^`]+)` \| (\w{8}) \| (\w{8}) \| (\w{8}) \| (\w{8}) \|")


@pytest.fixture(scope="module")
def hardware(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    return in_qemu(PROBES, tmp_path_factory.mktemp("qemu"))


def shown(outcomes: Sequence[Outcome]) -> list[tuple[int, ...]]:
    """ECX of both rings, of each that came to its end."""
    assert {found.registers["vector"] for found in outcomes} == {DONE}
    each = iter(found.registers["ecx"] for found in outcomes)
    return list(zip(each, each, strict=True))


def test_hardware_shows_what_the_table_says(hardware: list[Outcome]) -> None:
    assert shown(hardware) == [row.bare for row in SHOWN]


def test_ignored_they_show_what_the_table_says() -> None:
    assert shown(in_monitor(PROBES, Sensitive.IGNORE)) == [row.ignored for row in SHOWN]


def test_rewritten_they_do_what_hardware_does(hardware: list[Outcome]) -> None:
    here = in_monitor(PROBES, Sensitive.REWRITE)
    different = [
        (str(probe), found)
        for probe, a, b in zip(PROBES, hardware, here, strict=True)
        if (found := a.differs(b))
    ]
    assert different == []


def test_readme_shows_rows_of_the_table() -> None:
    rows = ROW.findall(README.read_text())
    known = {row.code: (*row.bare, *row.ignored) for row in SHOWN}
    assert len(rows) >= 13
    assert [(code, tuple(int(value, 16) for value in values)) for code, *values in rows] == [
        (code, known.get(code)) for code, *_ in rows
    ]
