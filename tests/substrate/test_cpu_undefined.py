"""Instructions that a processor refuses and the engine, left alone, executes: LOCK where it may not stand,
and encodings that are none."""

from __future__ import annotations

import random
import struct

import pytest
from capstone import CS_ARCH_X86, CS_MODE_16, CS_MODE_32, Cs

from paravane.cpu.instructions import decode, instructions, is_undefined
from paravane.cpu.suspects import suspects
from tests.support.cpu_bench import CODE, DATA, USER, Bench, Trap

INT20 = b"\xcd\x20"
AT_DATA = struct.pack("<I", DATA)
UNDEFINED = {
    "lock bts %eax,%eax": "f00fabc0",
    "lock bt %eax,%ecx": "f00fa3c1",
    "lock bt %eax,(mem)": "f00fa305" + AT_DATA.hex(),
    "lock nop": "f090",
    "lock mov %eax,%ecx": "f089c1",
    "lock mov %eax,(mem)": "f08905" + AT_DATA.hex(),
    "lock add (mem),%eax": "f00305" + AT_DATA.hex(),
    "lock add %eax,%ecx": "f001c1",
    "lock cmp %eax,(mem)": "f03905" + AT_DATA.hex(),
    "lock cmpl $1,(mem)": "f0833d" + AT_DATA.hex() + "01",
    "lock test": "f08505" + AT_DATA.hex(),
    "lock push": "f050",
    "lock xchg %eax,%ecx": "f087c1",
    "lock inc %eax": "f040",
    "lock jmp": "f0eb00",
    "lock lea": "f08d05" + AT_DATA.hex(),
    "lock rep movsb": "f0f3a4",
    "lock fld1": "f0d9e8",
    "pop /1": "8fc8",
    "pop /7": "8ff8",
    "vpshufb": "c4e27900c0",
    "vzeroupper": "c5f877",
    "andn": "c4e278f2c0",
    "bt group /0": "0fbac001",
    "bt group /1": "0fbac801",
    "bt group /3 (mem)": "0fba1d" + AT_DATA.hex() + "01",
    "movmskps (mem)": "0f5005" + AT_DATA.hex(),
    "movmskpd 1(%ebp)": "660f504501",
    "psrlw $1,(mem)": "0f7115" + AT_DATA.hex() + "01",
    "pslld $1,(mem)": "660f7235" + AT_DATA.hex() + "01",
    "psrldq $1,(mem)": "660f731d" + AT_DATA.hex() + "01",
    "movdq2q (mem)": "f20fd605" + AT_DATA.hex(),
    "movq2dq (mem)": "f30fd605" + AT_DATA.hex(),
    "extrq $1,$2,%xmm1": "660f78c10102",
    "insertq $1,$2,%xmm1,%xmm0": "f20f78c10102",
    "extrq %xmm1,%xmm0": "660f79c1",
}
DEFINED = {
    "lock incl": "f0ff05" + AT_DATA.hex(),
    "lock negb": "f0f61d" + AT_DATA.hex(),
    "lock add": "f00105" + AT_DATA.hex(),
    "lock orl $1": "f0830d" + AT_DATA.hex() + "01",
    "lock btsl $1": "f00fba2d" + AT_DATA.hex() + "01",
    "lock btr": "f00fb305" + AT_DATA.hex(),
    "lock xadd": "f00fc105" + AT_DATA.hex(),
    "lock cmpxchg": "f00fb10d" + AT_DATA.hex(),
    "lock cmpxchg8b": "f00fc70d" + AT_DATA.hex(),
    "lock xchg": "f08705" + AT_DATA.hex(),
    "data16 lock incw": "66f0ff05" + AT_DATA.hex(),
    "and $-16,%esp": "83e4f0",
    "pop (mem) after push": "508f05" + AT_DATA.hex(),
    "jg": "0f8f00000000",
    "btl $1,%eax": "0fbae001",
    "prefetch hint /3": "0f181d" + AT_DATA.hex(),
    "reserved hint /4": "0f1825" + AT_DATA.hex(),
    "reserved hint /7": "0f183d" + AT_DATA.hex(),
    "prefetch": "0f0d05" + AT_DATA.hex(),
    "prefetchw": "0f0d0d" + AT_DATA.hex(),
    "prefetch form /2": "0f0d15" + AT_DATA.hex(),
    "prefetch form /7": "0f0d3d" + AT_DATA.hex(),
    "multibyte nop": "0f1f05" + AT_DATA.hex(),
}


@pytest.mark.parametrize("ring", [1, 3])
@pytest.mark.parametrize("code", UNDEFINED.values(), ids=list(UNDEFINED))
def test_it_is_refused_in_the_middle_of_a_block(bench: Bench, code: str, ring: int) -> None:
    """Also right after a memory operand, whose address the engine would take for its own."""
    start = CODE if ring == 1 else USER
    (bench.kernel if ring == 1 else bench.user)(start)
    before = b"\x31\xc0\x40\x01\x05" + struct.pack("<I", start + 0x800)
    expected = Trap("exception", 6, 0, start + len(before), ring)
    for _ in range(2):
        assert bench.run(before + bytes.fromhex(code) + INT20, at=start) == [expected]
        assert bench.cpu.eax == 1
        (bench.kernel if ring == 1 else bench.user)(start)


@pytest.mark.parametrize("code", DEFINED.values(), ids=list(DEFINED))
def test_what_is_defined_runs(bench: Bench, code: str) -> None:
    program = b"\x31\xc0\x40" + bytes.fromhex(code) + INT20
    assert bench.run(program) == [Trap("interrupt", 0x20, 0, CODE + len(program), 1)]


def test_code_that_becomes_defined_runs(bench: Bench) -> None:
    bench.run(b"\x31\xc0\xf0\x90\xcd\x20")
    bench.ram.write(CODE + 2, b"\x40\x40")
    bench.kernel()
    assert bench.run() == [Trap("interrupt", 0x20, 0, CODE + 6, 1)]
    assert bench.cpu.eax == 2


def test_a_guest_that_stores_an_undefined_instruction_meets_it(bench: Bench) -> None:
    # movb $0xf0,at; jmp at; at: nop nop int $0x20
    at = CODE + 9
    program = b"\xc6\x05" + struct.pack("<I", at) + b"\xf0\xeb\x00\x90\x90" + INT20
    assert bench.run(program) == [Trap("exception", 6, 0, at, 1)]


def test_hundreds_of_places_are_all_refused(bench: Bench) -> None:
    bench.code(b"\xf0\x90" * 200 + INT20)
    seen = []

    def on_trap(trap: Trap) -> None:
        seen.append((trap.vector, trap.eip))
        bench.cpu.eip += 2
        if trap.kind == "interrupt":
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    bench.cpu.run()
    assert seen[:-1] == [(6, CODE + 2 * number) for number in range(200)]
    assert seen[-1] == (0x20, CODE + 402)


def test_lengths_are_those_of_a_disassembler() -> None:
    """Over random bytes, wherever Capstone sees an instruction that the engine knows as well."""
    source = random.Random(20)
    unknown = {"ud0", "ud1", "extrq", "insertq"}
    for big, mode in ((True, CS_MODE_32), (False, CS_MODE_16)):
        disassembler = Cs(CS_ARCH_X86, mode)
        compared = 0
        while compared < 4000:
            code = source.randbytes(15)
            if compared % 2:
                code = b"\x0f" + code
            found = next(disassembler.disasm_lite(code[:15], 0), None)
            # EVEX, XOP and, in 16-bit code, VEX are not the engine's.
            extended = code.lstrip(b"\x66\x67\xf0\xf2\xf3\x26\x2e\x36\x3e\x64\x65")[:1] in b"\x62\x8f\xc4\xc5"
            if found is None or found[2] in unknown or extended:
                continue
            compared += 1
            assert decode(code + bytes(16), big=big).length == found[1], code.hex(" ")


def test_what_the_quick_look_passes_holds_nothing_undefined() -> None:
    source = random.Random(21)
    passed = 0
    for _ in range(3000):
        code = source.randbytes(24)
        if suspects(code, 0, big=True) is None:
            passed += 1
            assert not any(map(is_undefined, instructions(code, big=True)))
    assert passed > 1000


def test_a_vex_prefix_is_counted() -> None:
    assert decode(bytes.fromhex("c4e27bf6c0")).length == 5
    assert decode(bytes.fromhex("c5f877")).length == 3
    assert decode(bytes.fromhex("c4e37bf0c005")).length == 6
