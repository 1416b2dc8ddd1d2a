"""The formats of trace files, by name and by what files are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from paravane.trace.jsonl import JsonLines
from paravane.trace.perfetto import PerfettoWriter
from paravane.trace.text import TextLines
from paravane.trace.xentrace import XentraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import PurePath

    from paravane.trace.writer import Writer


class Form(NamedTuple):
    """A format: its name, the suffixes of its files, and what makes a writer of it."""

    name: str
    suffixes: tuple[str, ...]
    writer: Callable[[], Writer]


FORMS: Final[dict[str, Form]] = {
    form.name: form
    for form in (
        Form("text", (".txt", ".log"), TextLines),
        Form("json", (".jsonl",), JsonLines),
        Form("perfetto", (".perfetto-trace", ".pftrace"), PerfettoWriter),
        Form("xentrace", (".xentrace",), XentraceWriter),
    )
}
"""Every format by its name, the default first."""


def form_of(path: PurePath) -> Form:
    """The format that a file's name asks for: text unless its suffix is another one's."""
    return next((form for form in FORMS.values() if path.suffix in form.suffixes), FORMS["text"])
