"""What tests of machines share, and those of xenstore; a file with another idea of it has its own fixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import Image, Machine, asm, guest_kernels, load_image
from paravane.devices.xenstore import Store, populate_domain
from tests.support.small_machines import MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def hello() -> Image:
    return load_image(asm.build(guest_kernels.load("hello").sources))


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(MEMORY, MEMORY)) as made:
        yield made


@pytest.fixture
def store() -> Store:
    """Xenstore with the nodes of two guests, 1 and 2."""
    made = Store()
    for domid in (1, 2):
        populate_domain(made, domid, f"guest{domid}", 65536)
    return made
