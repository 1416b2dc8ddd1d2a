"""Saved traps, put back into another vcpu, do what the first one would have done."""

import dataclasses
import pickle
from collections.abc import Iterator

import pytest

from paravane.abi.callback import CallbackType
from paravane.abi.trap import CPU_USER_REGS, TI_IF
from paravane.traps.peripherals import Peripherals
from paravane.traps.saved import PeripheralsSaved, TrapsSaved, restore_peripherals, save_peripherals
from paravane.x86 import Cr4
from tests.support.trap_machine import (
    CURRENT_STACK_TOP,
    DATA,
    KERNEL_STACK_TOP,
    RING1_CS,
    USER,
    TrapMachine,
    handler,
)

NOP, STOP = b"\x90", b"\xcd\x21"


@pytest.fixture
def machines() -> Iterator[tuple[TrapMachine, TrapMachine]]:
    pair = TrapMachine(), TrapMachine()
    yield pair
    for machine in pair:
        machine.close()


def used(machine: TrapMachine) -> TrapsSaved:
    """A vcpu that has registered and changed everything there is; what it saves, through a pickle."""
    machine.install_all(masking=True)
    traps, state = machine.traps, machine.traps.state
    machine.install(0x21, 1 | TI_IF)
    traps.switch_stack(8 * 2 + 1, KERNEL_STACK_TOP - 0x800)
    for kind in (CallbackType.event, CallbackType.failsafe, CallbackType.sysenter):
        state.callbacks.register(kind, RING1_CS, 0x4F000 + kind, 1)
    traps.register_nmi(0x4E000)
    traps.raise_nmi()
    state.nmi_active = True
    state.iopl, state.io_bitmap, state.io_bitmap_ports = 2, DATA, 0x40
    traps.set_task_switched(True)
    state.cr2, state.cr4 = 0x1234, state.cr4 | Cr4.TSD | Cr4.DE
    state.tsc_aux = 0xFFFF0001
    state.debug.write(0, USER + 1, state.cr4, machine.cpu)
    state.debug.write(7, 1, state.cr4, machine.cpu)
    state.msrs[0x17A] = 5
    state.entry = CPU_USER_REGS.unpack(bytes(range(CPU_USER_REGS.size)))
    kept: TrapsSaved = pickle.loads(pickle.dumps(traps.save()))
    assert kept == traps.save()
    return kept


def test_every_part_is_put_back(machines: tuple[TrapMachine, TrapMachine]) -> None:
    first, second = machines
    kept = used(first)
    fresh = second.traps.save()
    names = [field.name for field in dataclasses.fields(kept)]
    assert [name for name in names if getattr(kept, name) == getattr(fresh, name)] == [], (
        "each part was changed"
    )
    second.traps.restore(kept)
    assert second.traps.save() == kept


def test_what_was_saved_stays_as_it_was(machines: tuple[TrapMachine, TrapMachine]) -> None:
    first, second = machines
    kept = used(first)
    before = pickle.dumps(kept)
    second.traps.restore(kept)
    used(second)
    second.traps.state.callbacks.register(CallbackType.event, RING1_CS, 0x11111, 0)
    second.traps.state.callbacks.failsafe.eip = 7
    second.traps.state.debug.write(0, 0x999, 0, second.cpu)
    second.traps.state.msrs[1] = 1
    second.traps.clear_traps()
    assert pickle.dumps(kept) == before


def test_a_restored_vcpu_takes_traps_as_the_first_would(machines: tuple[TrapMachine, TrapMachine]) -> None:
    first, second = machines
    kept = used(first)
    outcomes = []
    for machine in machines:
        if machine is second:
            machine.traps.restore(kept)
        machine.user(0x202)
        machine.run(NOP + STOP)
        outcomes.append((machine.cpu.eip, machine.cpu.esp, machine.frame(5)))
        machine.kernel()
        machine.cpu.esp = CURRENT_STACK_TOP
        machine.run(b"\xd9\xe8")
        outcomes.append((machine.cpu.eip, machine.cpu.esp, machine.frame(3)))
    assert outcomes[:2] == outcomes[2:]
    assert outcomes[0][0] == handler(1), "the breakpoint that was armed"
    assert outcomes[1][0] == handler(7), "the FPU was another's"


def test_peripherals_are_put_back() -> None:
    first, second = Peripherals(), Peripherals()
    first.ports.write(0xCF8, 4, 0x80001234)
    first.ports.write(0x70, 1, 0x8A)
    numbers = {first.irqs.reserve(pin=True), first.irqs.reserve(pin=False)}
    first.irqs.set_eoi_map(77)
    kept: PeripheralsSaved = pickle.loads(pickle.dumps(save_peripherals(first)))
    restore_peripherals(second, kept)
    assert save_peripherals(second) == kept == PeripheralsSaved(0x80001234, 0x8A, frozenset(numbers), 77)
    second.irqs.reserve(pin=False)
    assert kept.reserved == numbers
