"""Kernels that use their devices as wrongly as they can (tests/guests/hostile), beside others that do not."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from paravane import DomainConfig, Machine, ShutdownReason, StopReason, guest_kernels, load_image
from paravane.asm import build
from paravane.testing.expectation import Expected
from paravane.testing.matching import difference
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane import Domain, Image
    from paravane.devices.xenbus import DeviceConfig

FOLDER = Path(__file__).parents[1] / "guests" / "hostile"
MEMORY = 4 << 20
SLICE = 50_000
"""Instructions of a time slice, where a run is to be a function of its seed."""

_COUNTS = re.compile(r"(\d+) requests, (\d+) answered, (\d+) times closed\n")


class Counts(NamedTuple):
    """What a hostile kernel says of itself."""

    requests: int
    answered: int
    closed: int


@cache
def kernel(name: str, *folders: str) -> Image:
    """A hostile kernel, which includes files of these guest kernels' folders."""
    return load_image(build([FOLDER / f"{name}.S"], include=[guest_kernels.folder_of(f) for f in folders]))


def counts(domain: Domain) -> Counts:
    """Of a domain that has ended. Raises AssertionError with its story unless it ended by itself."""
    console = domain.console_output().decode("latin-1")
    assert domain.reason is ShutdownReason.poweroff, console + domain.crash_report
    found = _COUNTS.search(console)
    assert found, console
    return Counts(*map(int, found.groups()))


def neighbour(machine: Machine, name: str, devices: Sequence[DeviceConfig] = (), cmdline: str = "") -> Domain:
    """A domain with a kernel that comes with Paravane."""
    return machine.create(
        load_image(build(guest_kernels.load(name).sources)),
        DomainConfig(name=name, memory=MEMORY, cmdline=cmdline, devices=tuple(devices)),
    )


def undisturbed(domain: Domain, expected: str | None = None) -> None:
    """It has printed what it always prints, that of its name's kernel by default."""
    assert domain.reason is ShutdownReason.poweroff, domain.crash_report
    wanted = Expected(guest_kernels.load(domain.name).expected if expected is None else expected)
    assert difference(wanted, domain.console_output().decode()) == []


def run(machine: Machine) -> None:
    """Until all have ended; the books are right then."""
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    assert machine.audit() == []
