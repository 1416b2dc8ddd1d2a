"""Ports, debugging, the FPU and the decoder: the rest of what is carried out for a guest."""

from collections.abc import Iterator

import pytest

from paravane.traps.emulate import decode
from tests.support.trap_emulation import STOP, carried_out, emulating_machine, faults, mov_imm
from tests.support.trap_machine import (
    DATA,
    EVERYTHING,
    INFO,
    KERNEL,
    READ_ONLY_USER,
    RING1_CS,
    RING3_DS,
    UNMAPPED,
    USER,
    TrapMachine,
    handler,
)

TF, DF = 0x100, 0x400


@pytest.fixture
def machine() -> Iterator[TrapMachine]:
    built = emulating_machine()
    yield built
    built.close()


def test_ports(machine: TrapMachine) -> None:
    machine.traps.state.iopl = 1
    code = (
        b"\xe4\x42\x88\xc3"  # in $0x42, %al; mov %al, %bl
        b"\xe4\x61\x88\xc7"  # in $0x61, %al; mov %al, %bh
        + mov_imm(2, 0xCF8) + mov_imm(0, 0x80001234) + b"\xef\x31\xc0\xed\x89\xc6"  # outl; inl -> esi
        + mov_imm(2, 0xCFC) + b"\xed\x89\xc7"  # inl -> edi
        + b"\xb0\x8a\xe6\x70\x31\xc0\xe4\x70\x88\xc1\xe4\x71\x88\xc5"  # cmos index -> cl, data -> ch
        + mov_imm(0, 0) + b"\x66\xe5\x80"  # inw $0x80, %ax
    )  # fmt: skip
    carried_out(machine, code)
    cpu = machine.cpu
    assert (cpu.ebx & 0xFFFF, cpu.esi, cpu.edi) == (0xFF00, 0x80001234, 0xFFFFFFFF)
    assert (cpu.ecx & 0xFFFF, cpu.eax) == (0xFF8A, 0x0000FFFF)


@pytest.mark.parametrize(
    "code", [b"\xe4\x42", b"\xe6\x42", b"\xec", b"\xef", b"\x6c", b"\xf3\x6f"], ids=bytes.hex
)
def test_ports_need_privilege(machine: TrapMachine, code: bytes) -> None:
    machine.cpu.esi = machine.cpu.edi = DATA
    machine.cpu.ecx = 1
    faults(machine, code)


STRING_FAULTS = [
    pytest.param(b"\x6c", 0, 2, UNMAPPED, id="insb"),
    pytest.param(b"\xf3\x6d", 0, 2, UNMAPPED, id="rep-insl"),
    pytest.param(b"\x6d", 2, 2, UNMAPPED, id="insl-across-pages"),
    pytest.param(b"\x6c", 0x1000, 2, UNMAPPED - 0x1000, id="insb-read-only"),
    pytest.param(b"\x66\x6d", 0, 2, UNMAPPED, id="insw"),
    pytest.param(b"\x6e", 0, 0, UNMAPPED, id="outsb"),
    pytest.param(b"\x64\xf3\x6f", 0, 0, UNMAPPED, id="rep-outsl-fs"),
]


@pytest.mark.parametrize(("code", "below", "error_code", "address"), STRING_FAULTS)
@pytest.mark.parametrize("ring", [1, 3])
def test_a_string_transfer_that_faults_reports_as_xen_does(
    machine: TrapMachine, ring: int, code: bytes, below: int, error_code: int, address: int
) -> None:
    """Xen does not look why its store failed: W for INS, nothing for OUTS, whether a page is there or not."""
    machine.map(UNMAPPED - 0x1000, UNMAPPED - 0x1000 >> 12, READ_ONLY_USER if below == 0x1000 else EVERYTHING)
    machine.traps.state.iopl = 3
    machine.enter_ring(ring)
    machine.cpu.load_segment("fs", RING3_DS)
    cpu = machine.cpu
    cpu.esi = cpu.edi = UNMAPPED - below
    cpu.ecx = 4
    start = cpu.eip
    machine.run(code + STOP)
    assert cpu.eip == handler(14)
    assert machine.frame(2) == [error_code | (4 if ring == 3 else 0), start]
    assert machine.words(INFO + 8, 1) == [address]


@pytest.mark.parametrize("code", [b"\x6c", b"\xf3\x6d", b"\x6e", b"\xf3\x6f"], ids=bytes.hex)
def test_privilege_comes_before_the_memory_of_a_string_transfer(machine: TrapMachine, code: bytes) -> None:
    machine.user()
    machine.cpu.esi = machine.cpu.edi = UNMAPPED
    machine.cpu.ecx = 1
    faults(machine, code)


def test_the_io_bitmap_lets_applications_use_ports(machine: TrapMachine) -> None:
    state = machine.traps.state
    state.io_bitmap, state.io_bitmap_ports = DATA, 0x400
    machine.ram.write(DATA, b"\xff" * 0x80)
    machine.ram.bytes[DATA + (0x3F0 >> 3)] = 0xFC  # ports 0x3f0 and 0x3f1
    machine.user()
    machine.cpu.edx = 0x3F0
    carried_out(machine, b"\xec\x66\xed")
    machine.trace.clear()
    machine.user()
    machine.cpu.edx = 0x3F1
    faults(machine, b"\x66\xed")
    machine.trace.clear()
    state.io_bitmap = UNMAPPED
    machine.user()
    machine.cpu.edx = 0x3F0
    faults(machine, b"\xec")


def test_string_input_fills_memory_in_both_directions(machine: TrapMachine) -> None:
    machine.traps.state.iopl = 1
    cpu = machine.cpu
    cpu.edx, cpu.edi, cpu.ecx = 0x300, DATA, 6
    carried_out(machine, b"\xf3\x6c")
    assert (cpu.edi, cpu.ecx) == (DATA + 6, 0)
    assert machine.ram.read(DATA, 7) == b"\xff" * 6 + b"\0"
    machine.trace.clear()
    machine.kernel(0x202 | DF)
    cpu.edi, cpu.ecx = DATA + 0x108, 2
    carried_out(machine, b"\xf3\x6d")
    assert (cpu.edi, cpu.ecx) == (DATA + 0x100, 0)
    assert machine.ram.read(DATA + 0x100, 13) == b"\0" * 4 + b"\xff" * 8 + b"\0"


def test_string_io_reports_the_page_fault_where_it_happens(machine: TrapMachine) -> None:
    machine.traps.state.iopl = 1
    cpu = machine.cpu
    cpu.edx, cpu.edi, cpu.ecx = 0x300, UNMAPPED - 8, 5
    machine.run(b"\xf3\x6d")
    assert (cpu.eip, machine.frame(2)) == (handler(14), [2, KERNEL])
    assert machine.words(INFO + 8, 1) == [UNMAPPED]
    assert (cpu.ecx, cpu.edi) == (3, UNMAPPED), "what was done before the fault stays done"
    machine.trace.clear()
    machine.kernel()
    cpu.esi, cpu.ecx = UNMAPPED, 1
    machine.run(b"\xf3\x6e")
    assert (cpu.eip, machine.frame(2)) == (handler(14), [0, KERNEL])


def test_string_io_obeys_the_segment(machine: TrapMachine) -> None:
    machine.traps.state.iopl = 1
    cpu = machine.cpu
    cpu.load_segment("es", 8 * 5 + 1)
    cpu.edx, cpu.edi, cpu.ecx = 0x300, 0x20, 1
    carried_out(machine, b"\xf3\x6c")
    assert machine.ram.read(0x51000 + 0x20, 1) == b"\xff"
    machine.trace.clear()
    machine.kernel()
    cpu.load_segment("es", 8 * 5 + 1)
    machine.set_descriptor(5, 0x0040B3051000001F)
    faults(machine, b"\x6c")


def test_a_long_string_takes_several_traps(machine: TrapMachine) -> None:
    machine.traps.state.iopl = 1
    cpu = machine.cpu
    cpu.edx, cpu.edi, cpu.ecx = 0x300, DATA, 3000
    carried_out(machine, b"\xf3\x6c")
    assert cpu.ecx == 0
    assert machine.ram.read(DATA, 3001) == b"\xff" * 3000 + b"\0"
    assert machine.traps.counters.emulated == 3


def test_a_single_step_over_an_emulated_instruction(machine: TrapMachine) -> None:
    machine.kernel(0x202 | TF)
    machine.run(b"\x0f\x20\xc0\x90")
    assert machine.cpu.eip == handler(1)
    assert machine.frame(3) == [KERNEL + 3, RING1_CS, 0x202 | TF]
    assert machine.traps.state.debug.dr6 == 0xFFFF4FF0


def test_a_native_single_step(machine: TrapMachine) -> None:
    machine.kernel(0x202 | TF)
    machine.run(b"\x90\x90")
    assert (machine.cpu.eip, machine.frame(1)) == (handler(1), [KERNEL + 1])
    assert machine.traps.state.debug.dr6 & 0x4000
    assert machine.cpu.eflags & TF == 0


def test_an_io_breakpoint_fires_after_the_access(machine: TrapMachine) -> None:
    state = machine.traps.state
    state.iopl = 1
    state.cr4 |= 8
    state.debug.write(1, 0x60, state.cr4, machine.cpu)
    state.debug.write(7, 1 << 2 | 2 << 20, state.cr4, machine.cpu)
    assert state.debug.read(7, state.cr4) == 0x400 | 1 << 2 | 2 << 20
    machine.run(b"\xe4\x60\x90")
    assert (machine.cpu.eip, machine.frame(1)) == (handler(1), [KERNEL + 2])
    assert state.debug.dr6 == 0xFFFF0FF2


def test_debug_registers_by_instruction(machine: TrapMachine) -> None:
    code = mov_imm(0, 0x1234) + b"\x0f\x23\xc0\x0f\x21\xc3\x0f\x21\xf1\x0f\x21\xfe\x0f\x21\xe7"
    carried_out(machine, code)
    cpu = machine.cpu
    assert (cpu.ebx, cpu.ecx, cpu.esi, cpu.edi) == (0x1234, 0xFFFF0FF0, 0x400, 0xFFFF0FF0)
    machine.trace.clear()
    machine.kernel()
    cpu.eax = 1 << 13
    faults(machine, b"\x0f\x23\xf8")
    machine.trace.clear()
    machine.kernel()
    machine.traps.state.cr4 |= 8
    faults(machine, b"\x0f\x21\xe0", 6, None)


def test_breakpoints_reach_the_processor_and_its_report_reaches_the_guest(machine: TrapMachine) -> None:
    state, cpu = machine.traps.state, machine.cpu
    state.debug.write(0, KERNEL + 2, state.cr4, cpu)
    state.debug.write(7, 1, state.cr4, cpu)
    assert (cpu.get_dr(0), cpu.get_dr(7)) == (KERNEL + 2, 0x401)
    cpu.set_dr(6, 0xFFFF0FF1)
    machine.traps.exception(1, 0)
    assert machine.cpu.eip == handler(1)
    assert state.debug.read(6, state.cr4) == 0xFFFF0FF1
    assert cpu.get_dr(6) == 0xFFFF0FF0


def test_an_execute_breakpoint_fires_once_when_the_handler_sets_rf(machine: TrapMachine) -> None:
    state = machine.traps.state
    state.debug.write(0, KERNEL + 2, state.cr4, machine.cpu)
    state.debug.write(7, 1, state.cr4, machine.cpu)
    machine.ram.write(handler(1), b"\x81\x4c\x24\x08\x00\x00\x01\x00\xcf")  # orl $RF, 8(%esp); iret
    machine.resume = lambda: machine.trace[-1].vector == 1
    machine.run(b"\x90" * 4 + STOP)
    assert [(note.vector, note.eip) for note in machine.trace] == [(1, KERNEL + 2), (0x21, KERNEL + 6)]
    assert state.debug.dr6 == 0xFFFF0FF1


def test_fpu_switching_raises_nm_once(machine: TrapMachine) -> None:
    machine.traps.set_task_switched(True)
    machine.user()
    machine.run(b"\xd9\xe8")
    assert (machine.cpu.eip, machine.frame(1)) == (handler(7), [USER])
    assert not machine.traps.state.cr0_ts, "delivering #NM clears TS"
    machine.trace.clear()
    machine.user()
    carried_out(machine, b"\xd9\xe8\xdd\xd8")


def test_emulation_in_a_16_bit_segment_uses_its_base_and_sizes(machine: TrapMachine) -> None:
    machine.set_descriptor(11, 0x000FBB050000FFFF)  # 16-bit ring 1 code at DATA
    machine.traps.state.iopl = 1
    machine.cpu.enter(cs=8 * 11 + 1, eip=0x10, eflags=0x202, cpl=1)
    machine.ram.write(DATA + 0x10, b"\xe5\x80\x66\xe5\x80" + STOP)
    machine.cpu.eax = 0
    machine.resume = lambda: not machine.trace
    machine.cpu.run()
    assert machine.cpu.eax == 0xFFFFFFFF
    assert machine.frame(2) == [0x10 + 7, 8 * 11 + 1]


def test_an_instruction_whose_end_is_unmapped_faults_there(machine: TrapMachine) -> None:
    """The processor cannot raise #GP for it, but a page may go away under the hypervisor's eyes."""
    machine.kernel(eip=UNMAPPED - 2)
    machine.ram.write(UNMAPPED - 2, b"\x0f\x20")
    machine.traps.exception(13, 0)
    assert (machine.cpu.eip, machine.frame(2)) == (handler(14), [0, UNMAPPED - 2])


@pytest.mark.parametrize(
    ("code", "size", "opcode", "length"),
    [
        (b"\x0f\x20\xc0", 32, decode.READ_CR, 3),
        (b"\x2e\x66\xf3\x6d", 32, 0x6D, 4),
        (b"\xe4\x10", 16, 0xE4, 2),
        (b"\x0f\x01\xf9", 32, decode.RDTSCP, 3),
        (b"\x90", 32, None, 0),
        (b"\x0f\x01\xf8", 32, None, 0),
        (b"\x66" * 15, 32, None, 0),
        (b"\x66" * 13 + b"\x0f\x20\xc0", 32, None, 0),
    ],
)
def test_decoding(code: bytes, size: int, opcode: int | None, length: int) -> None:
    found = decode.decode(code, size)
    assert (
        (opcode, length) == (None, 0) if found is None else (found.opcode, found.length) == (opcode, length)
    )


@pytest.mark.parametrize("code", [b"", b"\x0f", b"\x66", b"\x0f\x22", b"\xe5", b"\x0f\x01"], ids=bytes.hex)
def test_decoding_notices_a_truncated_instruction(code: bytes) -> None:
    with pytest.raises(decode.Truncated):
        decode.decode(code, 32)
