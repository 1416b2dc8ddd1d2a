"""What workers elsewhere are given to do."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import NoReturn


def squared(factor: int, thing: int) -> int:
    return factor * thing * thing


def dying(common: str, thing: int) -> NoReturn:
    """Take the process along."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it is dead")


def dying_once(folder: str, thing: int) -> int:
    """The first one of all takes its process along."""
    try:
        (Path(folder) / "first").touch(exist_ok=False)
    except FileExistsError:
        return thing
    dying(folder, thing)


RELEASED = threading.Event()


def waiting(common: int, thing: int) -> int:
    """All but the first wait until they are released."""
    if thing:
        RELEASED.wait()
    return thing
