"""What a new domain begins with: an image at its start of day, or what was saved of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.builder import Rings, build_domain
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from paravane.domain import Domain
    from paravane.domain_config import DomainConfig
    from paravane.image import Image
    from paravane.migration import Loaded


def of_image(image: Image, config: DomainConfig, domain: Domain, console_port: int, store_port: int) -> Rings:
    """Build an image into a domain, and have its first vcpu stand at its entry. Raises ImageError when it
    does not fit, and MemoryError."""
    start = build_domain(
        domain.memory,
        image,
        config.memory >> PAGE_SHIFT,
        shared_info_mfn=domain.shared_info >> PAGE_SHIFT,
        console_evtchn=console_port,
        store_evtchn=store_port,
        command_line=config.cmdline,
        ramdisk=config.ramdisk,
        privileged=config.privileged,
    )
    domain.memory.vm_assist |= start.vm_assist
    domain.vcpus[0].start(start)
    return Rings(start.console_mfn, start.store_mfn)


def as_saved(loaded: Loaded, domain: Domain, console_port: int, store_port: int) -> Rings:
    """See `paravane.migration.restore`."""
    from paravane.migration import restore  # noqa: PLC0415 - loaded for who asks for it only

    return restore(domain, loaded, console_port=console_port, store_port=store_port)
