"""The hypercalls of the traps package: decoding, effects and errnos."""

import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.cpu import PageFault
from paravane.memory.frames import FREE, FrameTable, FrameType
from paravane.preemption import Preempted
from paravane.refusal import Refusal
from paravane.traps import Peripherals
from tests.support.caller import FakeCaller
from tests.support.trap_machine import (
    CURRENT_STACK_TOP,
    DATA,
    KERNEL,
    KERNEL_STACK_TOP,
    RING1_CS,
    RING1_DS,
    UNMAPPED,
    TrapMachine,
)

HOLE = 0x70000
"""Where the address space of these tests says the hypervisor begins."""


class Memory:
    """A domain's memory as far as physdev_op asks for it."""

    domid = 1

    def __init__(self) -> None:
        self.frames = FrameTable(0x100)
        self.frames.owner[0x50] = self.frames.owner[0x51] = self.domid
        self.frames.type[0x51], self.frames.type_count[0x51] = FrameType.L1_PAGE_TABLE, 1
        self.frames.owner[0x52] = FREE
        self.machine = self
        self.space = self
        self.hole = HOLE
        self.held: list[int] = []

    def hold(self, mfn: int, domid: int, *, writable: bool) -> None:
        if not self.frames.owned_by(mfn, domid) or self.frames.type_count[mfn]:
            raise Refusal(Errno.EINVAL, f"frame {mfn:#x}")
        self.held.append(mfn)

    def let_go(self, mfn: int, *, writable: bool) -> None:
        self.held.remove(mfn)


class Domain:
    domid = 1

    def __init__(self, peripherals: Peripherals) -> None:
        self.peripherals = peripherals
        self.memory = Memory()
        self.resources = ExitStack()

    def is_named(self, domid: int) -> bool:
        if domid not in (1, 2, DomId.SELF):
            raise Refusal(Errno.ESRCH, f"there is no domain {domid}")
        return domid != 2


class Vcpu(FakeCaller):
    """What a hypercall sees of its vcpu, whose memory is that of a real processor."""

    def __init__(self, machine: TrapMachine) -> None:
        super().__init__()
        self.machine = machine
        self.cpu = machine.cpu
        self.traps = machine.traps
        self.domain: Any = Domain(machine.peripherals)

    def copy_from_guest(self, va: int, size: int) -> bytes:
        if va + size > HOLE:
            raise PageFault(va, 0)
        return self.cpu.read(va, size)

    def copy_to_guest(self, va: int, data: bytes) -> None:
        self.cpu.write(va, data)

    def __call__(self, number: Hypercall, *arguments: int) -> int | None:
        """One entry into the hypervisor. Raises Preempted and GuestCrash."""
        self.entry += 1
        return self.hypercall(number, (*arguments, *[0] * (6 - len(arguments))))

    def put(self, layout: str, *values: int, at: int = DATA) -> int:
        """Store values where the guest would; their address."""
        self.machine.ram.write(at, struct.pack(f"<{layout}", *values))
        return at


@pytest.fixture
def vcpu() -> Iterator[Vcpu]:
    machine = TrapMachine()
    yield Vcpu(machine)
    machine.close()


def trap_table(*entries: tuple[int, int, int, int]) -> list[int]:
    return [value for entry in (*entries, (0, 0, 0, 0)) for value in entry]


def test_set_trap_table_registers_up_to_the_empty_entry(vcpu: Vcpu) -> None:
    values = trap_table((6, 7, 0xE018, 0x1000), (0x80, 3, 0x73, 0x2000))
    vcpu.put("BBHI" * 3, *values)
    assert vcpu(Hypercall.set_trap_table, DATA) == 0
    table = vcpu.traps.state.table
    assert table[6] == (0xE019, 0x1000, 3, True)
    assert table[0x80] == (0x73, 0x2000, 3, False)
    assert not table[13].usable
    assert vcpu(Hypercall.set_trap_table, 0) == 0
    assert not table[6].usable
    assert not table[0x80].usable


def test_set_trap_table_keeps_what_precedes_a_bad_pointer(vcpu: Vcpu) -> None:
    at = vcpu.put("BBHI", 6, 0, RING1_CS, 0x1000, at=UNMAPPED - 8)
    assert vcpu(Hypercall.set_trap_table, at) == -Errno.EFAULT
    assert vcpu.traps.state.table[6].eip == 0x1000
    assert vcpu(Hypercall.set_trap_table, 0xF5800000) == -Errno.EFAULT


def test_a_trap_table_without_an_end_is_read_in_portions(vcpu: Vcpu) -> None:
    vcpu.machine.ram.write(DATA, struct.pack("<BBHI", 5, 0, RING1_CS, 0x99) * 0x800)
    with pytest.raises(Preempted) as rest:
        vcpu(Hypercall.set_trap_table, DATA)
    assert rest.value.arguments == (DATA + 8 * rest.value.done,)
    assert 0 < rest.value.done < 0x800


def test_set_callbacks_and_callback_op(vcpu: Vcpu) -> None:
    callbacks = vcpu.traps.state.callbacks
    assert vcpu(Hypercall.set_callbacks, 0xE018, 0x100, RING1_CS, 0x200) == 0
    assert (callbacks.event.cs, callbacks.event.eip) == (RING1_CS, 0x100)
    assert (callbacks.failsafe.eip, callbacks.failsafe.masks_events) == (0x200, False)
    for kind, name in ((0, "event"), (1, "failsafe"), (5, "sysenter"), (7, "syscall32")):
        vcpu.put("HHII", kind, 1, 0xE018, 0x300 + kind)
        assert vcpu(Hypercall.callback_op, 0, DATA) == 0
        registered = getattr(callbacks, name)
        assert (registered.cs, registered.eip, registered.masks_events) == (RING1_CS, 0x300 + kind, True)
        vcpu.put("HH", kind, 0)
        assert vcpu(Hypercall.callback_op, 1, DATA) == -Errno.EINVAL
    for kind in (2, 3, 6, 8):
        vcpu.put("HHII", kind, 0, RING1_CS, 1)
        assert vcpu(Hypercall.callback_op, 0, DATA) == -Errno.ENOSYS
        assert vcpu(Hypercall.callback_op, 1, DATA) == -Errno.ENOSYS
    assert vcpu(Hypercall.callback_op, 2, DATA) == -Errno.EINVAL
    assert vcpu(Hypercall.callback_op, 0, UNMAPPED) == -Errno.EFAULT


def test_nmi_callbacks(vcpu: Vcpu) -> None:
    table = vcpu.traps.state.table
    vcpu.put("HHII", 4, 0, 0x1234, 0x500)
    assert vcpu(Hypercall.callback_op, 0, DATA) == 0
    assert table[2] == (RING1_CS, 0x500, 0, True)
    vcpu.put("HH", 4, 0)
    assert vcpu(Hypercall.callback_op, 1, DATA) == 0
    assert not table[2].usable
    vcpu.put("II", 0x600, 0)
    assert vcpu(Hypercall.nmi_op, 0, DATA) == 0
    assert table[2].eip == 0x600
    assert vcpu(Hypercall.nmi_op, 1) == 0
    assert not table[2].usable
    assert vcpu(Hypercall.nmi_op, 2) == -Errno.ENOSYS


def test_stack_switch_and_fpu_taskswitch(vcpu: Vcpu) -> None:
    state = vcpu.traps.state
    assert vcpu(Hypercall.stack_switch, 0xE020, KERNEL_STACK_TOP) == 0
    assert (state.kernel_ss, state.kernel_sp) == (RING1_DS, KERNEL_STACK_TOP)
    assert vcpu(Hypercall.fpu_taskswitch, 1) == 0
    assert vcpu.cpu.cr0 & 8
    assert vcpu(Hypercall.fpu_taskswitch, 0) == 0
    assert not vcpu.cpu.cr0 & 8


@pytest.mark.parametrize(
    ("register", "value", "stored"),
    [(0, 0xF5800000, 0xF5800000), (3, 5, 5), (4, 0, 0xFFFF0FF0), (6, 0xF, 0xFFFF0FFF), (5, 0x401, 0x401),
     (7, 0xFFFFDFFF & ~0x00220000 & ~0xFF, 0xFFDD0700)],
)  # fmt: skip
def test_debug_registers(vcpu: Vcpu, register: int, value: int, stored: int) -> None:
    assert vcpu(Hypercall.set_debugreg, register, value) == 0
    assert vcpu(Hypercall.get_debugreg, register) == stored


def test_debug_registers_that_are_refused(vcpu: Vcpu) -> None:
    assert vcpu(Hypercall.set_debugreg, 8, 0) == -Errno.ENODEV
    assert vcpu(Hypercall.get_debugreg, 8) == -Errno.ENODEV
    assert vcpu(Hypercall.set_debugreg, 0xFFFFFFFF, 0) == -Errno.ENODEV
    assert vcpu(Hypercall.set_debugreg, 7, 1 << 13) == -Errno.EPERM
    assert vcpu(Hypercall.set_debugreg, 7, 1 | 2 << 16) == -Errno.EPERM
    vcpu.traps.state.cr4 |= 8
    assert vcpu(Hypercall.set_debugreg, 4, 0) == -Errno.ENODEV
    assert vcpu(Hypercall.get_debugreg, 5) == -Errno.ENODEV
    assert vcpu(Hypercall.set_debugreg, 7, 1 | 2 << 16) == 0
    assert vcpu.cpu.get_dr(7) == 0x400 | 2 << 16


def test_iret_leaves_eax_as_the_frame_has_it(vcpu: Vcpu) -> None:
    vcpu.put("4I", 0x55, KERNEL, RING1_CS, 0x202, at=CURRENT_STACK_TOP - 16)
    vcpu.cpu.esp = CURRENT_STACK_TOP - 16
    assert vcpu(Hypercall.iret) is None
    assert (vcpu.cpu.eax, vcpu.cpu.esp) == (0x55, CURRENT_STACK_TOP)


def physdev(vcpu: Vcpu, command: int, layout: str, *values: int) -> int | None:
    vcpu.put(layout, *values)
    return vcpu(Hypercall.physdev_op, command, DATA)


def test_virtual_io_privileges(vcpu: Vcpu) -> None:
    state = vcpu.traps.state
    assert physdev(vcpu, 6, "I", 3) == 0
    assert state.iopl == 3
    assert physdev(vcpu, 6, "I", 4) == -Errno.EINVAL
    assert physdev(vcpu, 7, "II", 0x20000, 65536) == 0
    assert (state.io_bitmap, state.io_bitmap_ports) == (0x20000, 65536)
    assert physdev(vcpu, 7, "II", 0x20000, 65537) == -Errno.EINVAL
    assert physdev(vcpu, 7, "II", HOLE - 0x1000, 10) == -Errno.EINVAL


def test_the_old_form_has_its_command_in_the_struct(vcpu: Vcpu) -> None:
    vcpu.put("II", 6, 2)
    assert vcpu(Hypercall.physdev_op_compat, DATA) == 0
    assert vcpu.traps.state.iopl == 2
    vcpu.put("II", 4, 0)
    assert vcpu(Hypercall.physdev_op_compat, DATA) == 0
    vcpu.put("II", 99, 0)
    assert vcpu(Hypercall.physdev_op_compat, DATA) == -Errno.ENOSYS
    assert vcpu(Hypercall.physdev_op_compat, UNMAPPED) == -Errno.EFAULT


def test_physical_interrupts_can_be_reserved_and_asked_about(vcpu: Vcpu) -> None:
    for expected in (16, 17):
        assert physdev(vcpu, 23, "iI", 1, 0) == 0
        assert vcpu.machine.words(DATA, 2) == [1, expected]
    assert physdev(vcpu, 23, "iI", 0, 0) == 0
    assert vcpu.machine.words(DATA, 2) == [0, 279]
    for _ in range(6 + 255 + 1):
        result = physdev(vcpu, 23, "iI", 1, 0)
    assert result == -Errno.ENOSPC
    assert physdev(vcpu, 5, "II", 16, 9) == 0
    assert vcpu.machine.words(DATA, 2) == [16, 1]
    assert physdev(vcpu, 5, "II", 280, 0) == -Errno.EINVAL
    assert physdev(vcpu, 12, "I", 16) == -Errno.EINVAL
    assert physdev(vcpu, 12, "I", 280) == -Errno.EINVAL


def test_the_eoi_bitmap_is_checked_like_any_frame(vcpu: Vcpu) -> None:
    for mfn, answer in ((0x52, -Errno.EINVAL), (0x51, -Errno.EINVAL), (0x1000, -Errno.EINVAL), (0x50, 0)):
        assert physdev(vcpu, 28, "I", mfn) == answer
    assert physdev(vcpu, 17, "I", 0x50) == -Errno.EBUSY
    assert vcpu.domain.memory.held == [0x50]
    vcpu.domain.resources.close()
    assert vcpu.domain.memory.held == []


@pytest.mark.parametrize(
    ("command", "answer"),
    [(command, Errno.EPERM) for command in (8, 9, 10, 15, 16, 20, 24, 25, 26, 29, 30, 31)]
    + [(command, Errno.ENOSYS) for command in (11, 18)]
    + [(command, Errno.ENODEV) for command in (19, 27)],
)
def test_hardware_nobody_has_is_refused(vcpu: Vcpu, command: int, answer: Errno) -> None:
    assert physdev(vcpu, command, "8I", *range(8)) == -answer
    assert len(vcpu.refusals) == 1


def test_mapping_interrupts_is_for_others(vcpu: Vcpu) -> None:
    for domid, answer in ((0x7FF0, Errno.EPERM), (1, Errno.EPERM), (2, Errno.EPERM), (7, Errno.ESRCH)):
        assert physdev(vcpu, 13, "I6iQ", domid, 1, 0, 0, 0, 0, 0, 0) == -answer
        assert physdev(vcpu, 14, "Ii", domid, 0) == -answer
    assert physdev(vcpu, 21, "iBB", 5, 0, 0) == -Errno.EPERM
    assert physdev(vcpu, 21, "iBB", -1, 0, 0) == -Errno.EINVAL
