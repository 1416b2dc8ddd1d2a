"""`bench start`: commands from the shell to their end and back."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from paravane.tools.bench.gateways import gateway
from paravane.tools.bench.row import Floor, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _seconds(words: tuple[str, ...]) -> float:
    """The host's time, which is what somebody waits for."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - began


@contextmanager
def _interpreter() -> Iterator[Callable[[], float]]:
    yield partial(_seconds, ("-c", "pass"))


_FLOOR: Final = Floor("python3 -c pass", _interpreter)


def _command(name: str, *words: str) -> Row:
    @contextmanager
    def prepare(which: str) -> Iterator[Callable[[], float]]:
        def measure() -> float:
            with gateway(which):
                return _seconds(("-m", "paravane", *words))

        yield measure

    return Row(name, f"paravane {' '.join(words)}", _FLOOR, prepare)


ROWS: Final = (
    _command("boot-hello", "boot", "hello"),
    _command("version", "--version"),
)
"""In the order of the table."""
