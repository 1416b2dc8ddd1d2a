"""Random streams of instructions do what they do in QEMU, and each that once did not still does.

More of them by hand: tests/guests/random_streams.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from tests.guests.random_streams import listing
from tests.support.probes import DONE, Probe, in_monitor, in_qemu, stream_kernel
from tests.support.streams import streams

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.probes import Outcome
    from tests.support.streams import Written

pytestmark = pytest.mark.slow

SEEDS = ("apple", "plum")
COUNT = 100

FOUND = (
    # Reserved bits of EFLAGS stay clear, whatever is popped.
    *(Probe("pushl $0xffc08028\npopf\npushf\npopl %ecx", ring) for ring in (0, 3)),
    Probe("pushl $0xffc08028\npush %cs\npush $%%there\niret\n%%there: pushf\npopl %ecx"),
    # The limit is stored before the base, whose page may be absent.
    *(Probe(f"{name} ABSENT - 2", ring) for name in ("sidt", "sgdt") for ring in (0, 3)),
    *(Probe(f"{name} WINDOW + 0xffd", ring) for name in ("sidt", "sgdt") for ring in (0, 3)),
)


@pytest.fixture(scope="module", params=SEEDS)
def written(request: pytest.FixtureRequest) -> list[Written]:
    return streams(request.param, COUNT)


@pytest.fixture(scope="module")
def hardware(written: list[Written], tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    return in_qemu(stream_kernel([each.stream for each in written]), tmp_path_factory.mktemp("qemu"))


def test_they_come_to_something(hardware: list[Outcome]) -> None:
    """As many as go all the way, and as many faults, that a comparison means something."""
    ends = [found.registers["vector"] for found in hardware]
    assert ends.count(DONE) > COUNT // 4
    assert len({*ends}) > 4
    assert sum(len(found.events) for found in hardware) > COUNT // 2


@pytest.mark.parametrize("shadow", Policy, ids=lambda value: value.value)
def test_random_streams_do_what_hardware_does(
    written: list[Written], hardware: list[Outcome], shadow: Policy
) -> None:
    here = in_monitor(stream_kernel([each.stream for each in written]), Sensitive.REWRITE, shadow)
    assert different(written, hardware, here) == []


def test_in_state_mode_what_it_promises_is_as_on_hardware(tmp_path: Path) -> None:
    written = streams("pear", COUNT, promised_by_state=True)
    kernel = stream_kernel([each.stream for each in written])
    assert different(written, in_qemu(kernel, tmp_path), in_monitor(kernel, Sensitive.STATE)) == []


def different(written: list[Written], there: list[Outcome], here: list[Outcome]) -> list[tuple[str, object]]:
    return [
        (listing(each.stream), found)
        for each, one, other in zip(written, there, here, strict=True)
        if (found := one.differs(other))
    ]


@pytest.mark.parametrize("shadow", Policy, ids=lambda value: value.value)
def test_what_random_streams_found_is_mended(shadow: Policy, tmp_path: Path) -> None:
    there, here = in_qemu(FOUND, tmp_path), in_monitor(FOUND, Sensitive.REWRITE, shadow)
    assert [
        (str(probe), found)
        for probe, one, other in zip(FOUND, there, here, strict=True)
        if (found := one.differs(other))
    ] == []
