"""The command line's front door: `paravane COMMAND ...`.

It loads the commands itself, so that whatever happens meanwhile (Ctrl-C, no memory) ends in one line and a
status as well; see `paravane.tools.status` for those.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING

from paravane.tools import streams
from paravane.tools.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType, ModuleType

_COMMANDS = "paravane.tools.commands"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status."""
    streams.claim()
    try:
        status: int = _commands().run(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as end:
        # argparse has shown its help.
        return end.code if isinstance(end.code, int) else Status.OK
    except KeyboardInterrupt:
        return Status.INTERRUPTED
    except MemoryError:
        streams.say("there is not enough memory")
        return Status.ERRORS
    except (ImportError, OSError) as error:
        streams.say(f"a part of it cannot be loaded: {error}")
        return Status.ERRORS
    return status


def _commands() -> ModuleType:
    """Import them. Ctrl-C is no exception meanwhile: some libraries would drop it, or report it."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before == signal.SIG_IGN:
        return import_module(_COMMANDS)
    signal.signal(signal.SIGINT, _give_up)
    try:
        return import_module(_COMMANDS)
    finally:
        signal.signal(signal.SIGINT, before)


def _give_up(number: int, frame: FrameType | None) -> None:
    os._exit(Status.INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
