"""Privilege levels of a 32-bit guest: ring 0 is the hypervisor's, so its kernel runs in ring 1."""

from typing import Final

KERNEL_RING: Final = 1
APPLICATION_RING: Final = 3
