"""How a device says that it cannot go on."""

from __future__ import annotations


class DeviceFault(Exception):
    """A device cannot go on with its frontend; the message is one sentence, without anything that a guest
    wrote but numbers."""
