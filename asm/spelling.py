"""What somebody meant who wrote a name that there is not."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def did_you_mean(name: str, words: Iterable[str]) -> str:
    """The end of a message about `name`: the word nearest to it, or nothing where none is near."""
    close = difflib.get_close_matches(name, words, 1)
    return f"; did you mean `{close[0]}`?" if close else ""
