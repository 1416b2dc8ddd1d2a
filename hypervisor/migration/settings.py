"""The configuration in a saved domain: JSON, with the names that libxl gives what both know
(libxl_domain_config of tools/libs/light/libxl_types.idl)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paravane.classes import dataclass
from paravane.memory import MAX_VCPUS
from paravane.migration.stream import StreamError
from paravane.sched import Share

if TYPE_CHECKING:
    from paravane.domain import Domain
    from paravane.domain_config import DomainConfig

_MOST_MEMORY_KIB = 4 << 20
_MOST_NAME = 256
_MOST_DEVICES = 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """What a domain is besides what its memory and its vcpus hold. Memory is in KiB; `devices` names what its
    kernel expects to find again, by kind and number, as in `vbd/51712`."""

    name: str
    handle: UUID
    vcpus: int
    online_vcpus: int
    memory_kib: int
    max_memory_kib: int
    share: Share
    devices: tuple[str, ...]


def settings_of(domain: Domain) -> Settings:
    """Those of a domain that is on the machine."""
    vcpus = len(domain.vcpus)
    return Settings(
        name=domain.name,
        handle=domain.handle,
        vcpus=vcpus,
        online_vcpus=vcpus if domain.online_vcpus is None else domain.online_vcpus,
        # One that was asked to give some back has what it has, and has to find room for it.
        memory_kib=max(domain.memory.target, domain.memory.tot_pages) * 4,
        max_memory_kib=domain.max_memory >> 10,
        share=domain.share,
        devices=tuple(attachment.name for attachment in domain.devices),
    )


def to_json(settings: Settings) -> str:
    """As one line of text."""
    return json.dumps(
        {
            "c_info": {"type": "pv", "name": settings.name, "uuid": str(settings.handle)},
            "b_info": {
                "max_vcpus": settings.vcpus,
                "avail_vcpus": list(range(settings.online_vcpus)),
                "target_memkb": settings.memory_kib,
                "max_memkb": settings.max_memory_kib,
                "sched_params": {"weight": settings.share.weight, "cap": settings.share.cap},
            },
            "paravane": {"devices": list(settings.devices)},
        }
    )


def from_json(text: str) -> Settings:
    """Raises StreamError for what is no configuration of a domain."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        raise StreamError("its configuration is no JSON") from None
    about, build = _part(config, "c_info"), _part(config, "b_info")
    if about.get("type", "pv") != "pv":
        raise StreamError("it is no paravirtual domain")
    share = _part(build, "sched_params")
    try:
        handle = UUID(_text(about, "uuid"))
        weight = _number(share, "weight", 65535, Share().weight)
        found = Share(weight or Share().weight, _number(share, "cap", 6400, 0))
    except ValueError as error:
        raise StreamError(f"its configuration is wrong: {error}") from None
    vcpus = max(1, _number(build, "max_vcpus", MAX_VCPUS, 1))
    devices = _part(config, "paravane").get("devices", [])
    if not isinstance(devices, list) or len(devices) > _MOST_DEVICES:
        raise StreamError("its configuration has no list of devices")
    memory = _number(build, "target_memkb", _MOST_MEMORY_KIB, 0)
    return Settings(
        name=_text(about, "name"),
        handle=handle,
        vcpus=vcpus,
        online_vcpus=_online(build, vcpus),
        memory_kib=memory,
        max_memory_kib=max(memory, _number(build, "max_memkb", _MOST_MEMORY_KIB, memory)),
        share=found,
        devices=tuple(str(name)[:_MOST_NAME] for name in devices),
    )


def _part(whole: object, name: str) -> dict[str, Any]:
    part = whole.get(name, {}) if isinstance(whole, dict) else None
    if not isinstance(part, dict):
        raise StreamError(f"its configuration has no part {name}")
    return part


def _text(part: dict[str, Any], name: str) -> str:
    text = part.get(name)
    if not isinstance(text, str) or not 0 < len(text) <= _MOST_NAME or not _fits_xenstore(text):
        raise StreamError(f"its configuration has no {name}")
    return text


def _fits_xenstore(text: str) -> bool:
    """JSON may hold a null character, and half of a surrogate pair, which has no bytes in UTF-8."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _number(part: dict[str, Any], name: str, most: int, usual: int) -> int:
    number = part.get(name, usual)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= most:
        raise StreamError(f"its configuration has no {name} from 0 to {most}")
    return number


def _online(build: dict[str, Any], vcpus: int) -> int:
    """libxl names the vcpus that are online; here it is always the first ones."""
    online = build.get("avail_vcpus")
    if online is None:
        return vcpus
    if not isinstance(online, list) or not 1 <= len(online) <= vcpus:
        raise StreamError("its configuration has no list of the vcpus that are online")
    return len(online)


def configured(settings: Settings, config: DomainConfig) -> DomainConfig:
    """What a domain is to be that goes on: as it was, and with what `config` has of the host's. Raises
    StreamError for one whose memory was larger than it can be, and where it would be built anew when it ends,
    for which its kernel is wanted."""
    if config.on_end.builds_anew:
        raise StreamError("it cannot be built anew when it ends: of what kernel it was made is not known")
    return replace(
        config,
        name=settings.name,
        memory=settings.memory_kib << 10,
        max_memory=settings.max_memory_kib << 10,
        vcpus=settings.vcpus,
        online_vcpus=settings.online_vcpus,
        weight=settings.share.weight,
        cap=settings.share.cap,
        ramdisk=None,
        cmdline="",
        privileged=False,
    )
