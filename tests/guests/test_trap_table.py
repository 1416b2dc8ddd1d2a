"""Every trap from both rings through every kind of gate: what a guest's handler finds, against the rules.

The rules are written down here once more, from public/xen.h, public/arch-x86/xen.h and the behaviour of Xen
for 32-bit guests; nothing of the hypervisor's own trap code is used to work out what is expected.
"""

from __future__ import annotations

import struct
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from paravane import StopReason
from paravane.abi.sched import ShutdownReason
from paravane.asm import assemble
from paravane.asm.elf_writer import write_elf
from tests.support.boot import booted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SOURCE = Path(__file__).with_name("trap_table.S")
MEMORY = 8 << 20
UNMAPPED = 0xD0000000
TI_IF = 4
RING1_CS, RING1_SS, RING3_CS, RING3_SS = 0xE019, 0xE021, 0xE02B, 0xE033
ABSENT = {1: 16, 3: 8}
IF, TF, IOPL, NT, RF = 0x200, 0x100, 0x3000, 0x4000, 0x10000
ARITHMETIC = 0x802  # OF, for `into`, and the bit that is always set
ODD = 0x244C02  # the same with DF, NT, AC and ID


class Trigger(NamedTuple):
    """One way to trap. `length` is how far past the trigger EIP points; `software` is for `int n`."""

    name: str
    vector: int
    length: int = 0
    error_code: bool = False
    fault: bool = True
    software: bool = False


# In the order of `triggers` in the guest.
TRIGGERS = (
    Trigger("0", 0),
    Trigger("1", 1, length=7, fault=False),
    Trigger("3", 3, length=1, fault=False),
    Trigger("4", 4, length=1, fault=False),
    Trigger("5", 5),
    Trigger("6", 6),
    Trigger("11", 11, error_code=True),
    Trigger("7", 7),
    Trigger("12", 12, error_code=True),
    Trigger("13", 13, error_code=True),
    Trigger("14", 14, error_code=True),
    Trigger("16", 16),
    Trigger("int_10", 10, length=2, software=True),
    Trigger("int_17", 17, length=2, software=True),
    Trigger("int_19", 19, length=2, software=True),
    Trigger("int_80", 0x80, length=2, fault=False),
    Trigger("int_90", 0x90, length=2, software=True),
)


class Case(NamedTuple):
    """One row: which trap, from which ring, with which upcall mask and flags, through which gate."""

    trigger: int
    ring: int
    flags: int
    cs: int
    mask: int
    eflags: int

    @property
    def how(self) -> Trigger:
        return TRIGGERS[self.trigger]

    def pack(self) -> bytes:
        gate = struct.pack("<BBH", self.how.vector, self.flags, self.cs)
        return gate + struct.pack("<4I", self.trigger, self.ring, self.mask, self.eflags)


class Found(NamedTuple):
    """What the guest's handler saw, in the order of FOUND_ in the guest; `words` from ESP on."""

    vector: int
    esp: int
    cs: int
    ss: int
    eflags: int
    mask: int
    cr2: int
    words: tuple[int, ...]


FOUND = struct.Struct("<13I")


def frame_size(ring: int, error_code: bool) -> int:
    return 4 * ((3 if ring == 1 else 5) + error_code)


def refused(case: Case) -> bool:
    """`int n` needs a gate whose DPL lets the ring in; vector 0x80 does not care while it has a handler."""
    needs_gate = case.how.software or case.how.vector == 0x80 and case.cs < 4
    return needs_gate and case.flags & 3 < case.ring


def expected(case: Case, at: Mapping[str, int]) -> Found:
    """What a handler finds after `case`. `at` has the addresses of the guest's symbols."""
    how, ring = case.how, case.ring
    no = refused(case)
    error_code = how.error_code or no
    saved = (0x302 if how.vector == 1 else case.eflags) & ~(IF | IOPL) | (0 if case.mask else IF)
    if how.fault or no:
        saved |= RF
    eip = at[f"trigger_{how.name}"] + (0 if no else how.length)
    interrupted = [eip, (RING1_CS if ring == 1 else RING3_CS) | case.mask << 16, saved]
    base = at["esp"]
    if ring == 3:
        interrupted += [at["user_stack_top"], RING3_SS]
    codes = {11: ABSENT[ring], 12: ABSENT[ring], 13: 0, 14: 0 if ring == 1 else 4}
    words = [how.vector << 3 | 2 if no else codes[how.vector], *interrupted] if error_code else interrupted
    # The gate taken: the one under test, or, for a refused `int n`, the plain one of #GP.
    masks = bool(case.flags & TI_IF) and not no
    esp = base - frame_size(ring, error_code)
    vector, cs = (13, RING1_CS) if no else (how.vector, case.cs | (0 if case.cs & 3 else 1))
    handler_flags = (0x302 if how.vector == 1 else case.eflags) & ~(TF | NT | RF | IOPL) | IF
    mask = case.mask | masks
    if cs & 3 != 1 or cs & ~3 != RING1_CS & ~3:
        # The hypervisor cannot enter ring 1 through this selector: the #GP is reported at the handler it
        # never reached, on the kernel's stack where the selector's RPL is not ring 1's.
        bad = RING1_SS if cs == RING3_CS else cs
        words = [bad & ~3, at[f"handler_{_symbol(vector)}"], cs | mask << 16]
        words += [handler_flags & ~IF | (0 if mask else IF), esp, RING1_SS]
        vector, esp, cs = 13, base - frame_size(3, error_code=True), RING1_CS
    cr2 = UNMAPPED if how.vector == 14 else 0
    return Found(vector, esp, cs, RING1_SS, handler_flags, mask, cr2, tuple(words))


def _symbol(vector: int) -> str:
    return str(vector) if vector < 0x80 else f"0x{vector:x}"


class Results(NamedTuple):
    """What came of a run over some cases: how the domain ended, what it wrote down, where its symbols are."""

    reason: ShutdownReason | None
    crash_report: str
    found: bytes
    at: Mapping[str, int]


def run(cases: Iterable[Case]) -> Results:
    """Boot the guest over `cases`."""
    table = b"".join(case.pack() for case in cases)
    program = assemble([SOURCE], defines={"RESULTS": len(table) // 20})
    at = {symbol.name: symbol.value for symbol in program.symbols}
    with booted(write_elf(program), memory=MEMORY, ramdisk=table) as guest:
        assert guest.ending.reason is StopReason.DONE
        domain = guest.domain
        cpu = domain.vcpus[0].cpu
        at["esp"] = cpu.read_u32(at["stack_of_kernel"])
        found = cpu.read(at["results"], len(table) // 20 * FOUND.size)
        return Results(domain.reason, domain.crash_report, found, at)


def unpack(raw: tuple[int, ...], words: int) -> Found:
    vector, esp, cs, ss, eflags, mask, cr2, *frame = raw
    return Found(vector, esp, cs & 0xFFFF, ss & 0xFFFF, eflags, mask, cr2, tuple(frame[:words]))


def compare(cases: list[Case]) -> None:
    results = run(cases)
    assert results.reason is ShutdownReason.poweroff, results.crash_report
    cr2 = 0
    for case, raw in zip(cases, FOUND.iter_unpack(results.found), strict=True):
        want = expected(case, results.at)
        cr2 = want.cr2 or cr2  # it stays
        got = unpack(raw, len(want.words))
        assert got == want._replace(cr2=cr2), f"{case}\nfound  {show(got)}\nwanted {show(want)}"


def show(found: Found) -> str:
    head = " ".join(f"{name}={value:#x}" for name, value in found._asdict().items() if name != "words")
    return f"{head} words {' '.join(f'{word:08x}' for word in found.words)}"


@pytest.mark.parametrize("ring", [1, 3])
def test_every_trap_through_every_kind_of_gate(ring: int) -> None:
    kinds = product(range(len(TRIGGERS)), range(8), (RING1_CS, RING1_CS & ~3), (0, 1), (ARITHMETIC, ODD))
    cases = [
        Case(trigger, ring, flags, cs, mask, eflags)
        for trigger, flags, cs, mask, eflags in kinds
        if not (eflags == ODD and TRIGGERS[trigger].vector == 1)
    ]
    assert len(cases) > 1000
    compare(cases)


@pytest.mark.parametrize("ring", [1, 3])
def test_a_handler_that_is_not_in_ring_1_is_refused_at_its_own_place(ring: int) -> None:
    kinds = product(range(len(TRIGGERS)), (3, 3 | TI_IF), (RING1_CS + 1, RING1_CS + 2, RING3_CS), (0, 1))
    cases = [
        Case(trigger, ring, flags, cs, mask, ARITHMETIC)
        for trigger, flags, cs, mask in kinds
        if TRIGGERS[trigger].vector != 13
    ]
    compare(cases)


@pytest.mark.parametrize("ring", [1, 3])
def test_int_80_without_a_handler_obeys_the_dpl_like_any_other(ring: int) -> None:
    number = next(index for index, trigger in enumerate(TRIGGERS) if trigger.vector == 0x80)
    compare([Case(number, ring, dpl, cs, 0, ARITHMETIC) for dpl in range(ring) for cs in range(4)])


@pytest.mark.parametrize("cs", range(4))
@pytest.mark.parametrize("ring", [1, 3])
@pytest.mark.parametrize("name", ["0", "6", "14", "int_80", "int_90"])
def test_a_handler_with_a_null_selector_ends_the_domain(name: str, ring: int, cs: int) -> None:
    number = next(index for index, trigger in enumerate(TRIGGERS) if trigger.name == name)
    results = run([Case(number, ring, 3, cs, 0, ARITHMETIC)])
    assert results.reason is ShutdownReason.crash
    assert "null selector" in results.crash_report.splitlines()[0]
    assert not any(results.found), "no handler ran"
