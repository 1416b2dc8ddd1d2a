"""How much memory a machine needs for its domains."""

from __future__ import annotations

from typing import Final

OWN_MEMORY: Final = 1 << 20
"""Bytes of machine memory for the hypervisor, besides 1/64 of the guests'."""

OWN_PER_DOMAIN: Final = (1 << 17) + (1 << 20)
"""Bytes for each domain besides its `memory=`, with the slack that it may have beyond that."""

LOW_MEMORY: Final = 1 << 20
"""Bytes at the bottom of a machine that are nobody's, as on a PC."""

FOR_OTHERS: Final = 128 << 20
"""Bytes that a control domain finds free."""

SPARE: Final = 4 << 20
"""Bytes that stay free, so that extents of neighbouring frames can be had."""


def size_for(*domains: int, privileged: bool = False) -> int:
    """Machine memory, in bytes, with room for domains of these sizes and what the hypervisor needs. With
    a `privileged` one among them there are `FOR_OTHERS` bytes besides, for those that it makes."""
    guests = sum(domains) + (FOR_OTHERS if privileged else 0)
    return guests + guests // 64 + LOW_MEMORY + SPARE + OWN_MEMORY + len(domains) * OWN_PER_DOMAIN
