"""Every way a guest leaves its own instructions, as the handler sees it."""

import struct

import pytest

from tests.support.cpu_bench import CODE, DATA, KERNEL_CS, STACK, USER, USER_CS, USER_DS, Bench, Trap

UNMAPPED = 0x50000
MOV_EAX = b"\xb8"


def imm32(value: int) -> bytes:
    return struct.pack("<I", value)


def store_to(va: int) -> bytes:
    """movl $1, va"""
    return b"\xc7\x05" + imm32(va) + imm32(1)


def load_from(va: int) -> bytes:
    """mov va, %eax"""
    return b"\xa1" + imm32(va)


def test_software_interrupt_arrives_with_eip_past_it_and_registers_readable(any_bench: Bench) -> None:
    traps = any_bench.run(MOV_EAX + imm32(0x12345678) + b"\xcd\x82")
    assert traps == [Trap("interrupt", 0x82, 0, CODE + 7, 1)]
    assert any_bench.cpu.eax == 0x12345678


@pytest.mark.parametrize("vector", [0, 3, 8, 13, 14, 0x80, 0xFF])
def test_software_interrupts_of_exception_vectors_stay_interrupts(bench: Bench, vector: int) -> None:
    assert bench.run(bytes((0xCD, vector))) == [Trap("interrupt", vector, 0, CODE + 2, 1)]


def test_int3_and_into_are_interrupts(bench: Bench) -> None:
    assert bench.run(b"\xcc") == [Trap("interrupt", 3, 0, CODE + 1, 1)]
    bench.kernel(eflags=0xA02)
    assert bench.run(b"\xce") == [Trap("interrupt", 4, 0, CODE + 1, 1)]


@pytest.mark.parametrize(
    ("code", "vector", "error_code", "offset"),
    [
        pytest.param(b"\xfa", 13, 0, 0, id="cli"),
        pytest.param(b"\xf4", 13, 0, 0, id="hlt"),
        pytest.param(b"\x0f\x22\xd8", 13, 0, 0, id="mov-to-cr3"),
        pytest.param(b"\x0f\x20\xc0", 13, 0, 0, id="mov-from-cr0"),
        pytest.param(b"\x0f\x23\xf8", 13, 0, 0, id="mov-to-dr7"),
        pytest.param(b"\x0f\x32", 13, 0, 0, id="rdmsr"),
        pytest.param(b"\x0f\x01\x38", 13, 0, 0, id="invlpg"),
        pytest.param(b"\x0f\x31", 13, 0, 0, id="rdtsc"),
        pytest.param(b"\x0f\x01\xf9", 13, 0, 0, id="rdtscp"),
        pytest.param(b"\x0f\x33", 13, 0, 0, id="rdpmc"),
        pytest.param(b"\x0f\x0b", 6, 0, 0, id="ud2"),
        pytest.param(b"\x0f\xff", 6, 0, 0, id="undefined"),
        pytest.param(b"\x31\xc9\xf7\xf1", 0, 0, 2, id="divide-by-zero"),
        pytest.param(b"\x66\xb8\x38\x12\x8e\xd8", 13, 0x1238, 4, id="selector-beyond-gdt"),
        pytest.param(b"\x66\xb8\x31\x00\x8e\xd8", 11, 0x30, 4, id="segment-not-present"),
        pytest.param(b"\x66\xb8\x31\x00\x8e\xd0", 12, 0x30, 4, id="stack-not-present"),
        pytest.param(b"\x0f\x05", 6, 0, 0, id="syscall"),
        pytest.param(b"\x0f\x34", 13, 0, 0, id="sysenter"),
        pytest.param(b"\x66\x0f\x34", 13, 0, 0, id="sysenter-prefixed"),
    ],
)
def test_fault_arrives_at_its_instruction(
    bench: Bench, code: bytes, vector: int, error_code: int, offset: int
) -> None:
    assert bench.run(code) == [Trap("exception", vector, error_code, CODE + offset, 1)]


def test_bound_range_exceeded(bench: Bench) -> None:
    bench.ram.write(DATA, struct.pack("<ii", 5, 9))
    # mov $4,%eax ; bound %eax, DATA
    assert bench.run(MOV_EAX + imm32(4) + b"\x62\x05" + imm32(DATA)) == [Trap("exception", 5, 0, CODE + 5, 1)]


@pytest.mark.parametrize("ring", [1, 3])
@pytest.mark.parametrize("opcode", [0xE4, 0xE5, 0xE6, 0xE7, 0xEC, 0xED, 0xEE, 0xEF], ids=hex)
def test_port_instructions_are_general_protection_faults_and_execute_nothing(
    bench: Bench, opcode: int, ring: int
) -> None:
    if ring == 3:
        bench.user()
    start = USER if ring == 3 else CODE
    operand = b"\x60" if opcode < 0xE8 else b""
    # What follows in the same block must not execute either.
    code = MOV_EAX + imm32(0x11223344) + bytes((opcode,)) + operand + b"\xb9\x01\x00\x00\x00\xcd\x20"
    assert bench.run(code, at=start) == [Trap("exception", 13, 0, start + 5, ring)]
    assert (bench.cpu.eax, bench.cpu.ecx) == (0x11223344, 0)


@pytest.mark.parametrize("prefix", [b"", b"\xf3"], ids=["once", "rep"])
@pytest.mark.parametrize("opcode", [0x6C, 0x6D, 0x6E, 0x6F], ids=hex)
def test_string_port_instructions_move_no_register(bench: Bench, opcode: int, prefix: bytes) -> None:
    bench.cpu.esi = bench.cpu.edi = DATA
    bench.cpu.ecx = 5
    assert bench.run(prefix + bytes((opcode,)) + b"\xcd\x20") == [Trap("exception", 13, 0, CODE, 1)]
    assert (bench.cpu.esi, bench.cpu.edi, bench.cpu.ecx) == (DATA, DATA, 5)


def test_string_output_of_an_unmapped_byte_is_a_page_fault(bench: Bench) -> None:
    bench.cpu.esi = UNMAPPED
    assert bench.run(b"\x6e") == [Trap("exception", 14, 0, CODE, 1)]


def test_port_instruction_can_be_emulated_and_stepped_over(bench: Bench) -> None:
    def emulate(trap: Trap) -> None:
        if trap.kind == "interrupt":
            bench.cpu.stop()
            return
        bench.cpu.eax = 0xAB
        bench.cpu.eip = trap.eip + 2

    bench.handler.on_trap = emulate
    bench.run((b"\xe4\x42" * 3) + b"\x89\xc3\xcd\x20")
    assert [trap.vector for trap in bench.traps] == [13, 13, 13, 0x20]
    assert bench.cpu.ebx == 0xAB


@pytest.mark.parametrize("code", [b"\x0f\x05", b"\x0f\x34"], ids=["syscall", "sysenter"])
def test_call_instruction_is_reported_before_a_stop_asked_for_meanwhile(bench: Bench, code: bytes) -> None:
    bench.run(code)
    assert bench.cpu.cr3 == bench.cpu._words[bench.cpu._layout.cr3]
    bench.kernel()
    assert bench.run(b"\xcd\x21") == [Trap("interrupt", 0x21, 0, CODE + 2, 1)]


def test_cpuid_is_answered_by_the_handler(bench: Bench) -> None:
    bench.cpu.ecx = 7
    bench.run(MOV_EAX + imm32(0x40000000) + b"\x0f\xa2\xcd\x20")
    assert bench.handler.leaves == [(0x40000000, 7)]
    cpu = bench.cpu
    assert (cpu.eax, cpu.ebx, cpu.ecx, cpu.edx) == (0x40000001, 0x40000002, 0x40000003, 0x40000004)


@pytest.mark.parametrize(
    ("code", "user", "error_code"),
    [
        pytest.param(load_from(UNMAPPED), False, 0, id="read"),
        pytest.param(store_to(UNMAPPED), False, 2, id="write"),
        pytest.param(load_from(UNMAPPED), True, 4, id="user-read"),
        pytest.param(store_to(UNMAPPED), True, 6, id="user-write"),
        pytest.param(load_from(DATA), True, 5, id="user-read-of-kernel-page"),
        pytest.param(store_to(DATA), True, 7, id="user-write-to-kernel-page"),
    ],
)
def test_page_fault_error_code_and_cr2(any_bench: Bench, code: bytes, user: bool, error_code: int) -> None:
    bench = any_bench
    start = USER if user else CODE
    if user:
        bench.user()
    assert bench.run(code, at=start) == [Trap("exception", 14, error_code, start, 3 if user else 1)]
    assert bench.cpu.cr2 == (DATA if error_code & 1 else UNMAPPED)


def test_write_protection_holds_in_ring_1(any_bench: Bench) -> None:
    any_bench.map(DATA, 17, 1)
    assert any_bench.run(store_to(DATA)) == [Trap("exception", 14, 3, CODE, 1)]


def test_no_execute_faults_with_the_fetch_bit(bench: Bench) -> None:
    bench.set_pte(DATA, 17 << 12 | 3 | 1 << 63)
    bench.cpu.eip = DATA
    assert bench.run() == [Trap("exception", 14, 0x11, DATA, 1)]


def test_reserved_bit_faults(bench: Bench) -> None:
    bench.set_pte(DATA, 17 << 12 | 3 | 1 << 50)
    assert bench.run(load_from(DATA)) == [Trap("exception", 14, 9, CODE, 1)]


def test_task_switched_flag_raises_device_not_available(bench: Bench) -> None:
    bench.cpu.cr0 |= 8
    assert bench.run(b"\xd9\xe8\xcd\x20") == [Trap("exception", 7, 0, CODE, 1)]
    bench.cpu.cr0 &= ~8
    assert bench.run() == [Trap("interrupt", 0x20, 0, CODE + 4, 1)]


def test_unmasked_x87_error_is_reported_at_the_next_wait(bench: Bench) -> None:
    # fldcw (all unmasked); fldz; fld1; fdivp (1/0); fwait
    bench.ram.write(DATA, b"\x40\x03")
    code = b"\xdb\xe3\xd9\x2d" + imm32(DATA) + b"\xd9\xe8\xd9\xee\xde\xf9\x9b"
    traps = bench.run(code + b"\xcd\x20")
    assert traps == [Trap("exception", 16, 0, CODE + len(code) - 1, 1)]


def test_single_step_reports_the_next_instruction_and_dr6(bench: Bench) -> None:
    bench.kernel(eflags=0x302)
    assert bench.run(b"\x40\x40") == [Trap("exception", 1, 0, CODE + 1, 1)]
    assert bench.cpu.get_dr(6) & 0x4000


def test_trap_flag_written_in_a_handler_steps_on(bench: Bench) -> None:
    def step(trap: Trap) -> None:
        if len(bench.traps) == 3:
            bench.cpu.stop()
        else:
            bench.cpu.eflags |= 0x100

    bench.handler.on_trap = step
    bench.run(b"\xcd\x82\x40\x40\x40")
    assert [(trap.vector, trap.eip - CODE) for trap in bench.traps] == [(0x82, 2), (1, 3), (1, 4)]


def test_any_number_of_mixed_faults_arrive_as_themselves(bench: Bench) -> None:
    plan = [store_to(UNMAPPED), b"\xfa", b"\x31\xc9\xf7\xf1", b"\x0f\x0b", b"\xec", load_from(UNMAPPED)] * 5
    seen: list[int] = []

    def next_fault(trap: Trap) -> None:
        seen.append(trap.vector)
        if len(seen) == len(plan):
            bench.cpu.stop()
            return
        bench.code(plan[len(seen)])
        bench.cpu.eip = CODE

    bench.handler.on_trap = next_fault
    bench.run(plan[0])
    assert seen == [14, 13, 0, 6, 13, 14] * 5


def test_faults_whose_handler_changes_ring_stack_flags_and_tables(bench: Bench) -> None:
    bench.code(b"\xfa", at=CODE)
    bench.code(b"\xfa", at=USER)

    def alternate(trap: Trap) -> None:
        if len(bench.traps) == 20:
            bench.cpu.stop()
        elif trap.cpl == 1:
            bench.user(eflags=0x246)
            bench.cpu.cr3 = bench.cpu.cr3
        else:
            bench.kernel(eflags=0x202)

    bench.handler.on_trap = alternate
    bench.run()
    assert [(trap.vector, trap.cpl) for trap in bench.traps] == [(13, 1), (13, 3)] * 10


def test_arithmetic_flags_survive_a_trap(bench: Bench) -> None:
    bench.handler.on_trap = lambda trap: bench.cpu.stop() if trap.vector == 0x20 else None
    # stc-producing add, int 0x82, then pushf
    bench.run(b"\xb0\xff\x04\x01\xcd\x82\x9c\x58\xcd\x20")
    assert bench.cpu.eax & 0x8D5 == 0x055 | 0x00


def test_flags_written_in_a_handler_are_the_guests(bench: Bench) -> None:
    def write(trap: Trap) -> None:
        if trap.vector == 0x20:
            bench.cpu.stop()
        else:
            bench.cpu.eflags = 0x44AD7

    bench.handler.on_trap = write
    bench.run(b"\x31\xc0\xcd\x82\x9c\x58\xcd\x20")
    assert bench.cpu.eax & 0x4CFFF == 0x44AD7 & ~0x100


def test_vm_flag_cannot_be_written(bench: Bench) -> None:
    bench.cpu.eflags = 0x20202
    assert bench.cpu.eflags == 0x202


def test_registers_written_in_a_handler_are_the_guests(bench: Bench) -> None:
    def write(trap: Trap) -> None:
        if trap.vector == 0x20:
            bench.cpu.stop()
            return
        for index, name in enumerate(("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp")):
            setattr(bench.cpu, name, 0x100 + index)
        bench.cpu.esp = STACK + 0x100

    bench.handler.on_trap = write
    bench.run(b"\xcd\x82\x60\xcd\x20")
    pushed = struct.unpack("<8I", bench.cpu.read(STACK + 0x100 - 32, 32))
    assert pushed == (0x105, 0x104, 0x106, STACK + 0x100, 0x101, 0x103, 0x102, 0x100)
    assert bench.cpu.gprs() == (0x100, 0x102, 0x103, 0x101, STACK + 0x100 - 32, 0x106, 0x104, 0x105)


def test_native_iret_to_ring_3_and_back_through_a_trap(bench: Bench) -> None:
    bench.code(b"\xcd\x21", at=USER)
    frame = b"".join(b"\x68" + imm32(v) for v in (USER_DS, USER + 0x1000, 0x202, USER_CS, USER))
    assert bench.run(frame + b"\xcf") == [Trap("interrupt", 0x21, 0, USER + 2, 3)]
    assert (bench.cpu.cs, bench.cpu.ss, bench.cpu.esp) == (USER_CS, USER_DS, USER + 0x1000)


@pytest.mark.parametrize("user", [False, True], ids=["ring 1", "ring 3"])
def test_native_iret_with_nt_set_is_a_general_protection_fault(bench: Bench, user: bool) -> None:
    if user:
        bench.user()
    bench.cpu.eflags |= 0x4000
    here = USER if user else CODE
    assert bench.run(b"\xcf", here) == [Trap("exception", 13, 0, here, 3 if user else 1)]


def test_the_resume_flag_is_over_after_one_instruction(bench: Bench) -> None:
    bench.cpu.eflags |= 0x10000
    bench.run(b"\x40\xce\xcd\x20")
    assert bench.cpu.eflags & 0x10000 == 0


@pytest.mark.parametrize("instruction", [b"\xcb", b"\xcf"], ids=["lret", "iret"])
def test_native_return_to_ring_0_is_refused(bench: Bench, instruction: bytes) -> None:
    values = (0x202, 0x38, CODE) if instruction == b"\xcf" else (0x38, CODE)
    code = b"".join(b"\x68" + imm32(v) for v in values) + instruction
    assert bench.run(code) == [Trap("exception", 13, 0x38, CODE + len(code) - 1, 1)]


def test_call_gate_towards_a_more_privileged_ring_is_a_fault_and_not_the_end_of_the_process(
    bench: Bench,
) -> None:
    gate = KERNEL_CS << 16 | (CODE & 0xFFFF) | (0xEC00 | CODE & 0xFFFF0000) << 32
    bench.ram.quads[(0x1F000 >> 3) + 20] = gate
    bench.user()
    assert bench.run(b"\x9a" + imm32(0) + struct.pack("<H", 0xA3), at=USER)[0].vector == 10


def test_far_jump_to_a_ring_0_segment_is_refused(bench: Bench) -> None:
    code = b"\xea" + imm32(CODE) + struct.pack("<H", 0x38)
    assert bench.run(code) == [Trap("exception", 13, 0x38, CODE, 1)]
