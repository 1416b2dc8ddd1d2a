"""Call gates, carried out for a guest on the real processor."""

from collections.abc import Iterator

import pytest

from tests.support.trap_emulation import emulating_machine, faults
from tests.support.trap_machine import (
    CURRENT_STACK_TOP,
    DATA,
    GDT,
    KERNEL,
    KERNEL_STACK_TOP,
    RING1_CS,
    USER,
    TrapMachine,
)

CALL_GATE_INDEX, GATE = 12, 8 * 12


@pytest.fixture
def machine() -> Iterator[TrapMachine]:
    built = emulating_machine()
    yield built
    built.close()


def gate(selector: int, offset: int, dpl: int, parameters: int = 0, present: int = 1) -> int:
    """A call gate as descriptor checks leave it: DPL 0, the wanted DPL in the selector's RPL."""
    low = (selector & 0xFFFC | dpl) << 16 | offset & 0xFFFF
    return (offset & 0xFFFF0000 | present << 15 | 0xC00 | parameters) << 32 | low


def far(opcode: int, selector: int) -> bytes:
    return bytes((opcode,)) + b"\x78\x56\x34\x12" + selector.to_bytes(2, "little")


def test_a_call_gate_into_the_kernel(machine: TrapMachine) -> None:
    machine.set_descriptor(CALL_GATE_INDEX, gate(RING1_CS, 0x4A000, 3, parameters=2))
    machine.user()
    cpu = machine.cpu
    cpu.esp -= 8
    machine.ram.write(cpu.esp, b"\x01\0\0\0\x02\0\0\0")
    esp, ss = cpu.esp, cpu.ss
    machine.resume = lambda: False
    machine.run(far(0x9A, GATE | 3))
    assert (cpu.cs, cpu.eip, cpu.cpl) == (RING1_CS, 0x4A000, 1)
    assert cpu.esp == KERNEL_STACK_TOP - 24
    assert machine.frame(6) == [USER + 7, 0xE02B, 1, 2, esp, ss]


def test_a_gate_of_ring_1_is_closed_to_ring_3_whatever_cs_holds(machine: TrapMachine) -> None:
    machine.set_descriptor(CALL_GATE_INDEX, gate(RING1_CS, 0x4A000, 1))
    machine.user()
    machine.ram.write(USER, far(0x9A, GATE | 1))
    machine.cpu._words[machine.cpu._layout.segments["cs"].selector] = 8 * 3 + 1
    machine.traps.exception(13, GATE)
    assert machine.frame(3) == [GATE, USER, 8 * 3 + 1]
    assert machine.cpu.esp == KERNEL_STACK_TOP - 24


def test_a_call_gate_within_a_ring_and_a_jump(machine: TrapMachine) -> None:
    machine.set_descriptor(CALL_GATE_INDEX, gate(RING1_CS, 0x4A000, 1))
    machine.resume = lambda: False
    machine.run(far(0x9A, GATE | 1))
    assert (machine.cpu.cs, machine.cpu.eip) == (RING1_CS, 0x4A000)
    assert machine.frame(2) == [KERNEL + 7, RING1_CS]
    assert machine.cpu.esp == CURRENT_STACK_TOP - 8
    machine.kernel()
    machine.run(far(0xEA, GATE | 1))
    assert (machine.cpu.eip, machine.cpu.esp) == (0x4A000, CURRENT_STACK_TOP)


def test_a_call_gate_named_in_memory(machine: TrapMachine) -> None:
    machine.set_descriptor(CALL_GATE_INDEX, gate(RING1_CS, 0x4A000, 1))
    machine.ram.write(DATA + 0x10, b"\0\0\0\0" + (GATE | 1).to_bytes(2, "little"))
    machine.cpu.ebx, machine.cpu.esi = DATA, 4
    machine.resume = lambda: False
    machine.run(b"\xff\x5c\xb3\x00")  # lcall *(%ebx,%esi,4)
    assert machine.cpu.eip == 0x4A000
    assert machine.frame(2) == [KERNEL + 4, RING1_CS]


@pytest.mark.parametrize(
    ("descriptor", "vector", "error_code"),
    [
        pytest.param(gate(RING1_CS, 0x4A000, 1), 13, GATE, id="dpl"),
        pytest.param(gate(RING1_CS, 0x4A000, 3, present=0), 11, GATE, id="not-present"),
        pytest.param(gate(0xE020, 0x4A000, 3), 13, 0xE020, id="data-segment"),
        pytest.param(gate(0xE008, 0x4A000, 3), 13, 0xE008, id="null-descriptor"),
        pytest.param(gate(8 * 7, 0x10000, 3), 13, 0, id="beyond-the-limit"),
        pytest.param(gate(8 * 8, 0, 3), 11, 8 * 8, id="code-not-present"),
        pytest.param(0x00008B0000000067, 13, GATE, id="task-state"),
    ],
)
def test_call_gates_that_lead_nowhere(
    machine: TrapMachine, descriptor: int, vector: int, error_code: int
) -> None:
    machine.set_descriptor(CALL_GATE_INDEX, descriptor)
    machine.user()
    faults(machine, far(0x9A, GATE | 3), vector, error_code)
    assert machine.cpu.cpl == 1


def test_a_call_gate_onto_a_bad_stack(machine: TrapMachine) -> None:
    machine.set_descriptor(CALL_GATE_INDEX, gate(RING1_CS, 0x4A000, 3))
    machine.traps.switch_stack(8 * 5 + 1, 0x20)
    machine.user()
    machine.traps.state.kernel_sp = 4
    machine.install(12, 0)
    machine.run(far(0x9A, GATE | 3))
    assert machine.crash is not None, "the #SS itself has no stack either"


def test_gates_of_the_reserved_table_do_not_exist(machine: TrapMachine) -> None:
    assert GDT + 0xE000 < GDT + 0xF000
    machine.user()
    faults(machine, far(0x9A, 0xE003), 13, 0xE000)
