"""A run that can be gone back in, to any instruction of it: see README.md."""

from __future__ import annotations

from paravane.history.history import History, Hit, Watcher
from paravane.history.position import Position

__all__ = ["History", "Hit", "Position", "Watcher"]
