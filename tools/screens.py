"""Framebuffers, as commands meet them: described in a line, found by VNC viewers, kept as a picture."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from paravane.text import shown
from paravane.tools.files import write_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from paravane import Domain
    from paravane.devices.framebuffer import FramebufferDevice, Vfb

_KIND: Final = "vfb"


def vfbs_of(texts: Iterable[str]) -> tuple[Vfb, ...]:
    """The framebuffers of a domain. Raises ValueError, one sentence. The devices are loaded when there are
    any."""
    wanted = tuple(texts)
    if not wanted:
        return ()
    found: tuple[Vfb, ...] = import_module("paravane.devices.framebuffer").vfbs_of(wanted)
    return found


def framebuffers(domain: Domain) -> Iterator[FramebufferDevice]:
    """Those that a domain has now."""
    for attachment in domain.devices:
        if attachment.device.kind == _KIND:
            yield cast("FramebufferDevice", attachment.device)


def save(domain: Domain, number: int, path: Path) -> None:
    """Write what a framebuffer shows now into a PNG file. Raises ValueError, a sentence, when the domain has
    none of that number, and OutputError."""
    device = next((one for one in framebuffers(domain) if one.number == number), None)
    if device is None:
        raise ValueError(f"{shown(domain.name)} has no framebuffer {number}")
    write_file(path, import_module("paravane.devices.framebuffer").screenshot(device.display))


def addresses(domain: Domain) -> Iterator[str]:
    """A line for each VNC server of a domain: where it listens."""
    for device in framebuffers(domain):
        if device.server is not None:
            yield f"{shown(domain.name)}: VNC at {place(*device.server.address)}"


def place(address: str, port: int) -> str:
    """As it is typed: an address of IPv6 has colons itself."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
