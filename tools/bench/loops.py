"""The kernels of the rows (kernels/*.S), and machines on which one goes round and round."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane import DomainConfig, Machine, StopReason, load_image
from paravane.asm import build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane import Image

FOLDER: Final = Path(__file__).parent / "kernels"
MEMORY: Final = 8 << 20
"""Bytes of the domain."""

_START: Final = 64
"""Traps after which it is looked whether the kernel is ready."""


@cache
def image(kernel: str, *, two_level: bool = False) -> Image:
    """One of the folder's kernels, for PAE's page tables or those of the older ABI."""
    defines = {"TWO_LEVEL": 1} if two_level else {}
    return load_image(build([FOLDER / f"{kernel}.S"], include=[FOLDER], defines=defines))


class Loop:
    """A machine whose only guest repeats one routine of its kernel."""

    def __init__(self, machine: Machine, kernel: Image, routine: str, traps: int) -> None:
        """`traps` are those of one turn."""
        self._machine = machine
        self._traps = traps
        self.domain = machine.create(kernel, DomainConfig("bench", memory=MEMORY))
        self._cpu = self.domain.vcpus[0].cpu
        self._turns_at = _address(kernel, "turns")
        self._cpu.write_u32(_address(kernel, "chosen"), _address(kernel, routine))
        while not self._turns:
            self._run(_START)

    def turn(self, turns: int) -> int:
        """Let the guest go round about so often; gives how often it did: once at least."""
        before = self._turns
        self._run(turns * self._traps)
        while self._turns == before:  # its hypercalls were preempted, and each time took another trap
            self._run(self._traps)
        return (self._turns - before) % (1 << 32)

    def _run(self, traps: int) -> None:
        ending = self._machine.run(max_traps=traps)
        if ending.reason is not StopReason.TRAPS:
            raise RuntimeError(
                f"the guest has ended: {self.domain.console_output()!r}, {self.domain.crash_report}"
            )

    @property
    def _turns(self) -> int:
        return self._cpu.read_u32(self._turns_at)


@contextmanager
def loop(kernel: Image, routine: str, traps: int = 1, *, slice_instructions: int = 0) -> Iterator[Loop]:
    """A `Loop` on a machine of its own, with the gateway that machines are made with now."""
    with Machine(Machine.size_for(MEMORY), slice_instructions=slice_instructions) as machine:
        yield Loop(machine, kernel, routine, traps)


def _address(kernel: Image, name: str) -> int:
    address = kernel.symbols.address_of(name)
    assert address is not None, name
    return address
