"""Each return from the hypervisor loads CS and SS: a changed descriptor takes effect there, or is refused."""

from collections.abc import Iterator

import pytest

from paravane.traps import GuestCrash
from tests.support.trap_machine import CURRENT_STACK_TOP, DATA, KERNEL, KERNEL_STACK_TOP, TrapMachine, handler

CODE, STACK = 8 * 1 + 1, 8 * 2 + 1
USER_CODE, USER_STACK = 8 * 3 + 3, 8 * 4 + 3
CODE_RAW, STACK_RAW = 0x00CFBB000000FFFF, 0x00CFB3000000FFFF
PRESENT = 1 << 47


@pytest.fixture
def machine() -> Iterator[TrapMachine]:
    built = TrapMachine()
    built.install_all()
    built.cpu.segments_due = False
    yield built
    built.close()


def own_segments(machine: TrapMachine, ring: int = 1) -> None:
    """On descriptors of the guest's own table."""
    cs, ss = (CODE, STACK) if ring == 1 else (USER_CODE, USER_STACK)
    machine.cpu.enter(cs=cs, eip=KERNEL, eflags=0x202, cpl=ring, ss=ss, esp=CURRENT_STACK_TOP)


def return_to_guest(machine: TrapMachine) -> None:
    machine.cpu.reload_segments()
    assert machine.traps.pending()
    machine.traps.deliver_pending()
    assert not machine.traps.pending()


@pytest.mark.parametrize("ring", [1, 3])
def test_a_code_segment_that_went_away_is_np_at_the_next_instruction(machine: TrapMachine, ring: int) -> None:
    own_segments(machine, ring)
    index = 1 if ring == 1 else 3
    machine.set_descriptor(index, (CODE_RAW | (2 << 45 if ring == 3 else 0)) & ~PRESENT)
    return_to_guest(machine)
    assert machine.cpu.eip == handler(11)
    cs = CODE if ring == 1 else USER_CODE
    assert machine.frame(3) == [cs & ~3, KERNEL, cs]
    assert machine.cpu.esp == (CURRENT_STACK_TOP - 16 if ring == 1 else KERNEL_STACK_TOP - 24)


@pytest.mark.parametrize(
    "raw", [STACK_RAW, CODE_RAW | 2 << 45, CODE_RAW & ~(1 << 44), 0], ids=["data", "ring 3", "system", "null"]
)
def test_a_code_segment_that_became_something_else_is_gp(machine: TrapMachine, raw: int) -> None:
    own_segments(machine)
    machine.set_descriptor(1, raw)
    return_to_guest(machine)
    assert machine.cpu.eip == handler(13)
    assert machine.frame(3) == [CODE & ~3, KERNEL, CODE]


def test_a_new_base_takes_effect(machine: TrapMachine) -> None:
    own_segments(machine)
    machine.set_descriptor(1, CODE_RAW | 0x1000 << 16)
    return_to_guest(machine)
    assert machine.cpu.segment_base("cs") == 0x1000
    machine.ram.write(KERNEL, b"\x90\xf4")
    machine.ram.write(KERNEL + 0x1000, b"\xcd\x21")
    machine.cpu.run()
    assert machine.cpu.eip == handler(0x21)


def test_a_limit_below_the_next_instruction_is_gp_0(machine: TrapMachine) -> None:
    own_segments(machine)
    machine.set_descriptor(1, 0x0040BB000000FFFF)
    return_to_guest(machine)
    assert (machine.cpu.eip, machine.frame(3)) == (handler(13), [0, KERNEL, CODE])


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        pytest.param(STACK_RAW & ~PRESENT, "unusable", id="not present"),
        pytest.param(0, "unusable", id="null"),
        pytest.param(STACK_RAW & ~(1 << 41), "without end", id="read-only"),
        pytest.param(CODE_RAW, "without end", id="code"),
        pytest.param(STACK_RAW | 2 << 45, "without end", id="ring 3"),
    ],
)
def test_a_bad_stack_segment_ends_a_kernel(machine: TrapMachine, raw: int, sentence: str) -> None:
    own_segments(machine)
    machine.set_descriptor(2, raw)
    machine.cpu.reload_segments()
    with pytest.raises(GuestCrash, match=sentence):
        machine.traps.deliver_pending()


def test_a_bad_stack_segment_of_an_application_is_reported_to_its_kernel(machine: TrapMachine) -> None:
    own_segments(machine, ring=3)
    machine.set_descriptor(4, (STACK_RAW | 2 << 45) & ~PRESENT)
    return_to_guest(machine)
    assert machine.cpu.eip == handler(12)
    assert machine.frame(3) == [USER_STACK & ~3, KERNEL, USER_CODE]
    assert machine.cpu.esp == KERNEL_STACK_TOP - 24


def test_an_upcall_is_entered_from_a_segment_that_went_away(machine: TrapMachine) -> None:
    """Xen pushes the frame first and loads only the segments that it returns to."""
    machine.traps.state.callbacks.register(0, 0xE019, 0x4F000, 0)
    own_segments(machine)
    machine.set_descriptor(1, CODE_RAW & ~PRESENT)
    machine.ram.bytes[0x5000] = 1
    return_to_guest(machine)
    assert (machine.cpu.eip, machine.frame(2)) == (0x4F000, [KERNEL, CODE])


def test_flat_segments_are_not_looked_at(machine: TrapMachine) -> None:
    """They are the hypervisor's; here something else is written where no guest could write it."""
    machine.kernel()
    machine.ram.quads[(0x80000 + 0xE018) >> 3] = 0
    return_to_guest(machine)
    assert machine.cpu.eip == KERNEL


def test_data_segments_keep_what_they_have(machine: TrapMachine) -> None:
    own_segments(machine)
    machine.cpu.load_segment("es", 8 * 5 + 1)
    machine.set_descriptor(5, 0)
    return_to_guest(machine)
    assert (machine.cpu.es, machine.cpu.segment_base("es")) == (8 * 5 + 1, DATA + 0x1000)


def test_the_accessed_bit_is_set_by_the_return(machine: TrapMachine) -> None:
    own_segments(machine)
    machine.set_descriptor(1, CODE_RAW & ~(1 << 40))
    return_to_guest(machine)
    assert machine.ram.quads[0x80000 + 8 >> 3] == CODE_RAW
