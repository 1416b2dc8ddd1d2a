"""The page docs/runtime.md: every macro and function of the guest runtime, from the comments in asm/include.

In a checkout: `python3 -m tests.support.runtime_reference` writes it anew.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from paravane import asm

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "runtime.md"
INSIDE = (
    "probe.inc",
    "sections.inc",
)  # the first is for kernels about traps, the second for the runtime itself

_MACRO = re.compile(r"\.macro (\w+)(?: (.*))?")
_FUNCTION = re.compile(r"\s*\.type (\w+), @function")

_HEAD = """\
# The guest runtime

What `asm/include` has for kernels. This page is made from the comments there by
`python3 -m tests.support.runtime_reference`; a test holds it against them.

`.include "runtime.inc"` takes in all parts but those whose text says otherwise. A kernel defines
`main`; that is called in ring 1, and the domain powers off when it returns.

{convention}
"""


class Item(NamedTuple):
    """A macro or function: its name (with parameters), and the comment in front of it."""

    name: str
    text: str


def parts() -> list[Path]:
    """The files of the runtime that kernels are to use."""
    files = sorted(asm.INCLUDE_DIR.glob("*.inc"))
    return [path for path in files if not path.name.startswith("xen") and path.name not in INSIDE]


def items(path: Path) -> Iterator[Item]:
    """What a file defines, in order. What has no comment of its own goes with the one before."""
    comment: list[str] = []
    last = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        macro, function = _MACRO.match(line), _FUNCTION.match(line)
        if line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        elif macro or function:
            found = macro or function
            assert found is not None
            # A macro without a comment is for the file itself.
            last = " ".join(comment) or ("" if macro else last)
            parameters = _parameters(macro[2]) if macro and macro[2] else ""
            if last:
                yield Item(f"{found[1]}{parameters}", last)
            comment = []
        elif not line.strip() or not line.lstrip().startswith("."):
            comment = []


def _parameters(text: str) -> str:
    """` text, arg2=$0`: without the assembler's own marks."""
    return " " + re.sub(r":\w+", "", text)


def head(path: Path) -> str:
    """The comment a file begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next(at for at, line in enumerate(lines) if not line.startswith("#"))
    text = " ".join(line.removeprefix("#").strip() for line in lines[:end])
    return " ".join(text.split())


def convention() -> str:
    """What the runtime's own head says of registers."""
    text = head(asm.INCLUDE_DIR / "runtime.inc")
    return text[text.index("Calling convention") :]


def render() -> str:
    """The page."""
    blocks = [_HEAD.format(convention=convention())]
    for path in parts():
        found = list(items(path))
        if found:
            rows = "".join(f"| `{item.name}` | {item.text.replace('|', chr(92) + '|')} |\n" for item in found)
            blocks.append(f"## {path.name}\n\n{head(path)}\n\n| name | what it does |\n|---|---|\n{rows}")
    return "\n".join(blocks)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
