"""The exercise of a stop: the folder of its kernel, with the deciding lines taken out."""

from __future__ import annotations

import json
import textwrap
import tomllib
from typing import TYPE_CHECKING, Any, Final

from paravane import guest_kernels
from paravane.asm import INCLUDE_DIR
from paravane.guest_kernels.settings import KEYS
from paravane.tools.tour.marks import tasks, unmarked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from paravane.tools.tour.stop import Stop

_WIDTH: Final = 100
_SOURCES: Final = (".S", ".c", ".inc")

_README: Final = """\
# {title}

{idea}

Its deciding lines are missing from the sources in this folder. Each place has a `TODO`:

{tasks}

In the folder around this one `paravane test {name}` tells when it is right, and has a hint when it
is not; `paravane boot {name} --explain` says why a request was refused. What the
functions and macros of the runtime take is in `docs/runtime.md`, and in comments in `asm/include`.
The whole kernel is `{kernel}` of `paravane list`.
"""


def exercise_files(stop: Stop, name: str, *, solved: bool = False) -> dict[str, bytes]:
    """The files of a folder called `name` with their contents: the exercise or, `solved`, with its lines in
    place."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in _sources(stop)}
    todo = [(file, task) for file, text in sources.items() for task in tasks(text, stop.kernel)]
    left_out = "" if solved else stop.kernel
    texts = {file: unmarked(text, left_out) for file, text in sources.items()}
    texts["kernel.toml"] = _toml(_settings(stop))
    texts["expected.txt"] = guest_kernels.load(stop.kernel).expected
    texts["README.md"] = _README.format(
        title=stop.title,
        idea=textwrap.fill(stop.idea, _WIDTH),
        tasks="\n".join(
            textwrap.fill(f"- `{file}`: {task}", _WIDTH, subsequent_indent="  ") for file, task in todo
        ),
        name=name,
        kernel=stop.kernel,
    )
    return {file: text.encode() for file, text in texts.items()}


def _sources(stop: Stop) -> Iterator[Path]:
    folder = guest_kernels.folder_of(stop.kernel)
    yield from sorted(path for path in folder.iterdir() if path.suffix in _SOURCES)
    # An include file in the folder is found before the assembler's own of that name.
    yield from (INCLUDE_DIR / name for name in stop.exercise.runtime)


def _settings(stop: Stop) -> dict[str, Any]:
    """Those of the kernel, without its variations: one console is enough to get right."""
    told = tomllib.loads((guest_kernels.folder_of(stop.kernel) / "kernel.toml").read_text(encoding="utf-8"))
    settings = {name: value for name, value in told.items() if name in KEYS}
    settings["max_traps"] = stop.exercise.max_traps
    if stop.exercise.tlb is not None:
        settings["tlb"] = stop.exercise.tlb
    settings["hints"] = dict(stop.exercise.hints)
    return settings


def _toml(settings: Mapping[str, Any]) -> str:
    """JSON's texts, numbers, booleans and lists are TOML's as well; tables come last."""
    tables = {name: value for name, value in settings.items() if isinstance(value, dict)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items() if name not in tables]
    for name, table in tables.items():
        lines += [
            "",
            f"[{name}]",
            *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items()),
        ]
    return "\n".join(lines) + "\n"
