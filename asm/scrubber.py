"""The blanks of a statement that macro arguments keep.

GNU as takes blanks out of a statement before it looks for arguments: what is left decides where one argument
ends and what `"\\argument"` spells. Here no text is rewritten, so that every column stays that of the source:
whoever collects an argument asks which blanks count.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from paravane.asm.lexer import Scanner
from paravane.asm.source import COMMENT_BLANK

if TYPE_CHECKING:
    from collections.abc import Iterator

BLANKS = " \t\f\v\r"
# One part of a statement. `word` holds the characters of symbols and those that begin operands of the i386.
_PART = re.compile(
    r"""(?P<blank>[ \t\f\v\r]+)
    |(?P<string>"(?:[^"\\]|\\.)*(?:"|\\?\Z))
    |(?P<character>'(?:\\.|[^\\])'?)
    |(?P<word>[A-Za-z0-9_.$*%({\[}\u0080-\U0010ffff-]+)
    |(?P<colon>:)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
# In the body of a macro: a blank after what has no value yet, or an escape that looks like a parameter.
_SETTLED_EARLY = re.compile(r"\\(?:@|\(\))[ \t\f\v\r]|'\\")
_BEGINS_OPERAND = frozenset(("word", "string", "character"))


@lru_cache(maxsize=1024)
def kept_blanks(text: str) -> frozenset[int]:
    """Where the blanks start that count, each as one space, whatever their length.

    These are the one after the mnemonic and, in the operands, those between two words or strings.
    """
    kept: set[int] = set()
    in_operands = False
    mnemonic = word = False  # a mnemonic or label has begun; the part before is a word or string
    blank = -1  # where the blanks before this part start, if they may count
    for kind, start, part in _parts(text):
        if kind == "blank":
            blank = start if word or (mnemonic and not in_operands) else -1
            if in_operands and COMMENT_BLANK in part:
                blank, word = -1, False
            continue
        if not in_operands and kind == "colon":
            mnemonic, blank = False, -1
            continue
        if not in_operands and blank >= 0:
            kept.add(blank)
            in_operands = True
        elif blank >= 0 and (kind in _BEGINS_OPERAND or part == "\\"):
            kept.add(blank)
        mnemonic, blank = True, -1
        word = in_operands and kind in ("word", "string")
    return frozenset(kept)


def _parts(text: str, start: int = 0) -> Iterator[tuple[str, int, str]]:
    """Kind, start and text of each part from `start` to the end."""
    for found in _PART.finditer(text, start):
        yield found.lastgroup or "", found.start(), found[0]


def scrubbed_rest(scanner: Scanner, kept: frozenset[int]) -> str:
    """Consumes everything left: blanks in `kept` are single spaces, character constants numbers."""
    scanner.skip_space()
    out = list[str]()
    for kind, start, part in _parts(scanner.text, scanner.pos):
        if kind == "blank":
            out.append(" " if start in kept else "")
        elif kind == "character":
            out.append(str(Scanner(part).character()))
        else:
            out.append(part)
    scanner.pos = len(scanner.text)
    return "".join(out)


@lru_cache(maxsize=1024)
def settled(text: str) -> str:
    """A statement of a macro's body with what GNU as decides before parameters have values.

    `'\\n` is a number, not a parameter `n`. A blank after such a number, `\\()` or `\\@` is no blank between
    words, whatever they become.
    """
    if _SETTLED_EARLY.search(text) is None:
        return text
    kept, out, early = kept_blanks(text), list[str](), False
    for kind, start, part in _parts(text):
        if kind == "blank":
            out.append("" if early and start not in kept else part)
            continue
        escaped = kind == "character" and part.startswith("'\\")
        out.append(str(Scanner(part).character()) if escaped else part)
        early = escaped or text.endswith(("\\@", "\\()"), 0, start + len(part))
    return "".join(out)
