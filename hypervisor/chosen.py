"""What somebody means by a kernel: a source, several, a text, an image, a folder or a name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import asm, compiler, guest_kernels
from paravane.asm.elf_writer import write_elf
from paravane.classes import dataclass
from paravane.devices.block import disks_of
from paravane.devices.console import consoles_of, parse_console
from paravane.devices.framebuffer import vfbs_of
from paravane.devices.net.vif import vifs_of
from paravane.guest_kernels.folder import load_folder
from paravane.image import Image, load_image
from paravane.tlb import TlbKind, TlbSpec

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from paravane.devices.console import ConsoleSpec
    from paravane.devices.xenbus import DeviceConfig
    from paravane.guest_kernels import GuestKernel

_TEXT_NAME: Final = "<source>"


@dataclass(frozen=True, slots=True)
class Defaults:
    """How a kernel is booted if nobody says otherwise; see `paravane.guest_kernels.folder.GuestKernel`."""

    memory: int = 32 << 20
    vcpus: int = 1
    tlb: TlbSpec | None = None
    privileged: bool = False
    cmdline: str = ""
    ramdisk: bytes | None = None
    console: ConsoleSpec | None = None
    devices: tuple[DeviceConfig, ...] = ()
    stdin: bytes = b""
    timeout: float | None = None
    max_traps: int = 0
    seed: int = 0
    deterministic: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """An image, its name, and how it is booted."""

    image: Image
    name: str
    defaults: Defaults = Defaults()


def choose(
    kernel: str | os.PathLike[str] | Image | Sequence[str | os.PathLike[str]] | GuestKernel,
    include: Sequence[Path],
    defines: Mapping[str, int],
) -> Chosen:
    """The image that is meant, built if it has to be. Raises as `paravane.boot` does."""
    if isinstance(kernel, Image):
        return Chosen(kernel, "guest")
    if isinstance(kernel, guest_kernels.GuestKernel):
        return _known(kernel, include, defines)
    if isinstance(kernel, str) and "\n" in kernel:
        program = asm.assemble_text(kernel, name=_TEXT_NAME, include=include, defines=defines)
        return Chosen(load_image(write_elf(program)), "guest")
    if isinstance(kernel, Sequence) and not isinstance(kernel, str | bytes):
        sources = [Path(source) for source in kernel]
        if not sources:
            raise ValueError("a kernel has at least one source")
        return Chosen(load_image(compiler.build(sources, include=include, defines=defines)), sources[0].stem)
    path = Path(kernel)
    if not path.exists() and path.name == str(kernel) and not path.suffix:
        return _known(guest_kernels.load(path.name), include, defines)
    if path.is_dir():
        return _known(load_folder(path), include, defines)
    is_source = path.suffix in compiler.SUFFIXES
    data = compiler.build([path], include=include, defines=defines) if is_source else path.read_bytes()
    return Chosen(load_image(data), path.stem)


def _known(kernel: GuestKernel, include: Sequence[Path], defines: Mapping[str, int]) -> Chosen:
    console, extras = consoles_of([parse_console(text) for text in kernel.consoles])
    built = compiler.build(kernel.sources, include=include, defines={**kernel.defines, **defines})
    return Chosen(
        load_image(built),
        kernel.name,
        Defaults(
            kernel.memory,
            kernel.vcpus,
            None if kernel.tlb is None else TlbSpec(TlbKind[kernel.tlb]),
            kernel.privileged,
            kernel.cmdline,
            _ramdisk(kernel, include),
            console,
            (*_devices(kernel), *extras),
            kernel.input,
            kernel.timeout,
            kernel.max_traps,
            kernel.seed,
            kernel.deterministic,
        ),
    )


def _devices(kernel: GuestKernel) -> tuple[DeviceConfig, ...]:
    screens = (device for vfb in vfbs_of(kernel.vfbs) for device in vfb.devices)
    return (*disks_of(kernel.disks, kernel.folder), *vifs_of(kernel.vifs), *screens)


def _ramdisk(kernel: GuestKernel, include: Sequence[Path]) -> bytes | None:
    """A file's contents, or the image of another kernel."""
    if kernel.ramdisk_kernel is not None:
        other = guest_kernels.load(kernel.ramdisk_kernel)
        return compiler.build(other.sources, include=include, defines=other.defines)
    return kernel.ramdisk.read_bytes() if kernel.ramdisk else None
