"""What the tests of machines share; a file with another idea of a machine has a fixture of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import Image, Machine, asm, guest_kernels, load_image
from tests.support.small_machines import MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def hello() -> Image:
    return load_image(asm.build(guest_kernels.load("hello").sources))


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(MEMORY, MEMORY)) as made:
        yield made
