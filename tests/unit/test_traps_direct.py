"""The fast system call: the same frame as a bounce, taken without one."""

from collections.abc import Iterator

import pytest

from paravane.abi.trap import TI_IF, TrapInfo
from paravane.traps import TrapNote
from tests.support.trap_machine import (
    CURRENT_STACK_TOP,
    DATA,
    GDT,
    INFO,
    KERNEL,
    KERNEL_STACK_TOP,
    RING1_CS,
    RING1_DS,
    RING3_CS,
    RING3_DS,
    USER,
    USER_STACK_TOP,
    TrapMachine,
    handler,
)

INT_80 = b"\xcd\x80"
RF = 0x10000


@pytest.fixture
def machine() -> Iterator[TrapMachine]:
    built = TrapMachine()
    built.install_all()
    yield built
    built.close()


def paths(machine: TrapMachine) -> tuple[int, int]:
    return machine.traps.counters.direct, machine.traps.counters.bounced


def test_a_system_call_from_ring_3_is_direct(machine: TrapMachine) -> None:
    machine.user(0x202 | 0x4000 | 0x40000)
    machine.run(INT_80)
    cpu = machine.cpu
    assert paths(machine) == (1, 0)
    assert (cpu.cs, cpu.ss, cpu.cpl, cpu.eip) == (RING1_CS, RING1_DS, 1, handler(0x80))
    assert cpu.esp == KERNEL_STACK_TOP - 20
    assert machine.frame(5) == [USER + 2, RING3_CS, 0x202 | 0x4000 | 0x40000, USER_STACK_TOP, RING3_DS]
    assert cpu.eflags == 0x202 | 0x40000
    assert machine.trace == [TrapNote(0x80, None, None, 3, USER + 2, "direct")]
    assert machine.trace[0].name == "int 0x80"


@pytest.mark.parametrize("mask", [0, 1, 0x80])
@pytest.mark.parametrize("flags", [0, 3, TI_IF, TI_IF | 3])
def test_mask_and_masking_are_those_of_a_bounce_and_the_dpl_does_not_matter(
    machine: TrapMachine, flags: int, mask: int
) -> None:
    machine.install(0x80, flags)
    machine.ram.bytes[INFO + 2] = 0x11
    machine.mask = mask
    machine.user()
    machine.run(INT_80)
    assert paths(machine) == (1, 0)
    assert machine.frame(3) == [USER + 2, RING3_CS | mask << 16 | 0x11000000, 2 if mask else 0x202]
    assert machine.mask == (mask | 1 if flags & TI_IF else mask)


def test_virtual_iopl_shows_as_in_a_bounce(machine: TrapMachine) -> None:
    machine.traps.state.iopl, machine.architectural_iopl = 2, True
    machine.user()
    machine.run(INT_80)
    assert paths(machine) == (1, 0)
    assert machine.frame(3)[2] == 0x2202


def test_a_system_call_from_the_kernel_itself_bounces_without_rf(machine: TrapMachine) -> None:
    machine.install(0x80, 0)
    machine.run(INT_80)
    assert paths(machine) == (0, 1)
    assert machine.cpu.esp == CURRENT_STACK_TOP - 12
    assert machine.frame(3) == [KERNEL + 2, RING1_CS, 0x202]


def test_the_kernels_own_segments_work_too(machine: TrapMachine) -> None:
    machine.install(0x80, 3, 8 * 1 + 1)
    machine.traps.switch_stack(8 * 5 + 1, 0x900)
    machine.user()
    machine.run(INT_80)
    assert paths(machine) == (1, 0)
    assert (machine.cpu.cs, machine.cpu.ss, machine.cpu.esp) == (8 * 1 + 1, 8 * 5 + 1, 0x900 - 20)
    assert machine.words(0x51900 - 20, 1) == [USER + 2]
    machine.run(b"\xc7\x05\x00\x00\x05\x00\x2a\x00\x00\x00\x50\xf4")  # movl $42, DATA; push %eax; hlt
    assert machine.words(DATA, 1) == [42]
    assert machine.cpu.eip == handler(13)


def test_without_a_selector_int_80_is_a_refused_int(machine: TrapMachine) -> None:
    machine.traps.install_trap(TrapInfo(0x80, 0, 1, 0x1234))
    machine.user()
    machine.run(INT_80)
    assert machine.cpu.eip == handler(13)
    assert machine.frame(2) == [0x80 << 3 | 2, USER]


def test_a_handler_at_address_0_with_a_selector_is_called(machine: TrapMachine) -> None:
    """Xen looks at the selector of a 32-bit guest's gate, not at its address."""
    machine.traps.clear_traps()
    machine.traps.state.table.set(0x80, machine.traps.state.table[0]._replace(cs=RING1_CS))
    machine.user()
    machine.run(INT_80)
    assert (machine.cpu.eip, machine.cpu.cpl) == (0, 1)


def test_a_descriptor_changed_in_place_is_noticed(machine: TrapMachine) -> None:
    machine.install(0x80, 3, 8 * 1 + 1)
    machine.user()
    machine.run(INT_80)
    machine.set_descriptor(1, 0x00CF3B000000FFFF)  # not present any more
    machine.user()
    machine.run(INT_80)
    assert machine.traps.counters.direct == 1
    assert (machine.cpu.eip, machine.frame(3)) == (handler(11), [8, handler(0x80), 8 * 1 + 1])


def test_another_gdt_is_noticed(machine: TrapMachine) -> None:
    machine.install(0x80, 3, 8 * 1 + 1)
    machine.user()
    machine.run(INT_80)
    machine.map(GDT, 0x58, 7)  # a frame of zeroes
    machine.user()
    machine.run(INT_80)
    assert machine.traps.counters.direct == 1
    assert (machine.cpu.eip, machine.frame(3)) == (handler(13), [8, handler(0x80), 8 * 1 + 1])


def test_an_unmapped_kernel_stack_ends_the_domain(machine: TrapMachine) -> None:
    machine.map(KERNEL_STACK_TOP - 0x1000, 0, 0)
    machine.user()
    machine.run(INT_80)
    assert machine.crash is not None
    assert machine.traps.counters.direct == 0


def test_a_stack_frame_across_pages_takes_the_bounce(machine: TrapMachine) -> None:
    machine.traps.switch_stack(RING1_DS, KERNEL_STACK_TOP - 0x1000 + 12)
    machine.user()
    machine.run(INT_80)
    assert paths(machine) == (0, 1)
    assert machine.frame(5) == [USER + 2, RING3_CS, 0x202, USER_STACK_TOP, RING3_DS]


def test_a_new_stack_is_used_at_once(machine: TrapMachine) -> None:
    machine.user()
    machine.run(INT_80)
    machine.traps.switch_stack(RING1_DS, KERNEL_STACK_TOP - 0x100)
    machine.user()
    machine.run(INT_80)
    assert machine.cpu.esp == KERNEL_STACK_TOP - 0x100 - 20
    assert paths(machine) == (2, 0)


def test_the_kernel_runs_and_returns_natively_after_a_direct_entry(machine: TrapMachine) -> None:
    machine.resume = lambda: machine.trace[-1].vector == 0x80
    machine.ram.write(handler(0x80), b"\x40\xcf")  # inc %eax; iret
    machine.user()
    machine.cpu.eax = 0
    machine.run(INT_80 * 5 + b"\xcd\x21")
    assert paths(machine) == (5, 1)
    assert machine.cpu.eax == 5
    assert machine.frame(1) == [USER + 12]
