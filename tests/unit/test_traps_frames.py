"""Frames of exceptions, software interrupts and upcalls, compared with frames worked out from the rules."""

from collections.abc import Iterator

import pytest

from paravane.abi.trap import TI_IF, TrapInfo
from paravane.traps import GuestCrash
from tests.support.trap_machine import (
    CURRENT_STACK_TOP,
    INFO,
    KERNEL,
    KERNEL_STACK_TOP,
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

WITH_ERROR_CODE = {8, 10, 11, 12, 13, 14, 17}
TRAPS = {1, 3, 4, 8}
"""Vectors whose saved EFLAGS have RF clear; all other exceptions stop an instruction half way."""

EXCEPTIONS = [0, 1, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19]
IF, TF, NT, RF, AC, ID = 0x200, 0x100, 0x4000, 0x10000, 0x40000, 0x200000


@pytest.fixture
def machine() -> Iterator[TrapMachine]:
    built = TrapMachine()
    yield built
    built.close()


def expected_frame(vector: int, ring: int, *, mask: int, eflags: int, error_code: int) -> list[int]:
    """The words Xen pushes, lowest first."""
    words = [error_code] if vector in WITH_ERROR_CODE else []
    saved = eflags & ~(IF | 0x3000)
    if mask == 0:
        saved |= IF
    if vector not in TRAPS:
        saved |= RF
    words += [KERNEL if ring == 1 else USER, (RING1_CS if ring == 1 else RING3_CS) | mask << 16, saved]
    if ring == 3:
        words += [USER_STACK_TOP, RING3_DS]
    return words


@pytest.mark.parametrize("masking", [False, True], ids=["plain", "masking"])
@pytest.mark.parametrize("ring", [1, 3])
@pytest.mark.parametrize("vector", EXCEPTIONS)
def test_exception_frame(machine: TrapMachine, vector: int, ring: int, masking: bool) -> None:
    for mask in (0, 1, 0xFF):
        for eflags in (0x202, 0x202 | NT | AC | ID | 0x8D5, 0x202 | TF):
            machine.install_all(masking=masking)
            machine.traps.set_task_switched(True)
            machine.enter_ring(ring, eflags)
            machine.mask = mask
            machine.cpu.cr2 = 0xDEAD0000
            error_code = 0x7 if vector == 14 else 0x1234 if vector in WITH_ERROR_CODE else 0
            machine.traps.exception(vector, error_code)
            cpu = machine.cpu
            assert (cpu.cs, cpu.ss, cpu.cpl, cpu.eip) == (RING1_CS, RING1_DS, 1, handler(vector))
            assert cpu.eflags == (eflags | IF) & ~(TF | NT | RF)
            shown = (3 if ring == 1 else 7) if vector == 14 else error_code
            frame = expected_frame(vector, ring, mask=mask, eflags=eflags, error_code=shown)
            top = CURRENT_STACK_TOP if ring == 1 else KERNEL_STACK_TOP
            assert cpu.esp == top - 4 * len(frame)
            assert machine.frame(len(frame)) == frame
            assert machine.mask == (mask | 1 if masking else mask)
            if vector == 14:
                assert machine.words(INFO + 8, 1) == [0xDEAD0000]


def test_virtual_iopl_shows_in_frames_of_guests_that_ask_for_it(machine: TrapMachine) -> None:
    machine.install_all()
    machine.traps.state.iopl = 3
    machine.traps.exception(6, 0)
    assert machine.frame(3)[2] & 0x3000 == 0
    machine.kernel()
    machine.architectural_iopl = True
    machine.traps.exception(6, 0)
    assert machine.frame(3)[2] & 0x3000 == 0x3000
    assert machine.cpu.eflags & 0x3000 == 0


def test_the_byte_after_the_mask_is_saved_with_it(machine: TrapMachine) -> None:
    machine.install_all()
    machine.ram.bytes[INFO + 2] = 0x5A
    machine.traps.exception(6, 0)
    assert machine.frame(3)[1] == RING1_CS | 0x5A000000


NATIVE = [
    pytest.param((b"\x31\xc9\xf7\xf1", 0, 2, None), id="DE"),
    pytest.param((b"\xcc", 3, 1, None), id="BP"),
    pytest.param((b"\xb8\xff\xff\xff\x7f\x05\x01\x00\x00\x00\xce", 4, 11, None), id="OF"),
    pytest.param(
        (b"\xb8\x09\x00\x00\x00\x68\x05\x00\x00\x00\x68\x01\x00\x00\x00\x62\x04\x24", 5, 15, None), id="BR"
    ),
    pytest.param((b"\x0f\x0b", 6, 0, None), id="UD"),
    pytest.param((b"\x66\xb8\x31\xf2\x8e\xd8", 13, 4, 0xF230), id="GP-selector"),
    pytest.param((b"\xf4", 13, 0, 0), id="GP-hlt"),
    pytest.param((b"\xa1\x04\x00\x06\x00", 14, 0, None), id="PF"),
    pytest.param((b"\x66\xb8\x31\x00\x8e\xd8", 11, 4, 0x30), id="NP"),
]


@pytest.mark.parametrize("ring", [1, 3])
@pytest.mark.parametrize("raised", NATIVE)
def test_natively_raised_exceptions_report_their_place(
    machine: TrapMachine, ring: int, raised: tuple[bytes, int, int, int | None]
) -> None:
    code, vector, offset, error_code = raised
    machine.install_all()
    if vector == 11:
        machine.set_descriptor(6, 0x00CF73000000FFFF)
    machine.enter_ring(ring)
    machine.run(code)
    assert machine.cpu.eip == handler(vector)
    words = machine.frame(4)
    if vector == 14:
        assert words[0] == (0 if ring == 1 else 4)
        assert machine.words(INFO + 8, 1) == [UNMAPPED + 4]
    elif error_code is not None:
        assert words[0] == error_code
    eip = words[1] if vector in WITH_ERROR_CODE else words[0]
    assert eip == (KERNEL if ring == 1 else USER) + offset


def test_a_handler_returns_with_a_native_iret(machine: TrapMachine) -> None:
    """Ring 3 faults, its kernel steps over the instruction and goes back, all in the processor."""
    machine.install_all()
    machine.ram.write(handler(6), b"\x83\x04\x24\x02\xcf")  # addl $2, (%esp); iret
    machine.resume = lambda: machine.trace[-1].vector == 6
    machine.user(0x202 | ID)
    machine.run(b"\x0f\x0b\xcd\x21")
    assert [(note.vector, note.cpl) for note in machine.trace] == [(6, 3), (0x21, 3)]
    assert machine.frame(5)[:2] == [USER + 4, RING3_CS]
    assert machine.frame(5)[3:] == [USER_STACK_TOP, RING3_DS]
    assert machine.frame(5)[2] & ID


@pytest.mark.parametrize(("ring", "dpl", "allowed"), [(1, 0, 0), (1, 1, 1), (1, 3, 1), (3, 2, 0), (3, 3, 1)])
def test_software_interrupts_obey_the_dpl_of_the_guests_gate(
    machine: TrapMachine, ring: int, dpl: int, allowed: int
) -> None:
    machine.install_all()
    machine.install(0x21, dpl)
    machine.enter_ring(ring)
    machine.run(b"\xcd\x21")
    start = KERNEL if ring == 1 else USER
    if allowed:
        assert machine.cpu.eip == handler(0x21)
        assert machine.frame(3)[0] == start + 2
        assert machine.frame(3)[2] & RF, "a refused INT is a fault for the processor, and Xen turns it round"
    else:
        assert machine.cpu.eip == handler(13)
        assert machine.frame(2) == [0x21 << 3 | 2, start]


# What comes before the instruction, and its prefixes. The first lines end in bytes that look like prefixes.
INTERRUPTS = [
    pytest.param(b"\xb0\x66", b"", id="66-is-an-operand"),
    pytest.param(b"\xb8\x66\x66\x66\x2e", b"", id="four-look-alikes"),
    pytest.param(b"\x6a\x2e", b"", id="push-2e"),
    pytest.param(b"\x90", b"\x66", id="66"),
    pytest.param(b"\x90\x90", b"\x2e\xf3", id="2e-f3"),
    pytest.param(b"\xb8\x66\x66\x66\x2e", b"\x66\x66", id="look-alikes-and-prefixes"),
    pytest.param(b"\x89\xc0", b"\x67" * 13, id="13-prefixes"),
    pytest.param(b"", b"\x3e", id="at-the-start-of-the-code"),
]


@pytest.mark.parametrize(("before", "prefixes"), INTERRUPTS)
@pytest.mark.parametrize("vector", [0x21, 6, 0x82])
@pytest.mark.parametrize("allowed", [False, True])
def test_a_prefixed_int_n_is_refused_at_its_start_and_stepped_over_by_two_bytes(
    machine: TrapMachine, before: bytes, prefixes: bytes, vector: int, allowed: bool
) -> None:
    """Xen adds two to EIP at the refused instruction, whatever its prefixes."""
    machine.install_all()
    machine.install(vector, 3 if allowed else 0)
    machine.map(USER - 0x1000, 0, 0)
    # Straight code before it, so that a look back has something to fall into step with.
    lead = b"\x89\xd8\x83\xc0\x05\x8b\x45\xfc\xc7\x45\xf8\x01\x00\x00\x00\x40" if before else b""
    start = USER + len(lead) + len(before)
    machine.user(eip=USER if before else start)
    machine.cpu.ebp = USER_STACK_TOP - 0x100
    machine.run(lead + before + prefixes + bytes((0xCD, vector)))
    if allowed:
        assert (machine.cpu.eip, machine.frame(1)) == (handler(vector), [start + 2])
    else:
        assert (machine.cpu.eip, machine.frame(2)) == (handler(13), [vector << 3 | 2, start])


@pytest.mark.parametrize("prefixes", [b"", b"\x66", b"\x2e\x67"], ids=bytes.hex)
def test_a_prefixed_system_call_is_a_system_call(machine: TrapMachine, prefixes: bytes) -> None:
    machine.install_all()
    machine.user()
    machine.run(prefixes + b"\xcd\x80")
    assert (machine.cpu.eip, machine.frame(1)) == (handler(0x80), [USER + len(prefixes) + 2])
    assert machine.traps.counters.direct == 1


@pytest.mark.parametrize("vector", [6, 13, 14, 8])
def test_int_of_an_exceptions_vector_pushes_no_error_code(machine: TrapMachine, vector: int) -> None:
    machine.install_all()
    machine.user()
    machine.run(bytes((0xCD, vector)))
    assert machine.cpu.eip == handler(vector)
    assert machine.frame(2) == [USER + 2, RING3_CS]
    assert machine.words(INFO + 8, 1) == [0]


def test_int3_ignores_the_dpl_of_its_gate(machine: TrapMachine) -> None:
    machine.install_all()
    machine.install(3, 0)
    machine.user()
    machine.run(b"\xcd\x03")
    assert machine.cpu.eip == handler(3)
    assert machine.frame(3)[0] == USER + 2
    assert not machine.frame(3)[2] & RF


@pytest.mark.parametrize("dpl", [0, 3])
def test_the_hypercall_gate_is_closed_to_applications(machine: TrapMachine, dpl: int) -> None:
    machine.install_all()
    machine.install(0x82, dpl)
    machine.user()
    machine.run(b"\xcd\x82")
    assert machine.hypercalls == []
    if dpl == 3:
        assert (machine.cpu.eip, machine.frame(1)) == (handler(0x82), [USER + 2])
    else:
        assert (machine.cpu.eip, machine.frame(2)) == (handler(13), [0x82 << 3 | 2, USER])


def test_events_enter_the_event_callback_with_further_ones_masked(machine: TrapMachine) -> None:
    machine.traps.switch_stack(RING1_DS, KERNEL_STACK_TOP)
    machine.traps.state.callbacks.register(0, RING1_CS & ~3, HANDLERS_EVENT, 0)
    machine.user()
    machine.ram.bytes[INFO] = 1
    machine.traps.deliver_pending()
    assert (machine.cpu.cs, machine.cpu.eip, machine.cpu.cpl) == (RING1_CS, HANDLERS_EVENT, 1)
    assert machine.frame(5) == [USER, RING3_CS, 0x202, USER_STACK_TOP, RING3_DS]
    assert machine.mask == 1
    before = machine.cpu.esp
    machine.traps.deliver_pending()
    assert machine.cpu.esp == before, "a masked upcall was delivered"


HANDLERS_EVENT = 0x4F000


def test_events_without_a_callback_end_the_domain(machine: TrapMachine) -> None:
    machine.ram.bytes[INFO] = 1
    with pytest.raises(GuestCrash, match="no callback for events"):
        machine.traps.deliver_pending()


def test_a_trap_without_a_handler_ends_the_domain(machine: TrapMachine) -> None:
    machine.run(b"\x0f\x0b")
    assert machine.crash is not None
    assert "no handler" in machine.crash.sentence
    assert machine.notes == ["unhandled trap 6 with error code 0x0000"]


@pytest.mark.parametrize(
    ("ss", "esp", "sentence"),
    [
        pytest.param(RING1_DS, UNMAPPED + 0x1000, "cannot be written", id="unmapped"),
        pytest.param(RING1_DS, 8, "does not fit", id="wraps"),
        pytest.param(RING1_DS, 0, "cannot be written", id="top-of-memory"),
        pytest.param(8 * 6 + 1, KERNEL_STACK_TOP, "unusable", id="segment-not-present"),
        pytest.param(0x1231, KERNEL_STACK_TOP, "unusable", id="segment-beyond-the-table"),
        pytest.param(RING1_CS, KERNEL_STACK_TOP, "without end", id="code-segment"),
        pytest.param(0, KERNEL_STACK_TOP, "without end", id="null-segment"),
        pytest.param(8 * 4 + 3, KERNEL_STACK_TOP, "without end", id="ring-3-segment"),
    ],
)
def test_a_kernel_stack_that_cannot_take_a_frame_ends_the_domain(
    machine: TrapMachine, ss: int, esp: int, sentence: str
) -> None:
    machine.install_all()
    machine.traps.switch_stack(ss, esp)
    machine.user()
    machine.run(b"\x0f\x0b")
    assert machine.crash is not None
    assert sentence in machine.crash.sentence


def test_a_read_only_kernel_stack_ends_the_domain(machine: TrapMachine) -> None:
    machine.install_all()
    machine.map(KERNEL_STACK_TOP - 0x1000, KERNEL_STACK_TOP - 0x1000 >> 12, 5)
    machine.user()
    machine.run(b"\x0f\x0b")
    assert machine.crash is not None


def test_a_frame_may_cross_a_page(machine: TrapMachine) -> None:
    machine.install_all()
    machine.traps.switch_stack(RING1_DS, KERNEL_STACK_TOP - 0x1000 + 8)
    machine.map(KERNEL_STACK_TOP - 0x2000, 0x55, 7)
    machine.user()
    machine.run(b"\x0f\x0b")
    assert machine.crash is None
    assert machine.ram.read(0x55FF4, 4) == USER.to_bytes(4, "little")
    assert machine.words(KERNEL_STACK_TOP - 0x1000, 2) == [USER_STACK_TOP, RING3_DS]


def test_the_base_of_the_stack_segment_counts(machine: TrapMachine) -> None:
    machine.install_all()
    machine.traps.switch_stack(8 * 5 + 1, 0x800)
    machine.user()
    machine.run(b"\x0f\x0b")
    assert (machine.cpu.ss, machine.cpu.esp) == (8 * 5 + 1, 0x800 - 20)
    assert machine.words(0x51800 - 20, 2) == [USER, RING3_CS]


@pytest.mark.parametrize(
    ("cs", "vector", "error_code"),
    [
        pytest.param(0x1231, 13, 0x1230, id="beyond-the-table"),
        pytest.param(8 * 2 + 1, 13, 8 * 2, id="data"),
        pytest.param(8 * 8 + 1, 11, 8 * 8, id="not-present"),
        pytest.param(8 * 3 + 1, 13, 8 * 3, id="ring-3-code-for-ring-1"),
    ],
)
def test_a_handler_in_a_bad_segment_is_an_exception_at_the_place_it_never_reached(
    machine: TrapMachine, cs: int, vector: int, error_code: int
) -> None:
    machine.install_all()
    machine.install(6, 0, cs, 0x45678)
    machine.user()
    machine.run(b"\x0f\x0b")
    assert machine.crash is None
    assert machine.cpu.eip == handler(vector)
    assert machine.frame(3) == [error_code, 0x45678, cs]
    assert machine.words(KERNEL_STACK_TOP - 20, 2) == [USER, RING3_CS], "the first frame stays where it is"


def test_a_handler_beyond_its_segments_limit_is_gp(machine: TrapMachine) -> None:
    machine.install_all()
    machine.install(6, 0, 8 * 7 + 1, 0x10000)
    machine.user()
    machine.run(b"\x0f\x0b")
    assert (machine.cpu.eip, machine.frame(3)) == (handler(13), [0, 0x10000, 8 * 7 + 1])


def test_exceptions_that_nest_without_end_end_the_domain(machine: TrapMachine) -> None:
    machine.install_all()
    machine.install(13, 0, 0x1231)
    machine.run(b"\xf4")
    assert machine.crash is not None
    assert "without end" in machine.crash.sentence


@pytest.mark.parametrize(("given", "kept"), [(0xE018, 0xE019), (0xE019, 0xE019), (0x6A, 0x6A), (0x73, 0x73)])
def test_selectors_of_ring_0_mean_ring_1(machine: TrapMachine, given: int, kept: int) -> None:
    machine.traps.install_trap(TrapInfo(6, TI_IF, given, 0x1000))
    machine.traps.switch_stack(given, 0)
    state = machine.traps.state
    state.callbacks.register(0, given, 0, 0)
    assert (state.table[6].cs, state.kernel_ss, state.callbacks.event.cs) == (kept, kept, kept)


def test_ring_2_gets_the_registered_stack_and_its_page_faults_the_user_bit(machine: TrapMachine) -> None:
    machine.install_all()
    machine.cpu.enter(cs=8 * 9 + 2, eip=KERNEL, eflags=0x202, cpl=2, ss=8 * 10 + 2, esp=0x53000)
    machine.run(b"\xa1\x04\x00\x06\x00")
    assert machine.frame(6) == [4, KERNEL, 8 * 9 + 2, 0x202 | RF, 0x53000, 8 * 10 + 2]
    assert machine.cpu.esp == KERNEL_STACK_TOP - 24


def test_an_nmi_is_delivered_once_until_the_iret_hypercall(machine: TrapMachine) -> None:
    machine.traps.register_nmi(0x4E000)
    machine.traps.raise_nmi()
    machine.traps.deliver_pending()
    assert (machine.cpu.eip, machine.mask) == (0x4E000, 1)
    machine.traps.raise_nmi()
    machine.kernel(eip=0x4E000)
    machine.traps.deliver_pending()
    assert machine.traps.counters.nmis == 1
    machine.ram.write(
        CURRENT_STACK_TOP - 16, b"".join(w.to_bytes(4, "little") for w in (7, KERNEL, RING1_CS, 0x202))
    )
    machine.cpu.esp = CURRENT_STACK_TOP - 16
    machine.traps.iret()
    machine.traps.deliver_pending()
    assert machine.traps.counters.nmis == 2


def test_an_nmi_without_a_handler_is_lost(machine: TrapMachine) -> None:
    machine.traps.raise_nmi()
    machine.traps.deliver_pending()
    machine.traps.register_nmi(0x4E000)
    assert not machine.traps.pending()
