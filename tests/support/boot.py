"""Boot a guest in this process, or through the installed command, and say what came of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paravane import DomainConfig, Machine, StopReason, load_image
from paravane.abi.sched import ShutdownReason
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.trace import Record

HOST_TIMEOUT = 300.0
"""Seconds after which a guest under test counts as hung: far more than any needs on a loaded host."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a guest ended: why the run came back, the shutdown reason, its console and what the trace saw."""

    ending: StopReason
    reason: ShutdownReason | None
    console: str
    crash_report: str
    records: Sequence[Record]
    audit: Sequence[str]

    @property
    def lines(self) -> list[str]:
        """The console, line by line."""
        return self.console.splitlines()

    def ended(self, reason: ShutdownReason = ShutdownReason.poweroff) -> Outcome:
        """This outcome, of a domain that shut itself down for that reason and left the hypervisor's books in
        agreement with the page tables. Raises AssertionError with what it printed."""
        story = self.console + self.crash_report
        assert self.ending is StopReason.DONE, f"{self.ending}: {story}"
        assert self.reason is reason, f"{self.reason}: {story}"
        assert self.audit == [], self.audit
        return self


def kernel_image(source: str, name: str = "kernel.S") -> bytes:
    """The ELF file of a kernel in assembly, its lines those of a file called `name`. Raises AssemblyError."""
    return write_elf(assemble_text(source, name=name))


def boot(
    guest: bytes | str,
    *,
    memory: int = 32 << 20,
    cmdline: str = "",
    ramdisk: bytes | None = None,
    stdin: bytes = b"",
    seed: int = 0,
    slice_instructions: int = 0,
) -> Outcome:
    """Run one domain until it ends, with the frame audit of its last moment.

    `guest` is an image, or a kernel in assembly; `memory` is in bytes. A guest whose output depends on when
    its time passes needs slices counted in instructions.
    """
    image = kernel_image(guest) if isinstance(guest, str) else guest
    records: list[Record] = []
    with Machine(Machine.size_for(memory), seed=seed, slice_instructions=slice_instructions) as machine:
        machine.trace.subscribe(records.append)
        config = DomainConfig(memory=memory, cmdline=cmdline, ramdisk=ramdisk)
        domain = machine.create(load_image(image), config)
        domain.console.feed(stdin)
        ending = machine.run(timeout=HOST_TIMEOUT).reason
        return Outcome(
            ending,
            domain.reason,
            domain.console_output().decode(),
            domain.crash_report,
            records,
            machine.audit(),
        )


def paravane(
    *arguments: str, stdin: bytes = b"", timeout: float = HOST_TIMEOUT
) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "paravane.tools.cli", *arguments],
        input=stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
    )
