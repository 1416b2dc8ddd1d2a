"""What the log is told of a guest that uses a device wrongly: enough to find out why, and no more."""

from __future__ import annotations

import logging
from typing import Final

MOST: Final = 10
"""Lines about one device: its guest can do any number of things wrong."""


class Complaints:
    """The lines of one device, `name` its kind and number."""

    def __init__(self, domid: int, name: str) -> None:
        self._log = logging.getLogger(f"paravane.d{domid}")
        self._name = name
        self.made = 0
        """How many there have been."""

    def say(self, sentence: str) -> None:
        """A line in the log, unless there have been too many."""
        self.made += 1
        if self.made < MOST:
            self._log.warning("%s: %s", self._name, sentence)
        elif self.made == MOST:
            self._log.warning("%s: %s; more of it is not logged", self._name, sentence)
