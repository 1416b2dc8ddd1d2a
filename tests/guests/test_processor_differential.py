"""The guest's processor against the host's own: the same program, natively and under `unix`, ring 3 both
times.

What differs is listed below, by kind and with its reason; the list may only get shorter. Intel and AMD agree
on everything that is compared: flags that the manuals leave undefined, approximations of reciprocals, and
what only a 64-bit system shows its programs are left out.
"""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.guests.processor_cases import cases
from tests.guests.processor_program import FIELDS, outcomes, program
from tests.support.boot import finished
from tests.support.unix_archive import run_unix

if TYPE_CHECKING:
    from pathlib import Path

    from tests.guests.processor_cases import Case
    from tests.guests.processor_program import Outcome

STATUS_FLAGS, RF, TF = 0xCD5, 0x10000, 0x100
NOT_COMPARED = {"code"}
"""The si_code of a signal is what a kernel makes of a trap, and none of the processor's."""

STACK_FAULT = 0x40
X87_STATE = {"fsw", "ftw", "mem", *(f"st{n}" for n in range(8))}


@dataclass(frozen=True, slots=True)
class Known:
    """Sequences that match `pattern` may differ in `fields`, natively a stack fault where `stack_fault` says
    so."""

    why: str
    pattern: str
    fields: frozenset[str]
    stack_fault: bool = False


def _known(why: str, pattern: str, fields: str, *, stack_fault: bool = False) -> Known:
    return Known(why, pattern, frozenset(fields.split()), stack_fault)


_ST = " ".join(f"st{n}" for n in range(8))
KNOWN = (
    _known("exception flags of MXCSR are never set", r".*", "mxcsr_flags"),
    _known("... and so not stored either", r".*stmxcsr.*", "mem"),
    _known("an unmasked SSE exception is not raised", r".*0x1D80.*", "signal trapno eip eflags xmm1"),
    _known("reserved bits of MXCSR are accepted", r".*0xFFFF1F80.*", "signal trapno eip eflags mxcsr"),
    _known(
        "SSE operands in memory need not be aligned",
        r"(movaps|addps|paddb|movntps) .*\b[148]\(%esi\).*",
        "signal trapno eflags mem xmm0 mxcsr_flags",
    ),
    _known("a load that faults in its second half has loaded the first", r"movups 1\(%ebp\).*", "xmm0"),
    _known(
        "a compare with a reserved predicate is #UD",
        r"cmp[ps][sd] \$(-1|8|31|100|127),.*",
        "signal trapno eflags xmm0 xmm1 xmm4 xmm7",
    ),
    _known(
        "horizontal operations read what they have written",
        r"ph(add|sub)\w+ (%\w+), \2",
        "xmm1 xmm4 xmm0 xmm7 st0 st3 st5",
    ),
    _known("MMX registers keep the exponent of the x87 register", r".*%mm.*", "mmx_exponent"),
    _known("some SSSE3 on MMX registers leave the x87 tags", r"(p\w+) .*%mm.*", "ftw"),
    _known("status flags of the x87 are not set: precision, denormal, C1, stack fault", r".*\bf.*", "fsw"),
    _known("FCOMI and its like leave OF, SF and AF", r".*\bfu?comi?(p|pi)? .*|fu?comi?(p|pi)?", "eflags"),
    _known(
        "stack faults are not detected", r".*\bf.*", " ".join(X87_STATE) + " eflags eax", stack_fault=True
    ),
    _known(
        "transcendental functions and remainders are computed with doubles",
        r"f(2xm1|cos|sin|sincos|ptan|patan|yl2x|yl2xp1|prem1?|scale|xtract)",
        _ST + " ftw",
    ),
    _known("a store into an empty register leaves it empty", r"fstp?l? .*", "ftw"),
    _known("FBSTP of a negative zero stores no sign", r"fbstp .*", "mem"),
    _known("constants ignore the rounding mode", r".*0x[7BF]7F.*fld.*", _ST),
    _known(
        "unmasked x87 exceptions store their result",
        r".*0x37[BE].*",
        _ST + " ftw fsw signal trapno eip eflags",
    ),
    _known("FISTTP of a NaN is not the integer indefinite", r".*fisttpl .*", "mem"),
    _known("reserved halves of an FNSTENV image are zeros", r"fns(ave|tenv) .*", "mem eax"),
    _known(
        "a read-modify-write instruction that faults reports a read",
        r"(bt[src]|addl|incl|xchgl|cmpxchg8b).*",
        "err",
    ),
    _known(
        "of prefixes that choose an instruction 66 wins over F3, and F3 over F2",
        r"\.byte 0x(66|F3), 0x(F2|F3|66), 0x0F.*",
        "signal trapno eflags eip ecx xmm0 mxcsr_flags",
    ),
    _known(
        "MOVHPD and MOVLPD take registers", r"\.byte 0x66, 0x0F, 0x1[26], .*", "signal trapno eflags xmm0"
    ),
    _known("F6 /1 and F7 /1 are #UD", r"\.byte 0xF[67], (0xC8|0x0E).*", "signal trapno eflags eax mem eip"),
)


def _compared(words: tuple[int, ...], name: str, case: Case) -> int:
    value = words[FIELDS.index(name)]
    if name != "eflags":
        return value
    kept = STATUS_FLAGS if words[FIELDS.index("signal")] == 0 else STATUS_FLAGS | RF | TF
    return value & kept & ~case.undefined


def _differences(case: Case, native: Outcome, guest: Outcome) -> set[str]:
    """Names of what is not the same."""
    names = [name for name in FIELDS if name not in NOT_COMPARED]
    found = {n for n in names if _compared(native.words, n, case) != _compared(guest.words, n, case)}
    if native.memory != guest.memory:
        found.add("mem")
    return found | (_wide_differences(native.fx, guest.fx) if native.fx and guest.fx else set())


def _wide_differences(native: bytes, guest: bytes) -> set[str]:
    """Of the registers in an FXSAVE image (Intel SDM, volume 1, table 10-2)."""
    found = {n for at, n in ((0, "fcw"), (2, "fsw"), (4, "ftw")) if native[at : at + 2] != guest[at : at + 2]}
    mxcsr = struct.unpack_from("<I", native, 24)[0] ^ struct.unpack_from("<I", guest, 24)[0]
    if mxcsr:
        found.add("mxcsr" if mxcsr & ~0x3F else "mxcsr_flags")
    for number in range(8):
        at, other = 32 + 16 * number, 160 + 16 * number
        if (
            native[at : at + 8] == guest[at : at + 8]
            and native[at + 8 : at + 10] == b"\xff\xff" != guest[at + 8 : at + 10]
        ):
            found.add("mmx_exponent")
        elif native[at : at + 10] != guest[at : at + 10]:
            found.add(f"st{number}")
        if native[other : other + 16] != guest[other : other + 16]:
            found.add(f"xmm{number}")
    return found


def _explained(case: Case, native: Outcome, differences: set[str]) -> list[Known]:
    """The kinds that together cover the differences; none when something is left."""
    stack_fault = len(native.fx) > 3 and bool(native.fx[2] & STACK_FAULT)
    kinds = [
        kind
        for kind in KNOWN
        if kind.fields & differences
        and (stack_fault or not kind.stack_fault)
        and re.fullmatch(kind.pattern, case.code)
    ]
    covered = frozenset().union(*(kind.fields for kind in kinds))
    return kinds if differences <= covered else []


def _native(path: Path, image: bytes) -> str:
    path.write_bytes(image)
    path.chmod(0o755)
    try:
        done = subprocess.run([path], capture_output=True, timeout=120, check=False)
    except OSError as error:
        pytest.skip(f"this host runs no 32-bit programs: {error}")
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_the_processor_does_what_the_hosts_own_does(tmp_path: Path) -> None:
    sequences = cases()
    image = program(sequences)
    native = outcomes(_native(tmp_path / "sequences", image))
    files = {"bin/sequences": image}
    outcome = finished(run_unix("/bin/sequences", files=files, with_busybox=False))
    guest = outcomes(outcome.console)
    assert len(native) == len(guest) == len(sequences) > 3000
    used, unexplained = set[Known](), []
    for case, here, there in zip(sequences, native, guest, strict=True):
        differences = _differences(case, here, there)
        kinds = _explained(case, here, differences) if differences else []
        used |= set(kinds)
        if differences and not kinds:
            unexplained.append(f"{' '.join(sorted(differences))} after {case.code} (state {case.state})")
    assert not unexplained, f"{len(unexplained)} of {len(sequences)}:\n" + "\n".join(unexplained[:40])
    assert [kind.why for kind in KNOWN if kind not in used] == []
