"""Fixtures of the substrate tests."""

from collections.abc import Iterator

import pytest

from hypervisor.cpu import PAE, TWO_LEVEL
from tests.substrate.machine import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A PAE machine."""
    machine = Bench()
    yield machine
    machine.close()


@pytest.fixture(params=[PAE, TWO_LEVEL], ids=lambda geometry: geometry.name)
def any_bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A machine of each page-table shape."""
    machine = Bench(geometry=request.param)
    yield machine
    machine.close()
