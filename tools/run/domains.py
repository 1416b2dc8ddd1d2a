"""The domains of `paravane run`: from .cfg files to images and configurations."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import DomainConfig, Image, ImageError, Machine, guest_kernels, load_image
from paravane.classes import dataclass
from paravane.devices.block import located
from paravane.devices.console import consoles_of
from paravane.text import shown
from paravane.tlb import TlbKind, TlbSpec
from paravane.tools import images
from paravane.tools.config.domain import DEFAULT_MEMORY, MIB, DomainSettings, read_domain
from paravane.tools.config.syntax import ConfigError
from paravane.tools.files import read_file
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.devices.framebuffer import Vfb
    from paravane.devices.net.vif import Vif
    from paravane.tools.images import Found

LARGEST: Final = 1 << 20
"""Bytes of the largest .cfg file."""

SUFFIX: Final = ".cfg"
MACHINE_MEMORY: Final = 4 << 30
"""What 32-bit page-table roots can address: no machine is larger."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A domain to be, and the files that were read for it."""

    settings: DomainSettings
    image: Image
    config: DomainConfig
    inputs: tuple[Path, ...]
    vifs: tuple[Vif, ...]
    vfbs: tuple[Vfb, ...]

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def memory(self) -> int:
        """Bytes that the machine has to have for it."""
        return self.config.most_memory + self.config.overhead


def files_of(words: Sequence[str]) -> list[Path]:
    """The .cfg files that are meant by files, folders, and names of kernels that come with Paravane."""
    found: list[Path] = []
    for word in words:
        path = Path(word)
        if not path.exists() and word in guest_kernels.names():
            path = guest_kernels.folder_of(word)
        if path.is_dir():
            inside = sorted(path.glob(f"*{SUFFIX}"))
            if not inside:
                raise UsageError(f"{path}: there is no {SUFFIX} file in it")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"{word} is neither a file nor a guest kernel; `paravane list` shows those")
    return found


def plan(files: Sequence[Path]) -> list[Planned]:
    """The domains of these files, their kernels built; a control domain comes first. UsageError for any
    mistake in them."""
    known: dict[str, tuple[Found, Image]] = {}
    planned = [_planned(path, known) for path in files]
    names: dict[str, Planned] = {}
    for domain in planned:
        if (other := names.setdefault(domain.name, domain)) is not domain:
            raise UsageError(
                f"{domain.settings.source} and {other.settings.source} both call their domain {domain.name!r}"
            )
    control = [domain for domain in planned if domain.config.privileged]
    if len(control) > 1:
        places = " and ".join(domain.settings.source for domain in control)
        raise UsageError(f"a machine has one control domain, and {places} both want to be it")
    planned.sort(key=lambda domain: not domain.config.privileged)
    needed = Machine.size_for(*(domain.memory for domain in planned), privileged=bool(control))
    if needed > MACHINE_MEMORY:
        raise UsageError(f"domains that need {needed >> 20} MiB do not fit into a machine of 4 GiB")
    return planned


def seed_of(planned: Sequence[Planned], given: int | None) -> int:
    """The machine's seed: the one on the command line, or the one that the files agree on, else 0."""
    seeds = {domain.settings.seed: domain for domain in planned if domain.settings.seed is not None}
    if given is not None or not seeds:
        return given or 0
    if len(seeds) > 1:
        places = " and ".join(f"{domain.settings.source} ({seed})" for seed, domain in seeds.items())
        raise UsageError(f"a machine has one seed, and {places} want different ones")
    return next(iter(seeds))


def _planned(path: Path, known: dict[str, tuple[Found, Image]]) -> Planned:
    source = shown(str(path))
    data = read_file(path, "a configuration", LARGEST)
    try:
        settings = read_domain(data.decode("utf-8", "surrogateescape"), source)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    kernel = _beside(path, settings.kernel)
    if kernel not in known:
        known[kernel] = _kernel(kernel, source)
    found, image = known[kernel]
    found = found.with_ramdisk(Path(_beside(path, settings.ramdisk)) if settings.ramdisk else None)
    memory = settings.memory or found.memory or DEFAULT_MEMORY * MIB
    vcpus = settings.max_vcpus or settings.vcpus or found.vcpus
    disks = tuple(located(disk, partial(_beside, path)) for disk in settings.disks) or found.disks
    vifs = settings.vifs or found.vifs
    console, extras = consoles_of(found.consoles)
    vfbs = settings.vfbs or found.vfbs
    screens = [device for vfb in vfbs for device in replace(vfb, title=shown(settings.name)).devices]
    config = DomainConfig(
        shown(settings.name),
        memory,
        vcpus=vcpus,
        online_vcpus=settings.vcpus or (1 if settings.max_vcpus else vcpus),
        cmdline=found.cmdline if settings.cmdline is None else settings.cmdline,
        ramdisk=found.ramdisk_image,
        max_memory=max(memory, settings.max_memory or 0),
        on_end=settings.on_end,
        source_text=True,
        source_folders=images.own_folders(),
        privileged=settings.privileged or found.privileged,
        console=settings.console or console,
        devices=(*disks, *vifs, *(settings.extra_consoles or extras), *screens),
    )
    inputs = (path, *found.inputs)
    inputs += tuple(file for disk in disks for file in disk.files)
    given = {
        "max_event_channels": settings.max_event_channels,
        "grants": settings.grants,
        "weight": settings.cpu_weight,
        "cap": settings.cap,
        "tlb": settings.tlb or (None if found.tlb is None else TlbSpec(TlbKind[found.tlb])),
    }
    config = replace(config, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    return Planned(settings, image, config, inputs, vifs, vfbs)


def _beside(path: Path, name: str) -> str:
    """A file's name as the .cfg has it: beside the .cfg if it is there, else as it stands."""
    beside = path.parent / name
    return str(beside) if beside.exists() else name


def _kernel(kernel: str, source: str) -> tuple[Found, Image]:
    try:
        found = images.find(argparse.Namespace(image=kernel, include=[], define=[]))
        return found, load_image(found.data)
    except ImageError as error:
        raise UsageError(f"{source}: {kernel}: {error}", Status.IMAGE) from None
    except UsageError as error:
        raise UsageError(f"{source}: {error}", error.status) from None
