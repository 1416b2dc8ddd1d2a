"""Boot a kernel and see what came of it, in one call.

result = boot("greet.S", cmdline="Python", timeout=10)
print(result.status, result.console)
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from paravane.arguments import check_type
from paravane.boot_result import BootResult, Console
from paravane.chosen import choose
from paravane.domain_config import DomainConfig
from paravane.machine import DETERMINISTIC_SLICE, Machine
from paravane.trace import Kind

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from paravane.devices.xenbus import DeviceConfig
    from paravane.domain import Domain
    from paravane.ending import StopReason
    from paravane.guest_kernels import GuestKernel
    from paravane.image import Image
    from paravane.tlb import TlbSpec
    from paravane.trace import Record, Selection

KEPT: Final = 1_000_000
"""Records of a run that its result keeps, the last ones: a guest that runs for ever fills no memory."""

_NO_DEFINES: Mapping[str, int] = {}


def boot(
    kernel: str | os.PathLike[str] | Image | GuestKernel | Sequence[str | os.PathLike[str]],
    *,
    cmdline: str | None = None,
    memory: int | None = None,
    vcpus: int | None = None,
    privileged: bool | None = None,
    ramdisk: bytes | None = None,
    devices: Sequence[DeviceConfig] | None = None,
    tlb: TlbSpec | None = None,
    stdin: bytes | None = None,
    timeout: float | None = None,
    default_timeout: float | None = None,
    max_traps: int | None = None,
    seed: int | None = None,
    deterministic: bool | None = None,
    slice_instructions: int = 0,
    debug: bool = True,
    trace: Iterable[Kind] | Selection = tuple(Kind),
    include: Sequence[Path] = (),
    defines: Mapping[str, int] = _NO_DEFINES,
) -> BootResult:
    """Run `kernel` as a machine's only domain until it ends, or for `timeout` seconds, or `max_traps` traps.

    `kernel` is a source (`*.S`, or `*.c` where there is a compiler) or a list of such, built with `include`
    and `defines`; the text of a source in assembly (whatever has more than one line); an image; a folder
    with a `kernel.toml`, or what was read of one; or the name of a kernel that comes with Paravane. What is
    not given is as `kernel.toml` says, else 32 MiB and nothing; a time limit of `default_timeout` is for
    those that have none there. `memory` is in bytes, `vcpus` are processors; a `privileged` one is the
    control domain. `devices` are its disks (`Disk`) and others. `stdin` is what is typed on its console. For
    `seed`, `slice_instructions` and `debug` see `Machine`; `deterministic` is slices of
    `DETERMINISTIC_SLICE`; for `tlb`, `DomainConfig`. `trace` says which records the result is to have: less
    is faster, and none is `()`.

    Raises OSError for a file that cannot be read, UnknownKernel for a name that is nothing of all that,
    KernelFileError for a folder with mistakes, AssemblyError or CompilerError for a source with errors,
    NoCompiler for one in C without a compiler, ImageError for an image that cannot be booted, ValueError for
    more input than a console takes and for a device that cannot be had, and TypeError for an argument of a
    wrong type."""
    check_type("deterministic", deterministic, bool, type(None))
    chosen = choose(kernel, include, defines)
    known = chosen.defaults
    config = DomainConfig(
        name=chosen.name,
        memory=known.memory if memory is None else memory,
        vcpus=known.vcpus if vcpus is None else vcpus,
        privileged=known.privileged if privileged is None else privileged,
        cmdline=known.cmdline if cmdline is None else cmdline,
        ramdisk=known.ramdisk if ramdisk is None else ramdisk,
        console=known.console,
        devices=known.devices if devices is None else tuple(devices),
        tlb=known.tlb if tlb is None else tlb,
    )
    counted = known.deterministic if deterministic is None else deterministic
    typed = known.stdin if stdin is None else stdin
    with Machine(
        Machine.size_for(config.memory + config.overhead, privileged=config.privileged),
        seed=known.seed if seed is None else seed,
        slice_instructions=slice_instructions or (DETERMINISTIC_SLICE if counted else 0),
        debug=debug,
    ) as machine:
        records = Kept()
        machine.trace.subscribe(records.take, trace)
        domain = machine.create(chosen.image, config)
        feed(domain, typed)
        ending = machine.run(
            timeout=next((limit for limit in (timeout, known.timeout) if limit is not None), default_timeout),
            max_traps=known.max_traps if max_traps is None else max_traps,
        )
        return result_of(machine, domain, ending.reason, records)


class Kept:
    """The last `KEPT` records, and how many there were."""

    def __init__(self) -> None:
        self.last: deque[Record] = deque(maxlen=KEPT)
        self.taken = 0

    def take(self, record: Record) -> None:
        self.last.append(record)
        self.taken += 1


def feed(domain: Domain, typed: bytes) -> None:
    """Type on its console before it runs. ValueError for more than that takes."""
    if domain.console.feed(typed) < len(typed):
        raise ValueError(f"stdin has {len(typed)} bytes, more than a console takes before it is read")


def result_of(machine: Machine, domain: Domain, ending: StopReason, records: Kept) -> BootResult:
    """What came of a domain, as data that outlives its machine. `ending` is why that stopped running."""
    return BootResult(
        name=domain.name,
        ending=ending,
        reason=domain.reason,
        console=Console(domain.console_output().decode("utf-8", "replace")),
        crash_report=domain.crash_report,
        where=domain.where() if domain.alive else "",
        audit=tuple(machine.audit()),
        records=tuple(records.last),
        lost=records.taken - len(records.last),
    )
