"""The process's standard streams, made fit for use whatever the shell made of them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from paravane.text import shown

STDIN, STDOUT, STDERR = 0, 1, 2


def claim() -> None:
    """Take care of streams that are closed, and of text that their encoding cannot say. Call it once, first.

    A number that is closed would go to the next file opened, and console output into that file. It is opened
    here for the wrong direction instead, so that its use fails as a closed one's does.
    """
    for number, flags in ((STDIN, os.O_WRONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    if sys.stdout is None:
        sys.stdout = os.fdopen(STDOUT, "w", closefd=False)
    if sys.stderr is None:
        # print() to a stream that is None would go to stdout.
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), "w")
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def tell(text: str) -> None:
    """Text for people, on stderr. When nobody can be told, that changes nothing: the exit status remains."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def say(sentence: str) -> None:
    """One message of ours, in one line whatever names are in it."""
    tell(f"paravane: {shown(sentence)}")


def abandon_stdout() -> None:
    """What was printed cannot be put out: leave nothing that the interpreter would trip over at its exit."""
    with suppress(OSError):
        number = os.open(os.devnull, os.O_WRONLY)
        os.dup2(number, STDOUT)
        os.close(number)


def colourful(fileno: int) -> bool:
    """Whether text that goes there is to have colours: on a terminal that has them, unless the user asked for
    none (NO_COLOR, see no-color.org)."""
    return os.isatty(fileno) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
