"""The words that stand for instructions and are not in the table of `forms`: prefixes, branches,
strings."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import import_module

from paravane.asm.forms import forms, names
from paravane.asm.opcodes import CONDITIONS
from paravane.asm.spelling import did_you_mean

PREFIXES = {
    "lock": 0xF0, "rep": 0xF3, "repe": 0xF3, "repz": 0xF3, "repne": 0xF2, "repnz": 0xF2,
    "data16": 0x66, "data32": 0x66, "addr16": 0x67, "addr32": 0x67, "notrack": 0x3E,
    "wait": 0x9B, "cs": 0x2E, "ds": 0x3E, "es": 0x26, "ss": 0x36, "fs": 0x64, "gs": 0x65,
}  # fmt: skip

_STRING_OPCODES = {
    "movs": 0xA4, "cmps": 0xA6, "stos": 0xAA, "lods": 0xAC, "scas": 0xAE, "ins": 0x6C, "outs": 0x6E,
    "smov": 0xA4, "scmp": 0xA6, "ssto": 0xAA, "slod": 0xAC, "ssca": 0xAE,
}  # fmt: skip
STRINGS = {name + s: (opcode, s) for name, opcode in _STRING_OPCODES.items() for s in ("b", "w", "l", "")}
STRINGS |= {name + "d": (_STRING_OPCODES[name], "l") for name in ("movs", "cmps")}
"""Name, with a suffix or without -> the opcode of its byte form, and the suffix."""

_LOOP_OPCODES = {"loopne": 0xE0, "loopnz": 0xE0, "loope": 0xE1, "loopz": 0xE1, "loop": 0xE2}
LOOPS = {name + s: (opcode, s == "w") for name, opcode in _LOOP_OPCODES.items() for s in ("", "l", "w")}
LOOPS |= {"jecxz": (0xE3, False), "jcxz": (0xE3, True)}
"""Name -> opcode, and whether it counts in %cx."""

BRANCHES = {"j" + condition: code for condition, code in CONDITIONS.items()}
NEAR = frozenset(("jmp", "jmpl", "jmpw", "call", "calll", "callw"))
FAR = frozenset(("ljmp", "ljmpl", "ljmpw", "lcall", "lcalll", "lcallw"))
_WORDS = frozenset[str]().union(PREFIXES, STRINGS, BRANCHES, LOOPS, NEAR, FAR)


def is_known(name: str) -> bool:
    """Whether the word is an instruction or a prefix."""
    return name in _WORDS or bool(forms(name))


@lru_cache(maxsize=1024)
def unknown(name: str) -> str:
    """The message for a word that is no instruction of the guest's processor.

    A source that forgot to include its macros says the same few words over and over, and a look at all
    spellings takes as long as assembling a hundred instructions.
    """
    if name in _of_other_processors() or name.rstrip("bwl") in _of_other_processors():
        return f"the processor that runs the guest has no `{name}`"
    return f"unknown instruction `{name}`{did_you_mean(name, names() | _WORDS)}"


@cache
def _of_other_processors() -> frozenset[str]:
    """Every mnemonic the disassembler knows: AVX and others that are later than the guest's processor, or
    another vendor's. It is loaded for those who wrote one that there is not."""
    capstone, x86 = import_module("capstone"), import_module("capstone.x86")
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32)
    return frozenset(engine.insn_name(number) or "" for number in range(1, x86.X86_INS_ENDING))
