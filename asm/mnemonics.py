"""Every mnemonic the assembler accepts, and what it must know about it: suffixes and immediate widths.

Names outside this table never reach the encoder, so a typing error is found here, with a suggestion.
"""

from __future__ import annotations

from dataclasses import dataclass

CONDITIONS = {
    "o": 0, "no": 1, "b": 2, "c": 2, "nae": 2, "ae": 3, "nb": 3, "nc": 3, "e": 4, "z": 4, "ne": 5, "nz": 5,
    "be": 6, "na": 6, "a": 7, "nbe": 7, "s": 8, "ns": 9, "p": 10, "pe": 10, "np": 11, "po": 11,
    "l": 12, "nge": 12, "ge": 13, "nl": 13, "le": 14, "ng": 14, "g": 15, "nle": 15,
}  # fmt: skip

PREFIXES = {
    "lock": 0xF0, "rep": 0xF3, "repe": 0xF3, "repz": 0xF3, "repne": 0xF2, "repnz": 0xF2,
    "data16": 0x66, "data32": 0x66, "addr16": 0x67, "addr32": 0x67,
    "cs": 0x2E, "ds": 0x3E, "es": 0x26, "ss": 0x36, "fs": 0x64, "gs": 0x65,
}  # fmt: skip

STRING_OPCODES = {
    "movs": 0xA4,
    "cmps": 0xA6,
    "stos": 0xAA,
    "lods": 0xAC,
    "scas": 0xAE,
    "ins": 0x6C,
    "outs": 0x6E,
}
LOOPS = {
    "loopne": 0xE0,
    "loopnz": 0xE0,
    "loope": 0xE1,
    "loopz": 0xE1,
    "loop": 0xE2,
    "jecxz": 0xE3,
    "jcxz": 0xE3,
}


@dataclass(frozen=True, slots=True)
class Mnemonic:
    """`base` without its size suffix; `immediate` is its width in bits, 0 when the operand size gives it."""

    base: str
    suffix: str = ""
    immediate: int = 0
    default: str = ""  # the suffix GNU as assumes when nothing gives a size


_BWL = """add or adc sbb and sub xor cmp test mov not neg mul imul div idiv inc dec xchg cmpxchg xadd"""
_SHIFTS = "rol ror rcl rcr shl shr sar sal"
_WL_BYTE = "bt bts btr btc shld shrd"
_WL = """bsf bsr lea lar lsl push pop bswap tzcnt lzcnt popcnt lds les lss lfs lgs pushf popf pusha popa
leave iret lgdt lidt sgdt sidt nop movzb movsb sldt str smsw call jmp bound"""
_W = "lldt ltr lmsw verr verw arpl movzw movsw"
_PLAIN = """movzx movsx cmpxchg8b ud2 ud2a syscall sysret sysenter sysexit cpuid rdtsc rdtscp rdmsr wrmsr
rdpmc wbinvd invd clts lahf sahf cbtw cwtl cwtd cltd cbw cwde cwd cdq xlat xlatb aaa aas daa das
monitor mwait rsm int1 xgetbv xsetbv vmcall vmmcall clac stac fwait wait mfence lfence sfence
emms hlt cli sti cld std clc stc cmc pause int3 into invlpg prefetcht0 prefetcht1 prefetcht2
prefetchnta prefetchw prefetch clflush"""
_FPU_PLAIN = """finit fninit fnclex fclex fnop fchs fabs ftst fxam fld1 fldz fldpi fldl2t fldl2e fldlg2 fldln2
fincstp fdecstp f2xm1 fyl2x fptan fpatan fxtract fprem1 fprem fyl2xp1 fsqrt fsincos frndint
fscale fsin fcos fcompp fucompp fldt fstpt fildll fistpll fildq fistpq fbld fbstp fxch ffree
fucom fucomp faddp fmulp fsubp fsubrp fdivp fdivrp fcomi fucomi fcomip fucomip fcmovb fcmove
fcmovbe fcmovu fcmovnb fcmovne fcmovnbe fcmovnu fldcw fnstcw fstcw fnstsw fstsw fldenv fnstenv
fstenv fsave fnsave frstor fxsave fxrstor ldmxcsr stmxcsr"""
_FPU_REAL = "fld fst fstp fadd fsub fmul fdiv fsubr fdivr fcom fcomp"
_FPU_INTEGER = "fild fist fistp fiadd fisub fimul fidiv fisubr fidivr ficom ficomp"
_SSE = """movaps movups movapd movupd movdqa movdqu movd movq movss movhps movlps movhpd movlpd movhlps
movlhps movntdq movntps movnti movntq movmskps movmskpd lddqu addps addpd addss addsd subps
subpd subss subsd mulps mulpd mulss mulsd divps divpd divss divsd sqrtps sqrtpd sqrtss sqrtsd
maxps maxpd maxss maxsd minps minpd minss minsd andps andpd andnps andnpd orps orpd xorps xorpd
rcpps rcpss rsqrtps rsqrtss ucomiss ucomisd comiss comisd unpcklps unpckhps unpcklpd unpckhpd
cvtsi2sd cvtsi2ss cvttsd2si cvttss2si cvtsd2si cvtss2si cvtss2sd cvtsd2ss cvtdq2ps cvtps2dq
cvttps2dq cvtdq2pd cvtps2pd pxor por pand pandn paddb paddw paddd paddq paddsb paddsw paddusb
paddusw psubb psubw psubd psubq psubsb psubsw psubusb psubusw pmullw pmulhw pmulhuw pmuludq
pmaddwd pavgb pavgw pmaxub pmaxsw pminub pminsw psadbw pcmpeqb pcmpeqw pcmpeqd pcmpgtb pcmpgtw
pcmpgtd punpcklbw punpcklwd punpckldq punpcklqdq punpckhbw punpckhwd punpckhdq punpckhqdq
packsswb packssdw packuswb pmovmskb maskmovq maskmovdqu pshufb pabsb pabsw pabsd"""
_SSE_BYTE = """shufps shufpd pshufd pshuflw pshufhw pshufw psrldq pslldq psllw pslld psllq psrlw psrld psrlq
psraw psrad pinsrw pextrw palignr cmpps cmppd cmpss"""


def _sized(names: str, suffixes: str, immediate: int = 0, default: str = "l") -> dict[str, Mnemonic]:
    """Each name alone and with each of the suffixes."""
    table = {}
    for name in names.split():
        table[name] = Mnemonic(name, "", immediate, default)
        table |= {name + suffix: Mnemonic(name, suffix, immediate) for suffix in suffixes}
    return table


def _table() -> dict[str, Mnemonic]:
    table = {name: Mnemonic(name) for name in (_PLAIN + " " + _FPU_PLAIN + " " + _SSE).split()}
    table |= {name: Mnemonic(name, immediate=8) for name in (*_SSE_BYTE.split(), "int", "aam", "aad")}
    table |= _sized("in out", "bwl", 8, "") | _sized(_SHIFTS, "bwl", 8) | _sized(_WL_BYTE, "wl", 8)
    table |= _sized("ret lret", "wl", 16, "") | _sized(_WL, "wl", default="") | _sized(_W, "w", default="")
    table |= _sized(_FPU_REAL, "sl", default="s") | _sized(_FPU_INTEGER, "sl", default="s")
    table |= _sized(" ".join("cmov" + condition for condition in CONDITIONS), "wl", default="")
    table |= _sized(" ".join("set" + condition for condition in CONDITIONS), "b", default="")
    table |= {name: Mnemonic(name) for name in ("movzwl", "movswl", "cmpxchg8b", "movsd", "cmpsd", "enter")}
    table |= _sized(_BWL, "bwl") | _sized("ljmp lcall", "wl", default="")
    return table


# Names of ours and the start of the disassembler's name for the same instruction, where they differ.
_DECODED_AS = {
    "cbw": "cbtw", "cdq": "cltd", "cwd": "cwtd", "cwde": "cwtl", "fcomip": "fcompi",
    "fucomip": "fucompi", "fildq": "fildll", "fistpq": "fistpll", "fwait": "wait", "movsd": "movsl",
    "movsx": "movs", "movzx": "movz", "sal": "shl", "salb": "shlb", "salw": "shlw", "sall": "shll",
    "xchg": "nop", "xchgl": "nop", "xchgw": "nop", "fclex": "fnclex", "finit": "fninit",
    "fsave": "fnsave", "fstcw": "fnstcw", "fstenv": "fnstenv", "fstsw": "fnstsw",
}  # fmt: skip


def is_same(written: str, decoded: str) -> bool:
    """Whether a disassembler's mnemonic says the instruction that was written, whatever its size suffix."""
    if written.startswith(decoded) or decoded.startswith(written):
        return True
    other = _DECODED_AS.get(written)
    if other is not None:
        return decoded.startswith(other)
    return bool(_condition_codes(written) & _condition_codes(decoded))


def _condition_codes(name: str) -> set[tuple[str, int]]:
    """What a CMOVcc or SETcc may mean: its last letter can be a size suffix."""
    for kind in ("cmov", "set"):
        if name.startswith(kind):
            rest = name[len(kind) :]
            return {(kind, CONDITIONS[part]) for part in (rest, rest[:-1]) if part in CONDITIONS}
    return set()


MNEMONICS = _table()
SSE_NAMES = frozenset((_SSE + " " + _SSE_BYTE).split()) - {"movnti"}
STRINGS = {name + s: (opcode, s) for name, opcode in STRING_OPCODES.items() for s in ("b", "w", "l", "")}
BRANCHES = {"j" + condition: code for condition, code in CONDITIONS.items()}
KNOWN = frozenset((*MNEMONICS, *PREFIXES, *STRINGS, *BRANCHES, *LOOPS))
