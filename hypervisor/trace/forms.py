"""The formats of trace files, by name and by what files are called."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple

if TYPE_CHECKING:
    from pathlib import PurePath

    from paravane.trace.writer import Writer


class Form(NamedTuple):
    """A format: its name, the suffixes of its files, and where its writer is ("module:class" of this folder),
    which is loaded for who writes in it."""

    name: str
    suffixes: tuple[str, ...]
    home: str

    def writer(self) -> Writer:
        """A new one."""
        module, _, name = self.home.partition(":")
        made: Writer = getattr(import_module(f"paravane.trace.{module}"), name)()
        return made


FORMS: Final[dict[str, Form]] = {
    form.name: form
    for form in (
        Form("text", (".txt", ".log"), "text:TextLines"),
        Form("json", (".jsonl",), "jsonl:JsonLines"),
        Form("perfetto", (".perfetto-trace", ".pftrace"), "perfetto:PerfettoWriter"),
        Form("xentrace", (".xentrace",), "xentrace:XentraceWriter"),
    )
}
"""Every format by its name, the default first."""


def form_of(path: PurePath) -> Form:
    """The format that a file's name asks for: text unless its suffix is another one's."""
    return next((form for form in FORMS.values() if path.suffix in form.suffixes), FORMS["text"])
