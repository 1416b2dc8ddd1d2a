"""RF and TF in frames and after emulated instructions (SDM volume 3B, 17.3.1.1; Xen's x86_emulate)."""

import struct
from collections.abc import Iterator

import pytest

from tests.support.trap_machine import (
    CURRENT_STACK_TOP,
    DATA,
    KERNEL,
    RING3_CS,
    RING3_DS,
    USER,
    USER_STACK_TOP,
    TrapMachine,
    handler,
)

TF, RF = 0x100, 0x10000
NOP, STOP = b"\x90", b"\xcd\x21"
ECX_3 = b"\xb9\x03\x00\x00\x00"


@pytest.fixture
def machine() -> Iterator[TrapMachine]:
    built = TrapMachine()
    built.install_all()
    yield built
    built.close()


def steps(machine: TrapMachine, code: bytes) -> list[tuple[int, bool]]:
    """Step through `code` in ring 3: offset and RF of each frame of a #DB, up to `int $0x21`."""
    found: list[tuple[int, bool]] = []

    def go_on() -> bool:
        if machine.trace[-1].vector != 1:
            return False
        if machine.cpu.cpl == 1:
            eip, _, eflags = machine.frame(3)
            found.append((eip - USER, bool(eflags & RF)))
        return True

    machine.ram.write(handler(1), b"\xcf")
    machine.resume = go_on
    machine.traps.state.iopl = 3
    machine.user(0x202 | TF)
    machine.cpu.esi, machine.cpu.edi = DATA, DATA + 0x100
    machine.run(code + STOP)
    return found


@pytest.mark.parametrize("instruction", [b"\xf3\xa4", b"\x66\xf3\xa5", b"\xf3\xaa"], ids=bytes.hex)
def test_a_step_inside_a_repeated_instruction_saves_rf(machine: TrapMachine, instruction: bytes) -> None:
    at, end = len(ECX_3), len(ECX_3) + len(instruction)
    found = steps(machine, ECX_3 + instruction)
    assert found == [(at, False), (at, True), (at, True), (end, False), (end + 2, False)][: len(found)]
    assert len(found) >= 4


def test_a_data_breakpoint_inside_a_repeated_instruction_saves_rf(machine: TrapMachine) -> None:
    """Three bytes are written, and each is watched: two hits inside the instruction, one after it."""
    found: list[tuple[int, bool]] = []

    def go_on() -> bool:
        if machine.trace[-1].vector == 1:
            eip, _, eflags = machine.frame(3)
            found.append((eip - USER, bool(eflags & RF)))
        return machine.trace[-1].vector == 1

    machine.ram.write(handler(1), b"\xcf")
    machine.resume = go_on
    for index in range(3):
        machine.traps.state.debug.write(index, DATA + index, 0, machine.cpu)
    machine.traps.state.debug.write(7, 0x01110015, 0, machine.cpu)
    machine.user()
    machine.cpu.edi = DATA
    machine.run(ECX_3 + b"\xf3\xaa" + NOP + STOP)
    assert found == [(5, True), (5, True), (7, False)]


def test_a_jump_to_itself_is_no_repeated_instruction(machine: TrapMachine) -> None:
    assert steps(machine, ECX_3 + b"\xe2\xfe")[:4] == [(5, False), (5, False), (5, False), (7, False)]


@pytest.mark.parametrize("instruction", [b"\xfa", b"\xfb"], ids=["cli", "sti"])
def test_no_step_is_reported_after_an_emulated_cli_or_sti(machine: TrapMachine, instruction: bytes) -> None:
    found = steps(machine, NOP + instruction + NOP + NOP)
    assert [at for at, _ in found][:3] == [1, 3, 4]


@pytest.mark.parametrize("instruction", [b"\xe4\x42", b"\xe6\x42", b"\xec"], ids=["in", "out", "in-dx"])
def test_a_step_is_reported_after_other_emulated_instructions(
    machine: TrapMachine, instruction: bytes
) -> None:
    found = steps(machine, NOP + instruction + NOP)
    assert [at for at, _ in found][:3] == [1, 1 + len(instruction), 2 + len(instruction)]


@pytest.mark.parametrize(("at", "broken"), [(0, None), (1, 1), (2, 2)])
def test_rf_after_an_iret_hypercall_is_for_one_instruction(
    machine: TrapMachine, at: int, broken: int | None
) -> None:
    """The breakpoint at the instruction it returns to is passed, those after it are not."""
    machine.ram.write(USER, NOP * 3 + STOP)
    machine.traps.state.debug.write(0, USER + at, 0, machine.cpu)
    machine.traps.state.debug.write(7, 1, 0, machine.cpu)
    frame = (7, USER, RING3_CS, 0x202 | RF, USER_STACK_TOP, RING3_DS)
    machine.cpu.esp = CURRENT_STACK_TOP - 24
    machine.ram.write(machine.cpu.esp, struct.pack("<6I", *frame))
    machine.traps.iret()
    machine.cpu.run()
    if broken is None:
        assert (machine.cpu.eip, machine.frame(1)) == (handler(0x21), [USER + 5])
    else:
        assert (machine.cpu.eip, machine.frame(1)) == (handler(1), [USER + broken])
        assert not machine.frame(3)[2] & RF


@pytest.mark.parametrize("flags", [RF, RF | TF, TF])
def test_an_iret_hypercall_with_rf_steps_like_one_without(machine: TrapMachine, flags: int) -> None:
    machine.ram.write(USER, NOP * 3 + STOP)
    machine.cpu.esp = CURRENT_STACK_TOP - 24
    frame = (7, USER, RING3_CS, 0x202 | flags, USER_STACK_TOP, RING3_DS)
    machine.ram.write(machine.cpu.esp, struct.pack("<6I", *frame))
    machine.traps.iret()
    machine.cpu.run()
    assert machine.frame(1) == [USER + (1 if flags & TF else 5)]


@pytest.mark.parametrize("prefixes", [b"", b"\x66", b"\x2e\xf3", b"\x66" * 13], ids=bytes.hex)
@pytest.mark.parametrize("ring", [1, 3])
def test_icebp_is_a_debug_trap_whatever_its_prefixes(
    machine: TrapMachine, ring: int, prefixes: bytes
) -> None:
    machine.enter_ring(ring)
    machine.run(prefixes + b"\xf1")
    start = KERNEL if ring == 1 else USER
    assert machine.cpu.eip == handler(1)
    assert machine.frame(1) == [start + len(prefixes) + 1]
    assert not machine.frame(3)[2] & RF


def test_a_locked_icebp_is_an_invalid_opcode(machine: TrapMachine) -> None:
    machine.run(b"\xf0\xf1")
    assert machine.cpu.eip == handler(6)
    assert machine.frame(1) == [KERNEL]
