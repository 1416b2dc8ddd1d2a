"""What can be wrong with a description of a network, and with a frame."""

from __future__ import annotations


class NetError(ValueError):
    """A description of a network has a mistake; the message is one sentence."""


class OffloadError(Exception):
    """A frame asks for work that cannot be done on it: it is dropped. The message says why."""
