"""A folder with a kernel in it: how it is built and booted, and what it promises to print.

`NAME/` holds sources (`*.S`, `*.c`), `kernel.toml` (see `settings`) and `expected.txt`, its console as
patterns (see `expected`). A variation named V is held against `expected-V.txt` where that exists.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from paravane.classes import dataclass
from paravane.guest_kernels.settings import KernelFileError, read_settings, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTINGS: Final = "kernel.toml"
_MIB: Final = 1 << 20
_SOURCES: Final = ("*.S", "*.c")


@dataclass(frozen=True, slots=True)
class GuestKernel:
    """One guest kernel and what a right hypervisor makes of it.

    `name` is the folder's, with `~VARIATION` after it if it is one; `folder` is where its disks' files are.
    `memory` is in bytes, `timeout` in host seconds; `environments` are XTF's names of those it is for.
    `tlb` is what `paravane boot --tlb` takes (None: it is not modelled).
    `bare` are the symbols that its form for a bare PC has besides `defines`; None: it has no such form.
    `exit_status` is that of `paravane boot`: 0 after a power-off, 3 after a crash. `expectation` is the file
    that says what it prints; it need not exist for a kernel that prints its own verdict. `hints` are
    sentences for who fails it, by the regular expression of a line that speaks for them
    (`paravane.testing.hints`).
    """

    name: str
    folder: Path
    description: str
    sources: tuple[Path, ...]
    memory: int
    vcpus: int
    tlb: str | None
    privileged: bool
    cmdline: str
    ramdisk: Path | None
    ramdisk_kernel: str | None
    disks: tuple[str, ...]
    vifs: tuple[str, ...]
    consoles: tuple[str, ...]
    vfbs: tuple[str, ...]
    input: bytes
    exit_status: int
    timeout: float
    max_traps: int
    seed: int
    deterministic: bool
    defines: Mapping[str, int]
    bare: Mapping[str, int] | None
    hints: Mapping[str, str]
    environments: tuple[str, ...]
    expectation: Path

    @property
    def expected(self) -> str:
        """The console, lines as `guest_kernels.expected` has them. Raises OSError without such a file,
        KernelFileError for what is no text."""
        return text_of(self.expectation)


def load_folder(folder: Path) -> GuestKernel:
    """The kernel of a folder. Raises KernelFileError for what is no such folder, OSError for files that
    cannot be read."""
    return load_variations(folder)[0]


def load_variations(folder: Path) -> tuple[GuestKernel, ...]:
    """The kernel of a folder, and after it each of its variations. Raises as `load_folder` does."""
    if not (folder / SETTINGS).exists():
        raise KernelFileError(f"{folder}: this is no kernel's folder, for it has no {SETTINGS}")
    settings = read_settings(folder / SETTINGS)
    return tuple(_kernel(folder, variation, values) for variation, values in settings.items())


def _kernel(folder: Path, variation: str, values: Mapping[str, Any]) -> GuestKernel:
    ramdisk = None if values["ramdisk"] is None else _inside(folder, values["ramdisk"])
    _check_ramdisk_kernel(folder, values)
    own = folder / f"expected-{variation}.txt"
    return GuestKernel(
        # Through `abspath`: the folder may be given as `.`, which has no name.
        name=os.path.basename(os.path.abspath(folder)) + (f"~{variation}" if variation else ""),
        folder=folder,
        description=values["description"],
        sources=_sources(folder, values["sources"]),
        memory=values["memory_mib"] * _MIB,
        vcpus=values["vcpus"],
        tlb=values["tlb"],
        privileged=values["privileged"],
        cmdline=values["cmdline"],
        ramdisk=ramdisk,
        ramdisk_kernel=values["ramdisk_kernel"],
        disks=tuple(values["disks"]),
        vifs=tuple(values["vifs"]),
        consoles=tuple(values["consoles"]),
        vfbs=tuple(values["vfbs"]),
        input=values["input"].encode(),
        exit_status=values["exit_status"],
        timeout=values["timeout"],
        max_traps=values["max_traps"],
        seed=values["seed"],
        deterministic=values["deterministic"],
        defines=values["defines"],
        bare=values["bare"],
        hints=values["hints"],
        environments=tuple(values["environments"]),
        expectation=own if variation and own.exists() else folder / "expected.txt",
    )


def _check_ramdisk_kernel(folder: Path, values: Mapping[str, Any]) -> None:
    name, where = values["ramdisk_kernel"], folder / SETTINGS
    if name is None:
        return
    if values["ramdisk"] is not None:
        raise KernelFileError(f"{where}: a kernel has one ramdisk: either ramdisk or ramdisk_kernel")
    if os.sep in name or not (Path(__file__).parent / name / SETTINGS).is_file():
        raise KernelFileError(f"{where}: ramdisk_kernel is {name!r}, which `paravane list` does not show")


def _sources(folder: Path, names: list[str] | None) -> tuple[Path, ...]:
    if names is not None:
        return tuple(_inside(folder, name) for name in names)
    found = tuple(sorted(path for pattern in _SOURCES for path in folder.glob(pattern)))
    if not found:
        raise KernelFileError(f"{folder}: there is no source in it: no {' and no '.join(_SOURCES)}")
    return found


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise KernelFileError(f"{folder / SETTINGS}: there is no file {name!r} in the folder")
    return path
