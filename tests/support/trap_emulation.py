"""Running one instruction that the hypervisor is to carry out, or to refuse."""

from tests.support.trap_machine import TrapMachine, handler

STOP = b"\xcd\x21"
"""`int $0x21`: the end of a piece of code."""


def emulating_machine() -> TrapMachine:
    """A machine that goes on until something reaches the guest."""
    machine = TrapMachine()
    machine.install_all()
    machine.resume = lambda: not machine.trace
    return machine


def carried_out(machine: TrapMachine, code: bytes) -> None:
    """Run `code`, which must be emulated without any exception in the guest."""
    start = machine.cpu.eip
    machine.run(code + STOP)
    assert [note.vector for note in machine.trace] == [0x21], machine.trace
    assert machine.frame(1) == [start + len(code) + 2]


def faults(machine: TrapMachine, code: bytes, vector: int = 13, error_code: int | None = 0) -> None:
    """Run `code`, which must raise one exception with EIP at its start."""
    start = machine.cpu.eip
    machine.run(code + STOP)
    assert machine.cpu.eip == handler(vector)
    expected = [start] if error_code is None else [error_code, start]
    assert machine.frame(len(expected)) == expected


def mov_imm(register: int, value: int) -> bytes:
    return bytes((0xB8 + register,)) + (value & 0xFFFFFFFF).to_bytes(4, "little")
