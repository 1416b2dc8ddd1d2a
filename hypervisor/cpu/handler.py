"""What a processor's traps are delivered to."""

from typing import Protocol


class TrapHandler(Protocol):
    """What the guest's traps are delivered to, inside the run, with the registers readable and writable."""

    def exception(self, vector: int, error_code: int) -> None:
        """A fault or trap. EIP is at the faulting instruction for faults; CR2 is in `cpu.cr2`."""

    def interrupt(self, vector: int) -> None:
        """`int n`, `int3` or `into`. EIP is the next instruction."""

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """The EAX, EBX, ECX, EDX that CPUID answers."""
