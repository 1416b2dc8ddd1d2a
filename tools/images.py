"""What a user means by KERNEL: the same for every command that looks at a kernel."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import ImageError, guest_kernels, load_image
from paravane.classes import NamedTuple
from paravane.guest_kernels.folder import load_folder
from paravane.guest_kernels.settings import KernelFileError
from paravane.tools import image_cache
from paravane.tools.arguments import add_source_options
from paravane.tools.files import read_file
from paravane.tools.image_cache import Entry
from paravane.tools.progress import telling
from paravane.tools.screens import vfbs_of
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import tell

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from paravane import Image
    from paravane.devices.block import Disk
    from paravane.devices.console import ConsoleSpec
    from paravane.devices.framebuffer import Vfb
    from paravane.devices.net.vif import Vif
    from paravane.guest_kernels import GuestKernel

METAVAR: Final = "KERNEL"
_ASSEMBLY, _C = ".S", ".c"


class Found(NamedTuple):
    """The contents of an image, as they are in the file (packed ones too) or as they were built, and the
    files that were read for them. `memory` (bytes), `vcpus`, `privileged`, `cmdline`, `ramdisk`, `disks`,
    `vifs`, `consoles` and `vfbs` are what a `kernel.toml` says; `ramdisk_image` is that of a kernel which is
    the ramdisk."""

    name: str
    data: bytes
    inputs: tuple[Path, ...]
    memory: int | None = None
    cmdline: str = ""
    ramdisk: Path | None = None
    ramdisk_image: bytes | None = None
    vcpus: int = 1
    tlb: str | None = None
    privileged: bool = False
    disks: tuple[Disk, ...] = ()
    vifs: tuple[Vif, ...] = ()
    consoles: tuple[ConsoleSpec, ...] = ()
    vfbs: tuple[Vfb, ...] = ()

    def with_ramdisk(self, given: Path | None) -> Found:
        """This with the contents of its ramdisk in `ramdisk_image`: those of the file that is given rather
        than of its own. UsageError for a file that is too large, OSError as reading does."""
        ramdisk = given or self.ramdisk
        if ramdisk is None:
            return self
        return self._replace(ramdisk_image=read_file(ramdisk, "a ramdisk"), inputs=(*self.inputs, ramdisk))


def add_image(parser: argparse.ArgumentParser) -> None:
    """The argument, and the options of a kernel that has to be built first."""
    parser.add_argument(
        "image",
        metavar=METAVAR,
        help="an image (ELF or bzImage, packed or not), a name of `paravane list`, a source (.S, or .c where "
        "gcc is), or a folder with a kernel.toml",
    )
    add_source_options(parser)


def load(options: argparse.Namespace, data: bytes) -> Image:
    """The image in the file that was found. UsageError when it is none."""
    try:
        with telling(lambda: f"unpacking {options.image}"):
            return load_image(data)
    except ImageError as error:
        raise UsageError(f"{options.image}: {error}", Status.IMAGE) from None


def source_folders(options: argparse.Namespace) -> tuple[Path, ...]:
    """Where the sources that an image names may be, besides where it says: what was included."""
    return (*options.include, *own_folders())


def own_folders() -> tuple[Path, ...]:
    """Where the sources are that come with Paravane: the assembler and the compiler name them from there. The
    assembler is found without loading it."""
    spec = find_spec("paravane.asm")
    found = spec.submodule_search_locations if spec is not None else None
    package = Path(next(iter(found or ()))).parent
    return package / "asm" / "include", package / "guest_kernels", package


def kernel_of(options: argparse.Namespace) -> GuestKernel | None:
    """The kernel that is meant by a name or a folder. UsageError for a folder with mistakes."""
    path = Path(options.image)
    try:
        if path.is_dir():
            return load_folder(path)
        if options.image in guest_kernels.names() and not path.exists():
            return guest_kernels.load(options.image)
    except KernelFileError as error:
        raise UsageError(str(error)) from None
    return None


def check_exists(options: argparse.Namespace) -> None:
    """UsageError for what is no kernel's name where there is no file of that name either."""
    if not Path(options.image).exists():
        raise UsageError(f"{options.image} is neither a file nor a guest kernel; `paravane list` shows those")


def find(options: argparse.Namespace) -> Found:
    """Read or build it. UsageError when it is nothing of that or has errors, OSError as reading does."""
    path, kernel = Path(options.image), kernel_of(options)
    defines = dict(options.define)
    if kernel is not None:
        bare = kernel.bare if getattr(options, "personality", "xen") == "full" else None
        entry = _built(kernel.sources, options, {**kernel.defines, **(bare or {}), **defines})
        inputs = entry.inputs if kernel.ramdisk is None else (*entry.inputs, kernel.ramdisk)
        other = None if kernel.ramdisk_kernel is None else guest_kernels.load(kernel.ramdisk_kernel)
        return Found(
            kernel.name,
            entry.image,
            inputs,
            memory=kernel.memory,
            vcpus=kernel.vcpus,
            tlb=kernel.tlb,
            privileged=kernel.privileged,
            cmdline=kernel.cmdline,
            ramdisk=kernel.ramdisk,
            disks=_disks(kernel),
            vifs=_vifs(kernel),
            consoles=_consoles(kernel),
            vfbs=_vfbs(kernel),
            ramdisk_image=None if other is None else _built(other.sources, options, other.defines).image,
        )
    if path.suffix in (_ASSEMBLY, _C):
        entry = _built((path,), options, defines)
        return Found(path.stem, entry.image, entry.inputs)
    check_exists(options)
    return Found(path.stem, read_file(path, "an image"), (path,))


def _disks(kernel: GuestKernel) -> tuple[Disk, ...]:
    if not kernel.disks:
        return ()
    try:
        found: tuple[Disk, ...] = import_module("paravane.devices.block").disks_of(
            kernel.disks, kernel.folder
        )
        return found
    except ValueError as error:
        raise UsageError(f"{kernel.name}: {error}") from None


def _vifs(kernel: GuestKernel) -> tuple[Vif, ...]:
    if not kernel.vifs:
        return ()
    try:
        found: tuple[Vif, ...] = import_module("paravane.devices.net.vif").vifs_of(kernel.vifs)
        return found
    except ValueError as error:
        raise UsageError(f"{kernel.name}: {error}") from None


def _consoles(kernel: GuestKernel) -> tuple[ConsoleSpec, ...]:
    if not kernel.consoles:
        return ()
    parse = import_module("paravane.devices.console").parse_console
    try:
        return tuple(parse(text) for text in kernel.consoles)
    except ValueError as error:
        raise UsageError(f"{kernel.name}: {error}") from None


def _vfbs(kernel: GuestKernel) -> tuple[Vfb, ...]:
    try:
        return vfbs_of(kernel.vfbs)
    except ValueError as error:
        raise UsageError(f"{kernel.name}: {error}") from None


def _built(sources: Sequence[Path], options: argparse.Namespace, defines: Mapping[str, int]) -> Entry:
    """What sources make. The assembler is loaded when the cache lacks it; what gcc makes is not kept."""
    if any(source.suffix == _C for source in sources):
        return _compiled(sources, options.include, defines)
    cache = image_cache.of_user()
    request = image_cache.Request(sources, options.include, defines)
    entry = None if cache is None else cache.find(request)
    if entry is None:
        made: Entry = import_module("paravane.tools.build").entry(request, cache)
        return made
    for warning in entry.warnings:
        tell(warning)
    return entry


def _compiled(sources: Sequence[Path], include: Sequence[Path], defines: Mapping[str, int]) -> Entry:
    asm, compiler = import_module("paravane.asm"), import_module("paravane.compiler")
    try:
        with telling(lambda: f"compiling {', '.join(map(str, sources))}"):
            image = compiler.build(sources, include=include, defines=defines)
        return Entry(image, tuple(sources), ())
    except (compiler.CompilerError, asm.AssemblyError) as error:
        tell(str(error))
        raise UsageError("there are errors, nothing was built", Status.ERRORS) from None
    except compiler.NoCompiler as error:
        raise UsageError(str(error), Status.ERRORS) from None
