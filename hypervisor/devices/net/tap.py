"""The way out through a tap device of the host's, for users who have the right to it (Linux's if_tun.h)."""

from __future__ import annotations

import fcntl
import logging
import os
import struct
from typing import TYPE_CHECKING, Final

from paravane.devices.net.errors import NetError
from paravane.devices.net.way import Way

if TYPE_CHECKING:
    from paravane.devices.net.frame import Frame
    from paravane.devices.net.outside import Inputs
    from paravane.devices.net.switch import Switch

_DEVICE: Final = "/dev/net/tun"
_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFREQ: Final = struct.Struct("16sH22x")
_LONGEST_NAME: Final = 15

_LONGEST: Final = 1 << 16
_PORTION: Final = 64
"""Frames read at a time; what there is beside waits until guests have run again."""

log = logging.getLogger(__name__)


class Tap(Way):
    """A tap device of the host, as a station on a switch. Close it."""

    def __init__(self, name: str, inputs: Inputs, switch: Switch) -> None:
        """Raises NetError when the user may not have a device of that name."""
        self.name = name
        self._fd = _open(name)
        super().__init__(name, inputs, switch)
        inputs.watch(self._fd, self._ready)

    @property
    def alive(self) -> bool:
        return self._fd >= 0

    def _send_out(self, frame: Frame) -> bool:
        """Hand a frame to the host. One that it does not want (the device is down, its queue is full) is
        lost."""
        if self._fd < 0:
            return False
        try:
            os.write(self._fd, frame.data)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Idempotent."""
        self._let_go()
        self._leave()

    def _let_go(self) -> None:
        if self._fd >= 0:
            self._inputs.unwatch(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _ready(self) -> None:
        for _ in range(_PORTION):
            try:
                data = os.read(self._fd, _LONGEST)
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("the tap device %s is gone: %s", self.name, error.strerror)
                self._let_go()
                self._arrived(None)
                return
            self._arrived(data)


def _open(name: str) -> int:
    encoded = os.fsencode(name)
    if not 0 < len(encoded) <= _LONGEST_NAME or "/" in name or "%" in name:
        raise NetError(f"{name!r} is no name of a tap device: 1 to {_LONGEST_NAME} letters")
    fd = -1
    try:
        fd = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(encoded, _IFF_TAP | _IFF_NO_PI))
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        raise NetError(f"cannot have the tap device {name}: {error.strerror}") from None
    return fd
