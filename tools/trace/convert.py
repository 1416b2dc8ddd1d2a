"""`paravane trace FILE convert`: the trace in another format."""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from paravane.tools.files import refuse_overwriting, replacing
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import STDOUT, say
from paravane.trace.forms import FORMS, form_of
from paravane.trace.writer import Header
from paravane.trace.xentrace import XentraceWriter

if TYPE_CHECKING:
    from typing import IO

    from paravane.tools.trace.source import Source
    from paravane.trace import Writer


def convert(source: Source, form: str | None, output: str | None) -> Status:
    """Write the entries that are wanted in a format, by its name or by that of the file (`-`: stdout).

    A file is written whole or not at all.
    """
    if form is None and output in (None, "-"):
        raise UsageError(f"say with --to which format: {', '.join(FORMS)}; or give the file a name with -o")
    writer = (form_of(PurePath(output or "")) if form is None else FORMS[form]).writer()
    if output in (None, "-"):
        sys.stdout.flush()
        source.told &= not os.isatty(STDOUT)
        _write(source, writer, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    else:
        path = Path(output or "")
        refuse_overwriting([("-o", path)], [] if source.path is None else [source.path])
        with replacing(path) as stream:
            _write(source, writer, stream)
    return Status.OK


def _write(source: Source, writer: Writer, out: IO[bytes]) -> None:
    begun = False
    for entry in source.entries():
        if not begun:
            # The trace's own header has been read by now.
            out.write(writer.begin(source.reader.header))
            begun = True
        out.write(writer.entry(entry))
    out.write(writer.end() if begun else writer.begin(Header()) + writer.end())
    if isinstance(writer, XentraceWriter) and writer.left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(writer.left_out.items()))
        say(f"xentrace's format has no records for some entries, which are left out: {kinds}")
