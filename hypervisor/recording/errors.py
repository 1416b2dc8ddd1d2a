"""What is wrong with a recording."""

from __future__ import annotations


class RecordingError(ValueError):
    """A folder that is no whole recording, or one that cannot be made; the message is one sentence."""
