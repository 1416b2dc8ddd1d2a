"""The state of Python's random numbers as bytes, to keep and put back."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random

_VERSION: Final = 3
_NUMBERS: Final = 625


def save(generator: random.Random) -> bytes:
    """What `restore` goes on from: 32-bit numbers."""
    _, numbers, _ = generator.getstate()
    return array("I", numbers).tobytes()


def restore(generator: random.Random, state: bytes) -> None:
    """Have `generator` go on as the saved one would have. Raises ValueError, a sentence, for what is no
    state."""
    if len(state) != 4 * _NUMBERS:
        raise ValueError(f"a state of random numbers has {4 * _NUMBERS} bytes, not {len(state)}")
    generator.setstate((_VERSION, tuple(array("I", state)), None))
