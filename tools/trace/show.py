"""`paravane trace FILE show`: the trace as text, as it was live."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from paravane.tools.status import Status
from paravane.tools.streams import STDOUT, colourful
from paravane.trace.text import TextLines

if TYPE_CHECKING:
    from paravane.tools.trace.source import Source


def show(source: Source, *, colour: str, follow: bool) -> Status:
    """Put out every entry that is wanted as a line. `colour` is `auto`, `always` or `never`."""
    writer = TextLines(colour=colourful(STDOUT) if colour == "auto" else colour == "always")
    out = sys.stdout.buffer
    source.told &= not os.isatty(STDOUT)
    sys.stdout.flush()
    for entry in source.follow(out.flush) if follow else source.entries():
        out.write(writer.entry(entry))
    out.flush()
    return Status.OK
