"""Notes, in a file, that this process or one it starts has come near the native gateway.

Nothing gets at the library but through `native.find`: a vcpu that is made, a report that tells of it. What
finds none, or never asks, is the same in both modes. What is started is not looked into: each process counts,
save those that are known to have nothing of Paravane.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

from paravane.gateway import native

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def note(file: Path, foreign: Callable[[tuple[str, ...]], bool] = lambda command: False) -> None:
    """From now on, and in what this process forks, `file` is made when it happens. `foreign` knows commands
    that have nothing of Paravane."""
    find, start = native.find, subprocess.Popen.__init__

    def found() -> native.Native | None:
        library = find()
        if library is not None:
            file.touch()
        return library

    def started(process: subprocess.Popen[Any], args: Any, *more: Any, **options: Any) -> None:
        words = (args,) if isinstance(args, str | bytes | os.PathLike) else args
        if not foreign(tuple(map(os.fsdecode, words))):
            file.touch()
        start(process, args, *more, **options)

    native.find = found
    subprocess.Popen.__init__ = started  # type: ignore[method-assign, assignment]
    # A process that is forked by other means, for a terminal or a pool.
    os.register_at_fork(before=file.touch)
