"""Boot a kernel and see what came of it, in one call.

result = boot("greet.S", cmdline="Python", timeout=10)
print(result.status, result.console)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paravane import asm, guest_kernels
from paravane.ending import exit_status
from paravane.image import Image, load_image
from paravane.machine import Machine
from paravane.toolstack import DomainConfig

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from paravane.abi.sched import ShutdownReason
    from paravane.ending import StopReason

_SOURCE = ".S"
_NO_DEFINES: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class BootResult:
    """What came of a domain.

    `status` is what `paravane boot` would exit with: 0 after a power-off, 3 after a crash, 124 when the time
    given was used up, ... `ending` says why the run came back and `reason` how the domain ended (None: it
    did not). `console` is all that the kernel printed, up to the last `paravane.domain.TRANSCRIPT` bytes,
    with U+FFFD for what is not UTF-8; `crash_report` is empty unless it crashed.
    """

    status: int
    ending: StopReason
    reason: ShutdownReason | None
    console: str
    crash_report: str


def boot(
    kernel: str | os.PathLike[str] | Image,
    *,
    cmdline: str | None = None,
    memory: int | None = None,
    ramdisk: bytes | None = None,
    stdin: bytes = b"",
    timeout: float | None = None,
    seed: int = 0,
    slice_instructions: int = 0,
    include: Sequence[Path] = (),
    defines: Mapping[str, int] = _NO_DEFINES,
) -> BootResult:
    """Run `kernel` as the only domain of a machine until it ends, or for `timeout` host seconds.

    `kernel` is a source (a file `*.S`, assembled with `include` and `defines`), an image, or the name of a
    kernel that comes with Paravane. `memory` is in bytes; without it and `cmdline` a kernel that comes with
    Paravane gets what it asks for, another one 32 MiB and nothing. `stdin` is what is typed on its console.
    For `seed` and `slice_instructions` see `Machine`.

    Raises OSError for a file that cannot be read, UnknownKernel for a name that is nothing of all that,
    AssemblyError for a source with errors, ImageError for an image that cannot be booted, ValueError for more
    input than a console takes, and TypeError for an argument of a wrong type.
    """
    image, config = _chosen(kernel, include, defines)
    config = DomainConfig(
        name=config.name,
        memory=config.memory if memory is None else memory,
        cmdline=config.cmdline if cmdline is None else cmdline,
        ramdisk=ramdisk,
    )
    size = Machine.size_for(config.memory)
    with Machine(size, seed=seed, slice_instructions=slice_instructions) as machine:
        domain = machine.create(image, config)
        if domain.console.feed(stdin) < len(stdin):
            raise ValueError(f"stdin has {len(stdin)} bytes, more than a console takes before it is read")
        ending = machine.run(timeout=timeout)
        return BootResult(
            exit_status(ending.reason, domain.reason),
            ending.reason,
            domain.reason,
            domain.console_output().decode("utf-8", "replace"),
            domain.crash_report,
        )


def _chosen(
    kernel: str | os.PathLike[str] | Image, include: Sequence[Path], defines: Mapping[str, int]
) -> tuple[Image, DomainConfig]:
    """The image that is meant, and what it is to be booted with if nobody says otherwise."""
    if isinstance(kernel, Image):
        return kernel, DomainConfig()
    path = Path(kernel)
    if not path.exists() and path.name == str(kernel) and not path.suffix:
        known = guest_kernels.load(path.name)
        built = asm.build(known.sources, include=include, defines=defines)
        return load_image(built), DomainConfig(known.name, known.memory, known.cmdline)
    is_source = path.suffix == _SOURCE
    data = asm.build([path], include=include, defines=defines) if is_source else path.read_bytes()
    return load_image(data), DomainConfig(path.stem)
