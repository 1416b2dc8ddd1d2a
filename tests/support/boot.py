"""Boot a guest in this process, or through the installed command, and say what came of it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from paravane import BootResult, DomainConfig, Machine, load_image, quick
from paravane.abi.sched import ShutdownReason
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.tools.image_cache import ImageCache, Request
from paravane.trace import Kind
from tests.support import forked

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Iterator, Sequence

    from paravane.devices.xenbus import DeviceConfig
    from paravane.domain import Domain
    from paravane.ending import Ending
    from paravane.trace import Record

HOST_TIMEOUT = 300.0
"""Seconds after which a guest under test counts as hung: far more than any needs on a loaded host."""

UNHINDERED = tuple(kind for kind in Kind if kind not in {Kind.HYPERCALL, Kind.TRAP, Kind.PAGE})
"""Records that leave a guest to the native gateway: what reads all hypercalls, traps or page types has them
served in Python. A test that reads those asks for them."""


class Run(Protocol):
    """The fixture `run` of tests/guests: what came of a kernel's body, of a domain that shut itself down for
    `reason`; see `finished`."""

    def __call__(self, body: str, reason: ShutdownReason = ShutdownReason.poweroff) -> BootResult: ...


def finished(result: BootResult, reason: ShutdownReason = ShutdownReason.poweroff) -> BootResult:
    """The result, of a domain that shut itself down for that reason and left the hypervisor's books in
    agreement with the page tables. Raises AssertionError with what it printed."""
    story = result.console + result.crash_report + result.where
    assert result.ended(reason), f"{result}: {story}"
    assert result.audit == (), result.audit
    return result


_assembled: ImageCache | None = None


def keep_images(folder: Path) -> None:
    """From now on what `kernel_image` assembles stays in `folder`, for other processes and later runs."""
    global _assembled  # noqa: PLW0603
    _assembled = ImageCache(folder, kept=4096)


@lru_cache(maxsize=64)
def kernel_image(source: str, name: str = "kernel.S") -> bytes:
    """The ELF file of a kernel in assembly, its lines those of a file called `name`. Raises AssemblyError.

    Tests of one file boot the same kernel again and again, and every run the same as the one before it; a
    boot is cheaper than assembling it. What tests the assembler calls it itself.
    """
    request = Request((Path("/", sha256(source.encode()).hexdigest(), name),), (), {})
    if _assembled is not None and (entry := _assembled.find(request)):
        return entry.image
    program = assemble_text(source, name=name)
    image = write_elf(program)
    if _assembled is not None:
        _assembled.keep(request, program, image)
    return image


@dataclass(frozen=True, slots=True)
class Booted:
    """A domain that ran, in its machine, which can still be asked: memory, registers, clocks."""

    machine: Machine
    domain: Domain
    ending: Ending
    records: Sequence[Record]


@contextmanager
def booted(
    guest: bytes | str,
    *,
    memory: int = 32 << 20,
    cmdline: str = "",
    ramdisk: bytes | None = None,
    stdin: bytes = b"",
    seed: int = 0,
    slice_instructions: int = 0,
    trace: Iterable[Kind] = UNHINDERED,
) -> Iterator[Booted]:
    """Run one domain until it ends; its machine is closed with the `with` block.

    `guest` is an image, or a kernel in assembly; `memory` is in bytes. A guest whose output depends on when
    its time passes needs slices counted in instructions.
    """
    image = kernel_image(guest) if isinstance(guest, str) else guest
    records: list[Record] = []
    with Machine(Machine.size_for(memory), seed=seed, slice_instructions=slice_instructions) as machine:
        machine.trace.subscribe(records.append, trace)
        config = DomainConfig(memory=memory, cmdline=cmdline, ramdisk=ramdisk)
        domain = machine.create(load_image(image), config)
        domain.console.feed(stdin)
        yield Booted(machine, domain, machine.run(timeout=HOST_TIMEOUT), records)


def boot(
    guest: bytes | str,
    *,
    memory: int = 32 << 20,
    cmdline: str = "",
    ramdisk: bytes | None = None,
    stdin: bytes = b"",
    seed: int = 0,
    vcpus: int = 1,
    devices: Sequence[DeviceConfig] = (),
    slice_instructions: int = 0,
    trace: Iterable[Kind] = UNHINDERED,
) -> BootResult:
    """What came of one domain that is an image, or a kernel in assembly."""
    return quick.boot(
        load_image(kernel_image(guest) if isinstance(guest, str) else guest),
        memory=memory,
        cmdline=cmdline,
        ramdisk=ramdisk,
        stdin=stdin,
        seed=seed,
        vcpus=vcpus,
        devices=devices,
        slice_instructions=slice_instructions,
        trace=trace,
        timeout=HOST_TIMEOUT,
    )


def paravane(
    *arguments: str, stdin: bytes = b"", timeout: float = HOST_TIMEOUT
) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own; see `tests.support.forked`."""
    return forked.run(arguments, stdin=stdin, timeout=timeout)
