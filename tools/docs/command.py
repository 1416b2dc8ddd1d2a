"""`paravane docs`: hypercalls and structs, as the hypervisor itself has them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from paravane.text import shown
from paravane.tools import manual
from paravane.tools.docs import page
from paravane.tools.docs.structs import layouts
from paravane.tools.progress import telling
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    import argparse

_EPILOG = manual.epilog(
    """\
A hypercall is asked for by its name, its number, or the name that sources have: sched_op, 29,
sched_op.poll, SCHEDOP_poll. What it takes is decoded by what is shown here, and what refuses it is read
from the code that does.""",
    statuses=(
        (Status.OK, "it was told"),
        (Status.ERRORS, "output could not be written"),
        (Status.USAGE, "bad usage, or there is nothing of that name"),
    ),
    examples=(
        ("paravane docs", "every hypercall and command in a line"),
        ("paravane docs mmu_update", ""),
        ("paravane docs event_channel_op.alloc_unbound", ""),
        ("paravane docs start_info", "a struct"),
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane docs [NAME]`."""
    parser.description = "Tell what a hypercall takes, why it is refused, and which kernels show its use."
    parser.epilog = _EPILOG
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="a hypercall, one of its commands, or a struct"
    )
    parser.set_defaults(run=_docs)


def _docs(options: argparse.Namespace) -> int:
    known = page.names()
    if options.name is None:
        width = max(map(len, known))
        for name, summary in known.items():
            print(f"{name:<{width}}  {summary}".rstrip())
        return Status.OK
    asked = page.spellings().get(options.name, options.name.removeprefix("struct "))
    if asked not in known and asked not in layouts():
        raise UsageError(_unknown(asked, known))
    with telling(lambda: "reading the hypervisor's code"):
        lines = list(page.page(asked))
    print(*lines, sep="\n")
    return Status.OK


def _unknown(asked: str, known: dict[str, str]) -> str:
    """What might have been meant: a command without its family, or a name with a slip."""
    words = {name.rpartition(".")[2]: name for name in reversed(known)}
    everything = (*known, *words, *page.spellings(), *layouts())
    close = [words.get(name, name) for name in difflib.get_close_matches(asked, everything, 5, 0.7)]
    if not close:
        return f"there is no hypercall and no struct {shown(asked)!r}; `paravane docs` shows the hypercalls"
    hint = " or ".join(f"`{name}`" for name in dict.fromkeys(close))
    return f"there is no hypercall and no struct {shown(asked)!r}: did you mean {hint}?"
