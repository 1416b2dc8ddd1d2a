"""The iret hypercall, failsafe frames and sysenter."""

import struct
from collections.abc import Iterator

import pytest

from paravane.abi.trap import CPU_USER_REGS, TI_IF, TrapInfo
from paravane.abi.vcpu import VCPU_GUEST_CONTEXT, VcpuGuestContext
from paravane.traps import GuestCrash
from tests.support.trap_machine import (
    CURRENT_STACK_TOP,
    KERNEL,
    KERNEL_STACK_TOP,
    LDT,
    RING1_CS,
    RING1_DS,
    RING3_CS,
    RING3_DS,
    UNMAPPED,
    USER,
    USER_STACK_TOP,
    TrapMachine,
    handler,
)

IF, VM = 0x200, 0x20000
EAX = 0x11223344


@pytest.fixture
def machine() -> Iterator[TrapMachine]:
    built = TrapMachine()
    built.install_all()
    yield built
    built.close()


def push(machine: TrapMachine, *words: int) -> None:
    """Put an iret frame below the current stack pointer."""
    machine.cpu.esp -= 4 * len(words)
    machine.ram.write(machine.cpu.esp, struct.pack(f"<{len(words)}I", *words))


def test_return_to_ring_3(machine: TrapMachine) -> None:
    push(machine, EAX, USER, RING3_CS, 0x246, USER_STACK_TOP - 8, RING3_DS)
    machine.mask = 1
    machine.traps.iret()
    cpu = machine.cpu
    assert (cpu.eax, cpu.cs, cpu.eip, cpu.cpl) == (EAX, RING3_CS, USER, 3)
    assert (cpu.ss, cpu.esp, cpu.eflags) == (RING3_DS, USER_STACK_TOP - 8, 0x246)
    assert machine.mask == 0
    assert (cpu.ds, cpu.es) == (0, 0), "the kernel's data segments are too privileged for ring 3"


def test_return_to_ring_1_keeps_stack_segment_and_masks_events(machine: TrapMachine) -> None:
    push(machine, EAX, KERNEL + 0x100, RING1_CS | 0xABCD0000, 0x46)
    machine.traps.iret()
    cpu = machine.cpu
    assert (cpu.eip, cpu.cs, cpu.cpl, cpu.ss) == (KERNEL + 0x100, RING1_CS, 1, RING1_DS)
    assert cpu.esp == CURRENT_STACK_TOP
    assert cpu.eflags == 0x246, "the processor itself always runs with interrupts on"
    assert machine.mask == 1


def test_iopl_in_the_frame_counts_for_guests_that_ask_for_it(machine: TrapMachine) -> None:
    for assist, iopl in ((False, 0), (True, 2)):
        machine.architectural_iopl = assist
        push(machine, EAX, KERNEL, RING1_CS, 0x2202)
        machine.traps.iret()
        assert machine.traps.state.iopl == iopl
        assert machine.cpu.eflags & 0x3000 == 0


def test_ring_0_and_unreadable_frames_end_the_domain(machine: TrapMachine) -> None:
    push(machine, EAX, KERNEL, RING1_CS & ~3, 0x202)
    with pytest.raises(GuestCrash, match="ring 0"):
        machine.traps.iret()
    for esp in (UNMAPPED, 0xFFFFFFFC):
        machine.cpu.esp = esp
        with pytest.raises(GuestCrash, match="cannot be read"):
            machine.traps.iret()
    machine.cpu.esp = UNMAPPED - 16
    machine.ram.write(UNMAPPED - 16, struct.pack("<4I", EAX, USER, RING3_CS, 0x202))
    with pytest.raises(GuestCrash, match="cannot be read"):
        machine.traps.iret()


@pytest.mark.parametrize(
    ("cs", "ss", "vector", "error_code"),
    [
        pytest.param(0x1233, RING3_DS, 13, 0x1230, id="code-beyond-the-table"),
        pytest.param(RING3_CS, RING1_DS, 13, RING1_DS & ~3, id="stack-of-ring-1"),
        pytest.param(3, RING3_DS, 13, 0, id="null-code"),
        pytest.param(RING3_CS, 3, 13, 0, id="null-stack"),
        pytest.param(8 * 8 + 3, RING3_DS, 13, 8 * 8, id="code-of-ring-1"),
    ],
)
def test_a_refused_return_is_an_exception_at_its_target(
    machine: TrapMachine, cs: int, ss: int, vector: int, error_code: int
) -> None:
    push(machine, EAX, USER, cs, 0x202, USER_STACK_TOP, ss)
    machine.traps.iret()
    assert machine.cpu.eip == handler(vector)
    assert machine.frame(6) == [error_code, USER, cs, 0x202, USER_STACK_TOP, ss]
    assert machine.cpu.esp == KERNEL_STACK_TOP - 24


def test_segments_of_the_ldt_are_mapped_on_demand(machine: TrapMachine) -> None:
    cs, ss = 8 * 3 + 7, 8 * 4 + 7
    push(machine, EAX, USER, cs, 0x202, USER_STACK_TOP, ss)
    machine.traps.iret()
    assert (machine.cpu.cs, machine.cpu.ss, machine.cpu.eip, machine.cpu.cpl) == (cs, ss, USER, 3)
    assert machine.ldt_requests == [8 * 3, 8 * 4]
    machine.kernel()
    push(machine, EAX, USER, 0x1007, 0x202, USER_STACK_TOP, ss)
    machine.traps.iret()
    assert (machine.cpu.eip, machine.frame(1)) == (handler(13), [0x1004])


@pytest.mark.parametrize("kind", ["handler", "kernel stack", "emulation"])
def test_other_uses_of_the_ldt_are_mapped_on_demand_too(machine: TrapMachine, kind: str) -> None:
    if kind == "handler":
        machine.install(6, 0, 8 * 1 + 5)
    elif kind == "kernel stack":
        machine.traps.switch_stack(8 * 2 + 5, KERNEL_STACK_TOP)
    machine.user()
    if kind == "emulation":
        machine.map_ldt_page(0)
        machine.cpu.enter(cs=8 * 3 + 7, eip=USER, eflags=0x202, cpl=3)
        machine.map(LDT, 0, 0)
        machine.traps.state.cr4 |= 4
        machine.run(b"\x0f\x31")
        assert (machine.cpu.eip, machine.frame(3)) == (handler(13), [0, USER, 8 * 3 + 7])
    else:
        machine.run(b"\x0f\x0b")
        assert (machine.cpu.eip, machine.cpu.cpl) == (handler(6), 1)
    assert machine.ldt_requests


@pytest.mark.parametrize("masking", [False, True])
def test_a_return_to_virtual_8086_mode_is_gp(machine: TrapMachine, masking: bool) -> None:
    machine.install(13, TI_IF if masking else 0)
    frame = (0x1234, 0x7000, VM | 0x3302, 0xFF0, 0x6000, 1, 2, 3, 4)
    push(machine, EAX, *frame)
    machine.traps.iret()
    cpu = machine.cpu
    assert (cpu.eip, cpu.cs, cpu.cpl, cpu.ss) == (handler(13), RING1_CS, 1, RING1_DS)
    assert cpu.esp == KERNEL_STACK_TOP - 40
    assert machine.frame(10) == [0, *frame]
    assert machine.mask == (1 if masking else 0)
    assert cpu.eflags & 0x3100 == 0


BAD_GS = 0x1230


def start(machine: TrapMachine, initial: VcpuGuestContext) -> None:
    machine.traps.load(initial)
    machine.traps.begin()


def context(ring: int, *, masking: bool = False, gs: int = BAD_GS) -> VcpuGuestContext:
    """A whole vcpu context whose GS cannot be loaded."""
    registers = CPU_USER_REGS.unpack(bytes(CPU_USER_REGS.size))._replace(
        eax=1, ebx=2, ecx=3, edx=4, esi=5, edi=6, ebp=7, eflags=0x3046, gs=gs
    )
    if ring == 1:
        registers = registers._replace(
            eip=KERNEL, cs=RING1_CS & ~3, ss=RING1_DS & ~3, esp=CURRENT_STACK_TOP, ds=RING1_DS, es=RING1_DS
        )
    else:
        registers = registers._replace(
            eip=USER, cs=RING3_CS, ss=RING3_DS, esp=USER_STACK_TOP, ds=RING3_DS, es=RING3_DS, fs=0
        )
    empty = VCPU_GUEST_CONTEXT.unpack(bytes(VCPU_GUEST_CONTEXT.size))
    traps = list(empty.trap_ctxt)
    traps[6] = TrapInfo(99, TI_IF | 3, RING1_CS & ~3, 0x4B000)
    return empty._replace(
        user_regs=registers,
        trap_ctxt=tuple(traps),
        kernel_ss=RING1_DS & ~3,
        kernel_sp=KERNEL_STACK_TOP,
        event_callback_cs=RING1_CS,
        event_callback_eip=0x4A000,
        failsafe_callback_cs=0x1234,
        failsafe_callback_eip=0x4D000,
        flags=1 << 3 if masking else 0,
        ctrlreg=(8, 0, 0x1234, 0, 0xFFFFFFFF, 0, 0, 0),
        debugreg=(0x100, 0x200, 0, 0, 0, 0, 0, 1 << 13),
    )


@pytest.mark.parametrize("ring", [1, 3])
@pytest.mark.parametrize("masking", [False, True])
def test_a_data_segment_that_cannot_be_loaded_enters_the_failsafe_callback(
    machine: TrapMachine, ring: int, masking: bool
) -> None:
    start(machine, context(ring, masking=masking))
    cpu = machine.cpu
    assert (cpu.cs, cpu.eip, cpu.ss, cpu.cpl, cpu.gs) == (RING1_CS, 0x4D000, RING1_DS, 1, 0)
    data = RING1_DS if ring == 1 else RING3_DS
    tail = [KERNEL, RING1_CS, 0x246] if ring == 1 else [USER, RING3_CS, 0x246, USER_STACK_TOP, RING3_DS]
    assert machine.frame(4 + len(tail)) == [data, data, 0, BAD_GS, *tail]
    top = CURRENT_STACK_TOP if ring == 1 else KERNEL_STACK_TOP
    assert cpu.esp == top - 4 * (4 + len(tail))
    assert machine.mask == (1 if masking else 0)


def test_a_context_is_taken_over_whole(machine: TrapMachine) -> None:
    start(machine, context(1, gs=0))
    cpu, state = machine.cpu, machine.traps.state
    assert cpu.gprs() == (1, 3, 4, 2, CURRENT_STACK_TOP, 7, 5, 6)
    assert (cpu.cs, cpu.eip, cpu.ss, cpu.ds, cpu.cpl) == (RING1_CS, KERNEL, RING1_DS, RING1_DS, 1)
    assert (cpu.eflags, state.iopl) == (0x246, 3)
    assert state.table[6] == (RING1_CS, 0x4B000, 3, True)
    assert not state.table[99].usable
    assert (state.kernel_ss, state.callbacks.event.eip) == (RING1_DS, 0x4A000)
    assert (state.cr0_ts, state.cr2, state.cr4) == (True, 0x1234, 0x66C)
    assert (state.debug.address[:2], state.debug.dr7) == ([0x100, 0x200], 0x400)


def test_a_context_with_a_bad_code_segment_is_an_exception_there(machine: TrapMachine) -> None:
    good = context(3, gs=0)
    traps = list(good.trap_ctxt)
    traps[13] = TrapInfo(0, 0, RING1_CS, 0x4C000)
    bad = good._replace(user_regs=good.user_regs._replace(cs=0x1233), trap_ctxt=tuple(traps))
    start(machine, bad)
    assert machine.cpu.eip == 0x4C000
    assert machine.frame(3) == [0x1230, USER, 0x1233]


def test_a_failsafe_frame_without_a_stack_ends_the_domain(machine: TrapMachine) -> None:
    with pytest.raises(GuestCrash, match="failsafe"):
        start(machine, context(3)._replace(kernel_sp=UNMAPPED + 0x1000))


def test_sysenter_enters_its_callback_with_nothing_saved(machine: TrapMachine) -> None:
    machine.traps.state.callbacks.register(5, RING1_CS, 0x4C000, 1)
    machine.user()
    machine.run(b"\x0f\x34")
    assert (machine.cpu.eip, machine.cpu.cpl, machine.mask) == (0x4C000, 1, 1)
    assert machine.frame(5) == [0, 3, 0x202, 0, RING3_DS]
    assert machine.cpu.esp == KERNEL_STACK_TOP - 20


def test_sysenter_without_a_callback_is_gp(machine: TrapMachine) -> None:
    machine.user()
    machine.run(b"\x0f\x34")
    assert machine.cpu.eip == handler(13)
    assert machine.frame(6) == [0, 0, 3, 0x202, 0, RING3_DS]


def test_syscall_is_an_invalid_opcode(machine: TrapMachine) -> None:
    machine.user()
    machine.run(b"\x0f\x05")
    assert (machine.cpu.eip, machine.frame(1)) == (handler(6), [USER])


def test_a_faulting_native_iret_is_the_kernels_own_fault(machine: TrapMachine) -> None:
    push(machine, USER, 0x1233, 0x202, USER_STACK_TOP, RING3_DS)
    machine.run(b"\xcf")
    assert machine.cpu.eip == handler(13)
    assert machine.frame(3) == [0x1230, KERNEL, RING1_CS]
