"""`paravane boot --watch-sources`: build and boot anew whenever a file that the kernel is made of changes.

Each boot is a process of its own, with this terminal as its console: what ends a guest ends no watching, and
every boot has the terminal as it was. Files are looked at, not subscribed to, so that it works wherever there
are files; editors that write beside and rename are seen as well.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane.tools import images
from paravane.tools.arguments import WATCH_SOURCES
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

PERIOD: Final = 0.2
"""Seconds between two looks at the files."""

_SOURCES: Final = (".S", ".s", ".c", ".h", ".inc")

Stamps = dict[Path, tuple[int, int, int] | None]
"""What tells that a file has changed: its inode, size and time; None for one that is not there."""


class _Ended(Exception):
    """A signal asked the watching to end."""


def watch(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Boot until Ctrl-C, which is status 130. `arguments` are those of the whole command, with the option."""
    # Isolated from the folder it is started in, whose files may be called like a module.
    command = [sys.executable, "-P", "-m", "paravane", *without_option(arguments)]
    inputs: tuple[Path, ...] = ()
    try:
        with _signals():
            while True:
                # Before they are read: what changes meanwhile is another change.
                before = stamps({*inputs, *_around(options)})
                try:
                    inputs = images.find(options).inputs
                except UsageError as error:
                    say(str(error))
                    _until(partial(changed, before))
                    continue
                before = {**stamps(set(inputs)), **before}
                status = _boot(command, before)
                if status in (Status.INTERRUPTED, -signal.SIGINT):
                    return Status.INTERRUPTED
                if status is not None:
                    say(f"status {status}; waiting for a change of {options.image}, Ctrl-C ends it")
                    _until(partial(changed, before))
    except (_Ended, KeyboardInterrupt):
        return Status.INTERRUPTED


def without_option(arguments: Sequence[str]) -> list[str]:
    """The arguments for a boot that does not watch. What follows `--` is the guest's."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    # argparse takes the beginning of it as well, but for `--watch`, which is another option.
    kept = [
        word
        for word in arguments[:at]
        if not (word.startswith("--watch-") and WATCH_SOURCES.startswith(word))
    ]
    return [*kept, *arguments[at:]]


def stamps(paths: set[Path]) -> Stamps:
    """How files are now."""
    found: Stamps = {}
    for path in paths:
        found[path] = None
        with suppress(OSError):
            status = path.stat()
            found[path] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def changed(before: Mapping[Path, tuple[int, int, int] | None]) -> bool:
    """Whether a file is not as it was."""
    return stamps(set(before)) != before


def _around(options: argparse.Namespace) -> Iterator[Path]:
    """Files that may belong to the kernel: those named, and the sources beside them. When there are errors,
    nobody knows which were to be read."""
    named = Path(options.image)
    yield named
    folder = named if named.is_dir() else named.parent
    for place in (folder, *options.include):
        with suppress(OSError):
            yield from (path for path in place.iterdir() if path.suffix in _SOURCES or path.suffix == ".toml")


def _boot(command: Sequence[str], before: Stamps) -> int | None:
    """One boot, until it ends: its status; None if a change of a file ended it."""
    with subprocess.Popen(command) as boot:
        try:
            _until(lambda: boot.poll() is not None or changed(before))
            if boot.poll() is not None:
                return boot.returncode
            say("changed; once more")
            return None
        finally:
            if boot.poll() is None:
                # Not SIGKILL: the boot puts the terminal back, and its trace is whole.
                boot.terminate()


def _until(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(PERIOD)


@contextmanager
def _signals() -> Iterator[None]:
    """Let signals that end processes end the watching, so that no boot is left alone."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _Ended

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
