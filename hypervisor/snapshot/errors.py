"""What is wrong with a snapshot, or stands in the way of one."""

from __future__ import annotations


class SnapshotError(ValueError):
    """A machine cannot be saved, or what is to be restored is no snapshot of one; the message is a
    sentence."""
