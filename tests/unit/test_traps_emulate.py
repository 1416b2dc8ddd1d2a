"""Privileged instructions carried out for a guest, executed on the real processor."""

from collections.abc import Iterator

import pytest

from tests.support.trap_emulation import carried_out, emulating_machine, faults, mov_imm
from tests.support.trap_machine import (
    INFO,
    KERNEL,
    UNMAPPED,
    USER,
    TrapMachine,
    handler,
)

CR0 = 0x80050033


@pytest.fixture
def machine() -> Iterator[TrapMachine]:
    built = emulating_machine()
    yield built
    built.close()


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


def test_writing_cr3_loads_a_base_pointer_or_is_the_guests_fault(machine: TrapMachine) -> None:
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
