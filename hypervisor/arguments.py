"""What callers of the public face pass, checked where it comes in: a mistake is told by its name."""

from __future__ import annotations


def check_type(name: str, value: object, *kinds: type) -> None:
    """Raises TypeError, a sentence, unless `value` is one of `kinds`. A truth value is no number."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}: {value!r:.80}")


def check_callable(name: str, value: object) -> None:
    """Raises TypeError, a sentence, unless `value` can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, and {value!r:.80} is not")
