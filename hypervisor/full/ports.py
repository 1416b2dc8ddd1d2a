"""The I/O ports of a small PC: who answers at which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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


@runtime_checkable
class RunDevice(PortDevice, Protocol):
    """One that may take more than a byte at a time."""

    def takes_runs(self, port: int) -> bool:
        """Whether it does so at `port` now: no byte there makes it interrupt."""
        ...

    def write_run(self, port: int, data: bytes) -> None:
        """Write bytes to `port`, which takes runs, one after the other."""
        ...


class Ports:
    """A table of ports. An access of 2 or 4 bytes is one to each of as many ports, the lowest first, as the
    bus of a PC makes of it for devices of 8 bits."""

    def __init__(self) -> None:
        self._devices: dict[int, PortDevice] = {}
        self._run_devices: dict[int, RunDevice] = {}

    def claim(self, ports: Iterable[int], device: PortDevice) -> None:
        """Have `device` answer there. ValueError for a port that another one has."""
        run_device = device if isinstance(device, RunDevice) else None
        for port in ports:
            if self._devices.setdefault(port, device) is not device:
                raise ValueError(f"port {port:#x} is another device's")
            if run_device is not None:
                self._run_devices[port] = run_device

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

    def read_run(self, port: int, size: int, count: int, leave: Callable[[], bool]) -> bytes:
        """Read `count` elements of `size` bytes one after the other, or until `leave` says so after one."""
        if not self._answers(port, size):
            return bytes((OPEN_BUS,)) * (size * count)
        found = bytearray()
        for _ in range(count):
            found += self.read(port, size).to_bytes(size, "little")
            if leave():
                break
        return bytes(found)

    def write_run(self, port: int, size: int, data: bytes, leave: Callable[[], bool]) -> int:
        """Write the elements of `size` bytes in `data` one after the other, or until `leave` says so after
        one: how many were."""
        if not self._answers(port, size):
            return len(data) // size
        if size == 1 and self._takes_runs(port):
            self._run_devices[port].write_run(port, data)
            return len(data)
        for at in range(0, len(data), size):
            self.write(port, size, int.from_bytes(data[at : at + size], "little"))
            if leave():
                return at // size + 1
        return len(data) // size

    def asks_for_each(self, port: int, size: int, *, output: bool) -> bool:
        """Whether some device has to be asked for each element of a run."""
        return self._answers(port, size) and not (output and size == 1 and self._takes_runs(port))

    def _takes_runs(self, port: int) -> bool:
        device = self._run_devices.get(port)
        return device is not None and device.takes_runs(port)

    def _answers(self, port: int, size: int) -> bool:
        return any((port + step) % _PORTS in self._devices for step in range(size))
