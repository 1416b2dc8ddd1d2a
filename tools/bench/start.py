"""`bench start`: commands, from their start to their end."""

from __future__ import annotations

import resource
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


def _waited() -> float:
    """The host's time, which is what somebody waits for."""
    return time.perf_counter()


def _worked() -> float:
    """The processor's time of the processes that have ended, which a busy host does not change."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _seconds(clock: Callable[[], float], words: tuple[str, ...]) -> float:
    began = clock()
    subprocess.run([sys.executable, *words], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return clock() - began


@contextmanager
def _interpreter(clock: Callable[[], float]) -> Iterator[Callable[[], float]]:
    yield partial(_seconds, clock, ("-c", "pass"))


def _command(name: str, what: str, clock: Callable[[], float], *words: str) -> Row:
    @contextmanager
    def prepare(which: str) -> Iterator[Callable[[], float]]:
        def measure() -> float:
            with gateway(which):
                return _seconds(clock, ("-m", "paravane", *words))

        yield measure

    return Row(name, what, Floor("python3 -c pass", partial(_interpreter, clock)), prepare)


ROWS: Final = (
    _command("boot-hello", "`paravane boot hello`, from the shell and back", _waited, "boot", "hello"),
    _command("boot-hello-cpu", "the processor's time of that", _worked, "boot", "hello"),
    _command("version-cpu", "the processor's time of `paravane --version`", _worked, "--version"),
)
"""In the order of the table."""
