"""The instructions of the x87 (Intel SDM, volume 2). The notation is described in `paravane.asm.forms`."""

from __future__ import annotations

_PLAIN = {
    "fnop": 0xD0, "fchs": 0xE0, "fabs": 0xE1, "ftst": 0xE4, "fxam": 0xE5, "fld1": 0xE8, "fldl2t": 0xE9,
    "fldl2e": 0xEA, "fldpi": 0xEB, "fldlg2": 0xEC, "fldln2": 0xED, "fldz": 0xEE, "f2xm1": 0xF0,
    "fyl2x": 0xF1, "fptan": 0xF2, "fpatan": 0xF3, "fxtract": 0xF4, "fprem1": 0xF5, "fdecstp": 0xF6,
    "fincstp": 0xF7, "fprem": 0xF8, "fyl2xp1": 0xF9, "fsqrt": 0xFA, "fsincos": 0xFB, "frndint": 0xFC,
    "fscale": 0xFD, "fsin": 0xFE, "fcos": 0xFF,
}  # fmt: skip


def _arithmetic() -> str:
    """The eight operations of D8, DC, DE, DA. FSUB and FDIV into %st(i) have the reversed opcodes of Intel's
    syntax, as AT&T's always had."""
    text = ""
    for n, name in enumerate(("add", "mul", "com", "comp", "sub", "subr", "div", "divr")):
        first = 0xC0 + 8 * n
        text += f"f{name}.s M d8 /{n}\nf{name}.l M dc /{n}\nf{name} Ti d8 {first:02x}\n"
        text += f"fi{name}.s M de /{n}\nfi{name}.l M da /{n}\n"
        if name in ("com", "comp"):
            text += f"f{name}l Ti d8 {first:02x}\nf{name} - d8 {first + 1:02x}\n"
            continue
        text += f"f{name} Ti,T0 d8 {first:02x}\nf{name} T0,Ti dc {first:02x}\nf{name} - de {first + 1:02x}\n"
        text += f"f{name}p Ti de {first:02x}\nf{name}p T0,Ti de {first:02x}\nf{name}p - de {first + 1:02x}\n"
        if name in ("add", "mul"):  # the order does not matter to the result, and GNU as takes either
            text += f"f{name}p Ti,T0 de {first:02x}\n"
    return text


def _conditional() -> str:
    places = {"b": "da c0", "e": "da c8", "be": "da d0", "u": "da d8"}
    places |= {"n" + name: place.replace("da", "db") for name, place in places.items()}
    places |= {"nae": places["b"], "ae": places["nb"], "na": places["be"], "a": places["nbe"]}
    return "".join(f"fcmov{name} Ti,T0 {place}\n" for name, place in places.items())


def _compares() -> str:
    places = {"fcomi": "db f0", "fucomi": "db e8", "fcomip,fcompi": "df f0", "fucomip,fucompi": "df e8"}
    return "".join(
        f"{names} Ti,T0 {place}\n{names} Ti {place}\n{names} - {place[:-1]}{int(place[-1], 16) + 1:x}\n"
        for names, place in places.items()
    )


def _waiting() -> str:
    """Each instruction that does not wait, and its form after a WAIT."""
    places = {
        "init": "- db e3", "clex": "- db e2", "eni": "- db e0", "disi": "- db e1", "setpm": "- db e4",
        "stcw": "M d9 /7", "stcww": "M d9 /7", "stenv": "M d9 /6", "stenvl": "M d9 /6",
        "stenvs": "M 66 d9 /6", "save": "M dd /6", "savel": "M dd /6", "saves": "M 66 dd /6",
    }  # fmt: skip
    text = ""
    for name, place in places.items():
        operands, _, opcode = place.partition(" ")
        text += f"fn{name} {place}\nf{name} {operands} 9b {opcode}\n"
    for name, wait in (("fnstsw", ""), ("fstsw", "9b ")):
        text += f"{name},{name}w M {wait}dd /7\n{name} ax {wait}df e0\n{name} - {wait}df e0\n"
    return text


X87 = (
    "".join(f"{name} - d9 {opcode:02x}\n" for name, opcode in _PLAIN.items())
    + _arithmetic()
    + _conditional()
    + _compares()
    + _waiting()
    + """
fld,fldl Ti d9 c0
fld.s M d9 /0
fld.l M dd /0
fldt M db /5
fst,fstl Ti dd d0
fst.s M d9 /2
fst.l M dd /2
fstp,fstpl Ti dd d8
fstp.s M d9 /3
fstp.l M dd /3
fstpt M db /7
fild.s M df /0
fild.l M db /0
fildll,fildq M df /5
fist.s M df /2
fist.l M db /2
fistp.s M df /3
fistp.l M db /3
fistpll,fistpq M df /7
fisttp.s M df /1
fisttp.l M db /1
fisttpll,fisttpq M dd /1
fbld M df /4
fbstp M df /6
fxch Ti d9 c8
fxch - d9 c9
fcompp - de d9
fucom Ti dd e0
fucom - dd e1
fucomp Ti dd e8
fucomp - dd e9
fucompp - da e9
ffree Ti dd c0
ffreep Ti df c0
frstpm - db e5
fldcw,fldcww M d9 /5
fldenv,fldenvl M d9 /4
fldenvs M 66 d9 /4
frstor,frstorl M dd /4
frstors M 66 dd /4
fwait - 9b
fxsave M 0f ae /0
fxrstor M 0f ae /1
"""
)
