"""The ring of a trap is the processor's CPL: what CS holds decides nothing, whoever put it there."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.trap_machine import (
    KERNEL_STACK_TOP,
    RING1_CS,
    RING1_DS,
    RING3_DS,
    USER,
    TrapMachine,
)

ENTRIES: dict[str, Callable[[TrapMachine], object]] = {
    "exception": lambda machine: machine.traps.exception(13, 0x1234),
    "page fault": lambda machine: machine.traps.exception(14, 4),
    "int n": lambda machine: machine.traps.interrupt(0x21),
    "int3": lambda machine: machine.traps.interrupt(3),
    "system call": lambda machine: machine.traps.interrupt(0x80),
    "hypercall number": lambda machine: machine.traps.interrupt(0x82),
    "upcall": lambda machine: machine.traps.deliver_upcall(),
}
EVENT_HANDLER = 0x4F000


@pytest.fixture
def machine() -> Iterator[TrapMachine]:
    built = TrapMachine()
    built.install_all()
    built.traps.state.callbacks.register(0, RING1_CS, EVENT_HANDLER, 0)
    yield built
    built.close()


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("cs", [0, 1, 0x1234, 0xE008, RING1_CS])
def test_a_trap_from_ring_3_is_saved_on_the_kernel_stack_whatever_cs_holds(
    machine: TrapMachine, cs: int, entry: str
) -> None:
    """Virtual-8086 mode would let an application choose CS, SS and ESP; ESP is in the kernel's data here."""
    target = 0x50800
    machine.user()
    slot = machine.cpu._layout.segments["cs"]
    machine.cpu._words[slot.selector] = cs
    machine.cpu.esp = target
    ENTRIES[entry](machine)
    cpu = machine.cpu
    assert (cpu.cpl, cpu.cs, cpu.ss) == (1, RING1_CS, RING1_DS)
    assert KERNEL_STACK_TOP - 24 <= cpu.esp <= KERNEL_STACK_TOP - 20
    assert machine.words(KERNEL_STACK_TOP - 20, 5)[::4] == [USER, RING3_DS]
    assert machine.words(KERNEL_STACK_TOP - 16, 1)[0] & 0xFFFF == cs
    assert machine.words(KERNEL_STACK_TOP - 8, 1) == [target]
    assert machine.words(target - 64, 16) == [0] * 16, "the application chose where a frame was written"


@pytest.mark.parametrize("cs", [3, 0x1237, 0xE02B])
def test_a_trap_from_ring_1_stays_on_its_stack_whatever_cs_holds(machine: TrapMachine, cs: int) -> None:
    machine.kernel()
    machine.cpu._words[machine.cpu._layout.segments["cs"].selector] = cs
    machine.traps.exception(6, 0)
    assert machine.cpu.esp == 0x54000 - 12
    assert machine.frame(2)[1] & 0xFFFF == cs
