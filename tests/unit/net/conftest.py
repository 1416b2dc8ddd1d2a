"""A machine with domains on a network, and two of them that are connected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import Machine
from tests.support.lan import Lan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.netfront import Netfront


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(*Lan.SIZES)) as machine:
        yield machine
        assert machine.audit() == []


@pytest.fixture
def lan(machine: Machine) -> Lan:
    return Lan(machine)


@pytest.fixture
def pair(lan: Lan) -> tuple[Netfront, Netfront]:
    return lan.pair()
