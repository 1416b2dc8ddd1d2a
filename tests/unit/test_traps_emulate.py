"""Privileged instructions carried out for a guest, executed on the real processor."""

from collections.abc import Iterator

import pytest

from hypervisor.traps.emulate import decode
from tests.unit.trap_machine import (
    CURRENT_STACK_TOP,
    DATA,
    GDT,
    INFO,
    KERNEL,
    KERNEL_STACK_TOP,
    RING1_CS,
    UNMAPPED,
    USER,
    TrapMachine,
    handler,
)

STOP = b"\xcd\x21"
TF, RF, DF = 0x100, 0x10000, 0x400
CR0 = 0x80050033


@pytest.fixture
def machine() -> Iterator[TrapMachine]:
    built = TrapMachine()
    built.install_all()
    built.resume = lambda: not built.trace
    yield built
    built.close()


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


def test_reading_control_registers(machine: TrapMachine) -> None:
    machine.traps.state.show_cr2(0x1234)
    carried_out(
        machine, b"\x0f\x20\xc0\x0f\x20\xd3\x0f\x20\xd9\x0f\x20\xe2"
    )  # cr0->eax cr2->ebx cr3->ecx cr4->edx
    cpu = machine.cpu
    assert (cpu.eax, cpu.ebx, cpu.ecx, cpu.edx) == (CR0, 0x1234, 0x77000, 0x660)


@pytest.mark.parametrize("register", range(8))
def test_every_general_register_is_a_destination(machine: TrapMachine, register: int) -> None:
    machine.resume = lambda: False
    machine.run(bytes((0x0F, 0x20, 0xC0 | register)))
    assert machine.cpu.gprs()[register] == CR0
    assert machine.cpu.eip == KERNEL + 3


def test_writing_cr0_changes_ts_and_nothing_else(machine: TrapMachine) -> None:
    carried_out(machine, mov_imm(0, CR0 | 8) + b"\x0f\x22\xc0\x0f\x20\xc3")
    assert machine.cpu.ebx == CR0 | 8
    assert machine.cpu.cr0 & 8
    machine.trace.clear()
    machine.kernel()
    carried_out(machine, b"\x0f\x06\x0f\x20\xc3")  # clts
    assert machine.cpu.ebx == CR0
    assert not machine.cpu.cr0 & 8
    machine.trace.clear()
    machine.kernel()
    machine.cpu.eax = CR0 & ~0x10000
    faults(machine, b"\x0f\x22\xc0")
    assert machine.cpu.cr0 & 0x10000
    assert "only TS" in machine.notes[0]


def test_writing_cr2_shows_in_vcpu_info(machine: TrapMachine) -> None:
    carried_out(machine, mov_imm(0, 0xCAFE) + b"\x0f\x22\xd0")
    assert machine.words(INFO + 8, 1) == [0xCAFE]


def test_writing_cr3_goes_to_the_memory_room(machine: TrapMachine) -> None:
    carried_out(machine, mov_imm(0, 0x99000) + b"\x0f\x22\xd8")
    assert machine.base == 0x99000
    machine.trace.clear()
    machine.kernel()
    machine.cpu.eax = 0x99001
    faults(machine, b"\x0f\x22\xd8")
    assert machine.base == 0x99000


def test_writing_cr4_keeps_what_the_guest_may_choose(machine: TrapMachine) -> None:
    carried_out(machine, mov_imm(0, 0xFFFFFFFF) + b"\x0f\x22\xe0\x0f\x20\xe3")
    assert machine.cpu.ebx == 0x660 | 0xC
    assert machine.cpu.cr4 & 0x10 == 0, "large pages stay off"


@pytest.mark.parametrize("register", [1, 5, 6, 7])
def test_other_control_registers_fault(machine: TrapMachine, register: int) -> None:
    machine.run(bytes((0x0F, 0x20, 0xC0 | register << 3)))
    assert machine.cpu.eip in {handler(13), handler(6)}


USER_REFUSED = [
    b"\x0f\x20\xc0",
    b"\x0f\x22\xc0",
    b"\x0f\x06",
    b"\x0f\x09",
    b"\x0f\x32",
    b"\x0f\x30",
    b"\x0f\x21\xf8",
]
NEVER = [
    b"\xf4",
    b"\x0f\x08",
    b"\x0f\x33",
    b"\x0f\x01\x38",
    b"\x0f\x01\xf0",
    b"\x0f\x01\x10",
    b"\x0f\x00\xd8",
]


@pytest.mark.parametrize("code", USER_REFUSED + NEVER, ids=bytes.hex)
def test_applications_get_gp(machine: TrapMachine, code: bytes) -> None:
    machine.user()
    faults(machine, code)


@pytest.mark.parametrize("code", NEVER, ids=bytes.hex)
def test_kernels_get_gp_for_what_xen_does_not_emulate(machine: TrapMachine, code: bytes) -> None:
    """hlt, invd, rdpmc, invlpg, lmsw, lgdt, ltr."""
    faults(machine, code)


def test_wbinvd_is_nothing(machine: TrapMachine) -> None:
    carried_out(machine, b"\x0f\x09")


@pytest.mark.parametrize(
    ("ring", "iopl", "assist", "allowed"),
    [(1, 0, False, False), (1, 1, False, True), (1, 0, True, True), (3, 2, True, False), (3, 3, False, True)],
)
def test_cli_and_sti_do_nothing_where_iopl_allows_them(
    machine: TrapMachine, ring: int, iopl: int, assist: bool, allowed: bool
) -> None:
    machine.traps.state.iopl, machine.architectural_iopl = iopl, assist
    machine.enter_ring(ring)
    if allowed:
        carried_out(machine, b"\xfa\xfb")
        assert machine.mask == 0
    else:
        faults(machine, b"\xfa")


def test_popf_and_pushf_keep_interrupts_and_iopl_as_they_are(machine: TrapMachine) -> None:
    carried_out(machine, b"\x68\x02\x30\x00\x00\x9d\x9c\x5b")  # push $0x3002; popf; pushf; pop %ebx
    assert machine.cpu.ebx == 0x202


def test_time_stamp_counter(machine: TrapMachine) -> None:
    carried_out(machine, b"\x0f\x31")
    assert (machine.cpu.edx, machine.cpu.eax) == (1, 0x23456789)
    machine.trace.clear()
    machine.user()
    carried_out(machine, b"\x0f\x31")
    machine.trace.clear()
    machine.traps.state.cr4 |= 4
    machine.kernel()
    carried_out(machine, b"\x0f\x31")
    machine.trace.clear()
    machine.user()
    faults(machine, b"\x0f\x31")


def test_model_specific_registers_read(machine: TrapMachine) -> None:
    for number, value in {
        0x10: 0x123456789,
        0x1B: 0xFEE00900,
        0x3A: 1,
        0x8B: 1 << 32,
        0x140: 0,
        0x179: 0x1000C02,
        0x17A: 0,
        0x17B: 0,
        0x186: 0,
        0x198: 0,
        0x1A0: 0x801801,
        0x277: 0x50100070406,
        0x280: 0,
        0x345: 0,
        0x400: (1 << 64) - 1,
        0x401: 0,
        0x408: 0,
        0x40000000: 0,
        0xC0000080: 0x800,
        0xC001001F: 0,
    }.items():
        machine.trace.clear()
        machine.kernel()
        machine.cpu.ecx = number
        carried_out(machine, b"\x0f\x32")
        assert machine.cpu.edx << 32 | machine.cpu.eax == value, hex(number)


@pytest.mark.parametrize(
    "number", [0x48, 0x79, 0xE7, 0x10A, 0x174, 0x200, 0x800, 0x40000001, 0xC0000081, 0xC0000100, 0xC0000102]
)
def test_model_specific_registers_that_fault_on_read(machine: TrapMachine, number: int) -> None:
    machine.cpu.ecx = number
    faults(machine, b"\x0f\x32")


def test_a_kernel_without_a_gp_handler_reads_zero_from_hardware_registers(machine: TrapMachine) -> None:
    machine.install(13, 0, 0, 0)
    machine.cpu.eax = machine.cpu.edx = 5
    machine.cpu.ecx = 0x174
    carried_out(machine, b"\x0f\x32")
    assert (machine.cpu.eax, machine.cpu.edx) == (0, 0)
    machine.kernel()
    machine.cpu.ecx = 0xC0000102
    machine.run(b"\x0f\x32")
    assert machine.crash is not None


WRITES = [
    (0x10, 0x1, False), (0x8b, 0x0, True), (0x8b, 0x1, False), (0x140, 0x0, True), (0x140, 0x1, False),
    (0x17a, 0x4, True), (0x179, 0x1, False), (0x17b, 0x1, True), (0x186, 0x7, True), (0x199, 0x9, True),
    (0x198, 0x0, False), (0x1a0, 0x0, True), (0x280, 0x1, True), (0x400, 0x0, True), (0x401, 0x0, True),
    (0x401, 0x1, False), (0x277, 0x0, False), (0xe7, 0x1, True), (0x40000000, 0x55000, True),
    (0x40000000, 0x55001, False), (0x40000000, 0x100000, False), (0x40000001, 0x0, False),
    (0xc0000080, 0x800, True), (0xc0000080, 0x801, False), (0xc0000100, 0x0, False),
]  # fmt: skip


@pytest.mark.parametrize(("number", "value", "allowed"), WRITES)
def test_writing_model_specific_registers(
    machine: TrapMachine, number: int, value: int, allowed: bool
) -> None:
    machine.cpu.ecx, machine.cpu.eax, machine.cpu.edx = number, value, 0
    if allowed:
        carried_out(machine, b"\x0f\x30")
    else:
        faults(machine, b"\x0f\x30")
    assert machine.hypercall_pages == ([0x55] if (number, value) == (0x40000000, 0x55000) else [])


def test_machine_check_status_is_remembered(machine: TrapMachine) -> None:
    machine.cpu.ecx, machine.cpu.eax, machine.cpu.edx = 0x17A, 5, 6
    carried_out(machine, b"\x0f\x30\x31\xc0\x31\xd2\x0f\x32")
    assert (machine.cpu.eax, machine.cpu.edx) == (5, 6)


def test_rdtscp_reads_the_register_the_guest_wrote(machine: TrapMachine) -> None:
    machine.cpu.ecx, machine.cpu.eax, machine.cpu.edx = 0xC0000103, 0x5A, 0
    carried_out(machine, b"\x0f\x30\x0f\x01\xf9")
    assert (machine.cpu.ecx, machine.cpu.edx, machine.cpu.eax) == (0x5A, 1, 0x23456789)
    machine.trace.clear()
    machine.kernel()
    machine.cpu.ecx, machine.cpu.edx = 0xC0000103, 1
    faults(machine, b"\x0f\x30")


def test_icebp_is_a_debug_trap(machine: TrapMachine) -> None:
    machine.user()
    machine.run(b"\xf1")
    assert (machine.cpu.eip, machine.frame(1)) == (handler(1), [USER + 1])


FEATURES = {
    (1, 2, 0): b"\x66\x0f\x7c\xc0",
    (1, 2, 1): b"\x66\x0f\x3a\x44\xc0\0",
    (1, 2, 9): b"\x66\x0f\x38\x1c\xc0",
    (1, 2, 19): b"\x66\x0f\x38\x40\xc0",
    (1, 2, 20): b"\xf2\x0f\x38\xf1\xc0",
    (1, 2, 22): b"\x0f\x38\xf0\x05\0\0\5\0",
    (1, 2, 23): b"\xf3\x0f\xb8\xc0",
    (1, 2, 25): b"\x66\x0f\x38\xdc\xc0",
    (1, 3, 0): b"\xd9\xe8",
    (1, 3, 4): b"\x0f\x31",
    (1, 3, 8): b"\x0f\xc7\x0d\0\0\5\0",
    (1, 3, 15): b"\x0f\x44\xc0",
    (1, 3, 19): b"\x0f\xae\x3d\0\0\5\0",
    (1, 3, 23): b"\x0f\xfc\xc0",
    (1, 3, 24): b"\x0f\xae\x05\0\0\5\0",
    (1, 3, 25): b"\x0f\x58\xc0",
    (1, 3, 26): b"\x66\x0f\x58\xc0",
    (0x80000001, 2, 8): b"\x0f\x0d\x0d\0\0\5\0",
    (0x80000001, 3, 27): b"\x0f\x01\xf9",
}
NO_INSTRUCTION = {
    (1, 2, 31),
    (1, 3, 2),
    (1, 3, 5),
    (1, 3, 6),
    (1, 3, 7),
    (1, 3, 9),
    (1, 3, 11),
    (1, 3, 14),
    (1, 3, 16),
}
NO_INSTRUCTION.add((0x80000001, 3, 20))


def test_every_advertised_feature_is_executed(machine: TrapMachine) -> None:
    advertised = {
        (leaf, register, bit)
        for leaf in (1, 0x80000001)
        for register in (2, 3)
        for bit in range(32)
        if machine.traps.cpuid(leaf, 0)[register] >> bit & 1
    }
    assert advertised == FEATURES.keys() | NO_INSTRUCTION
    for code in FEATURES.values():
        machine.trace.clear()
        machine.user()
        carried_out(machine, code)


def test_forced_emulation_answers_cpuid(machine: TrapMachine) -> None:
    for ring in (1, 3):
        machine.trace.clear()
        machine.enter_ring(ring)
        machine.cpu.eax = 0x40000000
        carried_out(machine, b"\x0f\x0bxen\x0f\xa2")
        cpu = machine.cpu
        assert cpu.eax == 0x40000005
        assert b"".join(w.to_bytes(4, "little") for w in (cpu.ebx, cpu.ecx, cpu.edx)) == b"XenVMMXenVMM"


def test_what_was_carried_out_is_noted_at_its_place(machine: TrapMachine) -> None:
    machine.cpu.ecx = 0x10
    carried_out(machine, b"\x0f\x32\x90\x0f\x0bxen\x0f\xa2")
    assert [(note.name, note.eip, note.outcome) for note in machine.emulated] == [
        ("#GP", KERNEL, "emulated"),
        ("#UD", KERNEL + 3, "emulated cpuid"),
    ]


def test_native_cpuid_answers_the_same(machine: TrapMachine) -> None:
    for leaf in (0, 1, 0x40000001, 0x40000002, 0x40000003, 0x40000005, 0x80000000, 0x80000001, 0x12345678):
        answers = []
        for code in (b"\x0f\xa2", b"\x0f\x0bxen\x0f\xa2"):
            machine.trace.clear()
            machine.kernel()
            machine.cpu.eax, machine.cpu.ecx = leaf, 0
            carried_out(machine, code)
            cpu = machine.cpu
            answers.append((cpu.eax, cpu.ebx, cpu.ecx, cpu.edx))
        assert answers[0] == answers[1] == machine.traps.cpuid(leaf, 0)


@pytest.mark.parametrize("code", [b"\x0f\x0bxen\x0f\xa3", b"\x0f\x0bxeN\x0f\xa2", b"\x0f\x0b"], ids=bytes.hex)
def test_other_invalid_opcodes_are_the_guests(machine: TrapMachine, code: bytes) -> None:
    faults(machine, code, 6, None)


def test_a_forced_prefix_that_runs_into_an_unmapped_page_faults_there(machine: TrapMachine) -> None:
    start = UNMAPPED - 4
    machine.kernel(eip=start)
    machine.ram.write(start, b"\x0f\x0bxe")
    machine.cpu.run()
    assert (machine.cpu.eip, machine.frame(2)) == (handler(14), [0, start])
    assert machine.words(INFO + 8, 1) == [UNMAPPED]


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


CALL_GATE_INDEX, GATE = 12, 8 * 12


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
