"""Framebuffers of runs that are recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.devices.framebuffer import FramebufferDevice, Vfb
    from paravane.devices.xenbus import DeviceHost


@dataclass(frozen=True, slots=True)
class KeptVfb:
    """A framebuffer: `placed` is told at which address and port of the host it is shown, which its guest can
    read."""

    vfb: Vfb
    placed: Callable[[str, int], None]

    def open(self, host: DeviceHost) -> FramebufferDevice:
        """Raises ValueError."""
        device = self.vfb.open(host)
        if device.address is not None:
            self.placed(*device.address)
        return device
