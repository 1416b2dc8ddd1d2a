"""The I/O ports of a small PC: who answers at which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

OPEN_BUS: Final = 0xFF
"""What a port reads as where nobody answers."""

_PORTS: Final = 0x10000


class PortDevice(Protocol):
    """A device with 8-bit registers at I/O ports."""

    def read(self, port: int) -> int:
        """The byte at `port`."""
        ...

    def write(self, port: int, value: int) -> None:
        """Write a byte to `port`."""
        ...


class Ports:
    """A table of ports. An access of 2 or 4 bytes is one to each of as many ports, the lowest first, as the
    bus of a PC makes of it for devices of 8 bits."""

    def __init__(self) -> None:
        self._devices: dict[int, PortDevice] = {}

    def claim(self, ports: Iterable[int], device: PortDevice) -> None:
        """Have `device` answer there. ValueError for a port that another one has."""
        for port in ports:
            if self._devices.setdefault(port, device) is not device:
                raise ValueError(f"port {port:#x} is another device's")

    def read(self, port: int, size: int) -> int:
        """Read `size` bytes (1, 2 or 4), little-endian."""
        value = 0
        for step in range(size):
            at = (port + step) % _PORTS
            device = self._devices.get(at)
            value |= (OPEN_BUS if device is None else device.read(at) & 0xFF) << 8 * step
        return value

    def write(self, port: int, size: int, value: int) -> None:
        """Write `size` bytes (1, 2 or 4), little-endian. Nobody hears of them where nobody answers."""
        for step in range(size):
            at = (port + step) % _PORTS
            device = self._devices.get(at)
            if device is not None:
                device.write(at, value >> 8 * step & 0xFF)
