"""The command line's front door: `paravane COMMAND ...`.

It imports next to nothing before Ctrl-C is taken care of, and loads the commands itself, so that whatever
happens meanwhile (Ctrl-C, no memory) ends in one line and a status as well; see `paravane.tools.status`.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module

TYPE_CHECKING = False  # `typing` takes long to load, see above
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType, ModuleType
    from typing import NoReturn

_ERRORS, _INTERRUPTED = 1, 130  # of `Status`, which is not loaded yet when they are needed


def command() -> NoReturn:
    """What is installed as `paravane`: run the command of this process's arguments, and end the process.

    Nothing is collected while the command is loaded: what is imported stays. And the interpreter is not taken
    apart at the end, module by module, which would take as long as a tenth of a boot: what has to happen at
    the exit is registered for it, and no thread of ours is one that has to be waited for.
    """
    gc.disable()
    status = main(loaded=_collect_from_now_on)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        # What can fail has been flushed and told of before, see `commands`.
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def _collect_from_now_on() -> None:
    gc.freeze()
    gc.enable()


def main(arguments: Sequence[str] | None = None, *, loaded: Callable[[], None] = lambda: None) -> int:
    """Run one command; gives the exit status. `loaded` is called when the command is about to begin."""
    try:
        commands = _commands()
        status: int = commands.run(sys.argv[1:] if arguments is None else arguments, loaded)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except MemoryError as error:
        _say(str(error) or "there is not enough memory")
        return _ERRORS
    except (ImportError, SyntaxError, OSError) as error:
        _say(f"a part of it cannot be loaded: {error}")
        return _ERRORS
    return status


def _say(sentence: str) -> None:
    """One line on stderr, if there is one. By the interpreter alone: `paravane.tools.streams`, which would
    say it otherwise, may be what cannot be loaded."""
    if sys.stderr is not None:
        line = " ".join(sentence.split()).encode("ascii", "backslashreplace").decode("ascii")
        with suppress(OSError, ValueError):
            print(f"paravane: {line}", file=sys.stderr, flush=True)


def _commands() -> ModuleType:
    """Import them. Ctrl-C is no exception meanwhile: some libraries would drop it, or report it."""
    try:
        before = signal.getsignal(signal.SIGINT)
        if before != signal.SIG_IGN:
            signal.signal(signal.SIGINT, _give_up)
    except ValueError:
        # Not the main thread: signals are not ours.
        return _loaded()
    try:
        return _loaded()
    finally:
        signal.signal(signal.SIGINT, before)


def _loaded() -> ModuleType:
    try:
        import_module("paravane.tools.streams").claim()
        return import_module("paravane.tools.commands")
    except ValueError as error:  # so Python 3.11 calls a source with null bytes
        raise ImportError(str(error)) from None


def _give_up(number: int, frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    command()
