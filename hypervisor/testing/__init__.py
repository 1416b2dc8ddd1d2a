"""Guest kernels as tests, with pytest or without: what `paravane test` and the pytest plugin stand on.

The names below are loaded when they are first used: pytest loads the plugin in runs without any kernel too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paravane.testing.cases import Case, Finding, Outcome, find, run
    from paravane.testing.matching import Like, like
    from paravane.testing.verdict import Verdict

__all__ = ["Case", "Finding", "Like", "Outcome", "Verdict", "find", "like", "run"]

_HOMES = {
    "paravane.testing.cases": ("Case", "Finding", "Outcome", "find", "run"),
    "paravane.testing.matching": ("Like", "like"),
    "paravane.testing.verdict": ("Verdict",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
