"""What `--help` has below the options, as a manual page has it: exit status, files, environment, examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.tools.status import EXPLAINED, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTINGS: Final = ("kernel.toml", "how the kernel of its folder is built and booted")
EXPECTED: Final = ("expected.txt", "beside it: the console that `test` expects")
CACHE: Final = (
    "~/.cache/paravane/images",
    "what was assembled, so that it need not be again; may be removed",
)

CACHE_HOME: Final = ("XDG_CACHE_HOME", "an absolute path to use instead of ~/.cache")
RUNTIME_DIR: Final = ("XDG_RUNTIME_DIR", "where the machines of `run` listen, for `ctl` and `store`")
STORE_PATH: Final = ("XENSTORED_PATH", "xenstore's socket, as for Xen's own tools")
NO_COLOR: Final = ("NO_COLOR", "if set and not empty, nothing is coloured")
TERM: Final = ("TERM", "`dumb` is a terminal without colours, and without progress")
NATIVE: Final = ("PARAVANE_NATIVE", "0: Python serves every trap; a path: this library serves the commonest")
COLUMNS: Final = ("COLUMNS", "how wide help is (default: as the terminal)")

ALL_STATUSES: Final = tuple((status, meaning) for status, meaning in EXPLAINED)
UNREADABLE: Final = (Status.USAGE, "bad usage, or a file that cannot be read")
NO_IMAGE: Final = (Status.IMAGE, "what was given is no image")
SOURCES: Final = (Status.ERRORS, "the sources have errors, or output could not be written")
INTERRUPTED: Final = (Status.INTERRUPTED, "interrupted by Ctrl-C")


def epilog(
    text: str = "",
    *,
    statuses: Sequence[tuple[Status, str]] = (),
    files: Sequence[tuple[str, str]] = (),
    environment: Sequence[tuple[str, str]] = (),
    examples: Sequence[tuple[str, str]] = (),
) -> str:
    """The parts that there are, in this order; of each table a row is a name and what it is. An example is a
    line for a shell and, or empty, what it is for."""
    parts = [text.rstrip()]
    parts += _table("exit status:", [(f"{status.value:3}", meaning) for status, meaning in statuses])
    parts += _table("files:", files)
    parts += _table("environment:", environment)
    parts += _table("examples:", examples)
    return "\n\n".join(part for part in parts if part)


def _table(title: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max((len(name) for name, meaning in rows if meaning), default=0)
    lines = [f"  {name:<{width}}  {meaning}".rstrip() for name, meaning in rows]
    return ["\n".join([title, *lines])] if rows else []
