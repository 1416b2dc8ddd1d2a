"""The devices of one domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.devices.xenbus.attachment import Attachment, AttachmentState
    from paravane.devices.xenbus.device import Device, DeviceConfig
    from paravane.devices.xenbus.host import DeviceHost


class DomainDevices:
    """Attaches devices to a domain, and finds them again. Iterates over them in the order they came."""

    def __init__(self, host: DeviceHost, domid: int) -> None:
        self._host = host
        self._domid = domid
        self._attached: dict[tuple[str, int], Attachment] = {}

    def __iter__(self) -> Iterator[Attachment]:
        return iter(tuple(self._attached.values()))

    @property
    def configs(self) -> tuple[DeviceConfig, ...]:
        """What its devices are, for the domain's next life."""
        return tuple(attachment.config for attachment in self)

    def attach(self, config: DeviceConfig) -> Attachment:
        """Open a device and give it to the domain, before its kernel runs or while it does. Raises
        ValueError, a sentence, when it cannot be opened, the domain has one of that kind and number already,
        or the domain has no nodes in xenstore by which it could find it."""
        if not self._host.store.is_known(self._domid):
            raise ValueError(f"domain {self._domid} is not in the machine's xenstore: it can have no devices")
        device = config.open(self._host)
        place = (device.kind, device.number)
        if place in self._attached:
            device.close()
            raise ValueError(f"domain {self._domid} has a device {device.kind}/{device.number} already")
        from paravane.devices.xenbus.attachment import Attachment  # noqa: PLC0415 - loaded for who asks for it only

        attachment = Attachment(self._host, self._domid, device, config, self._gone)
        self._attached[place] = attachment
        return attachment

    def resume(self, config: DeviceConfig, device: Device, kept: AttachmentState) -> Attachment:
        """A device that the domain had before all was kept. Raises ValueError, DeviceFault and RingFault for
        what cannot have been."""
        place = (device.kind, device.number)
        if place in self._attached:
            device.close()
            raise ValueError(f"domain {self._domid} has a device {device.kind}/{device.number} already")
        from paravane.devices.xenbus.attachment import Attachment  # noqa: PLC0415 - loaded for who asks for it only

        try:
            attachment = Attachment(self._host, self._domid, device, config, self._gone, kept)
        except BaseException:
            device.close()
            raise
        self._attached[place] = attachment
        return attachment

    @property
    def host(self) -> DeviceHost:
        """What its devices work with."""
        return self._host

    def find(self, kind: str, number: int) -> Attachment | None:
        """The device of this kind and number, or None."""
        return self._attached.get((kind, number))

    def close(self) -> None:
        """The domain is about to be taken away: close all its devices. Idempotent."""
        for attachment in self:
            attachment.close()

    def _gone(self, attachment: Attachment) -> None:
        del self._attached[attachment.device.kind, attachment.device.number]
