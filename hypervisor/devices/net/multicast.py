"""Multicast control: which groups a frontend wants to hear."""

from __future__ import annotations

from typing import Final

from paravane.devices.net.addresses import MAC_SIZE, is_group

MOST_GROUPS: Final = 64
"""Addresses that a frontend may ask for, as with netback."""

_BROADCAST: Final = b"\xff" * MAC_SIZE


class Groups:
    """The groups of one frontend. Unless `controlled` it hears them all; which it asked for is kept
    meanwhile."""

    def __init__(self) -> None:
        self.controlled = False
        self._wanted: set[bytes] = set()

    def save(self) -> tuple[bytes, ...]:
        """The groups that were asked for."""
        return tuple(sorted(self._wanted))

    def restore(self, wanted: tuple[bytes, ...]) -> None:
        """Have asked for these. Raises ValueError for what are none, or too many."""
        if len(wanted) > MOST_GROUPS or not all(len(one) == MAC_SIZE and is_group(one) for one in wanted):
            raise ValueError("an interface wants to hear what are no groups")
        self._wanted = set(wanted)

    def change(self, address: bytes, *, wanted: bool) -> bool:
        """Hear a group, or not any more. False for what is none, or one too many."""
        if not is_group(address):
            return False
        if not wanted:
            self._wanted.discard(address)
        elif address not in self._wanted and len(self._wanted) >= MOST_GROUPS:
            return False
        else:
            self._wanted.add(address)
        return True

    def hears(self, destination: bytes) -> bool:
        """Whether a frame to this address is for the frontend."""
        if not self.controlled or not is_group(destination) or destination == _BROADCAST:
            return True
        return destination in self._wanted
