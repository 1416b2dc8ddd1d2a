"""MMX, SSE to SSE4.2, AES and carry-less multiplication (Intel SDM, volume 2); notation as in `forms.py`."""

from __future__ import annotations

_PACKED = {
    "punpcklbw": 0x60, "punpcklwd": 0x61, "punpckldq": 0x62, "packsswb": 0x63, "pcmpgtb": 0x64,
    "pcmpgtw": 0x65, "pcmpgtd": 0x66, "packuswb": 0x67, "punpckhbw": 0x68, "punpckhwd": 0x69,
    "punpckhdq": 0x6A, "packssdw": 0x6B, "pcmpeqb": 0x74, "pcmpeqw": 0x75, "pcmpeqd": 0x76, "psrlw": 0xD1,
    "psrld": 0xD2, "psrlq": 0xD3, "paddq": 0xD4, "pmullw": 0xD5, "psubusb": 0xD8, "psubusw": 0xD9,
    "pminub": 0xDA, "pand": 0xDB, "paddusb": 0xDC, "paddusw": 0xDD, "pmaxub": 0xDE, "pandn": 0xDF,
    "pavgb": 0xE0, "psraw": 0xE1, "psrad": 0xE2, "pavgw": 0xE3, "pmulhuw": 0xE4, "pmulhw": 0xE5,
    "psubsb": 0xE8, "psubsw": 0xE9, "pminsw": 0xEA, "por": 0xEB, "paddsb": 0xEC, "paddsw": 0xED,
    "pmaxsw": 0xEE, "pxor": 0xEF, "psllw": 0xF1, "pslld": 0xF2, "psllq": 0xF3, "pmuludq": 0xF4,
    "pmaddwd": 0xF5, "psadbw": 0xF6, "psubb": 0xF8, "psubw": 0xF9, "psubd": 0xFA, "psubq": 0xFB,
    "paddb": 0xFC, "paddw": 0xFD, "paddd": 0xFE,
}  # fmt: skip
_SSSE3 = {
    "pshufb": 0x00, "phaddw": 0x01, "phaddd": 0x02, "phaddsw": 0x03, "pmaddubsw": 0x04, "phsubw": 0x05,
    "phsubd": 0x06, "phsubsw": 0x07, "psignb": 0x08, "psignw": 0x09, "psignd": 0x0A, "pmulhrsw": 0x0B,
    "pabsb": 0x1C, "pabsw": 0x1D, "pabsd": 0x1E,
}  # fmt: skip
_SSE41 = {
    "ptest": 0x17, "pmovsxbw": 0x20, "pmovsxbd": 0x21, "pmovsxbq": 0x22, "pmovsxwd": 0x23, "pmovsxwq": 0x24,
    "pmovsxdq": 0x25, "pmuldq": 0x28, "pcmpeqq": 0x29, "packusdw": 0x2B, "pmovzxbw": 0x30, "pmovzxbd": 0x31,
    "pmovzxbq": 0x32, "pmovzxwd": 0x33, "pmovzxwq": 0x34, "pmovzxdq": 0x35, "pcmpgtq": 0x37, "pminsb": 0x38,
    "pminsd": 0x39, "pminuw": 0x3A, "pminud": 0x3B, "pmaxsb": 0x3C, "pmaxsd": 0x3D, "pmaxuw": 0x3E,
    "pmaxud": 0x3F, "pmulld": 0x40, "phminposuw": 0x41, "aesimc": 0xDB, "aesenc": 0xDC, "aesenclast": 0xDD,
    "aesdec": 0xDE, "aesdeclast": 0xDF,
}  # fmt: skip
_SSE41_BYTE = {
    "roundps": 0x08, "roundpd": 0x09, "roundss": 0x0A, "roundsd": 0x0B, "blendps": 0x0C, "blendpd": 0x0D,
    "pblendw": 0x0E, "insertps": 0x21, "dpps": 0x40, "dppd": 0x41, "mpsadbw": 0x42, "pclmulqdq": 0x44,
    "pcmpestrm": 0x60, "pcmpestri": 0x61, "pcmpistrm": 0x62, "pcmpistri": 0x63, "aeskeygenassist": 0xDF,
}  # fmt: skip
_SHIFTS = {"w": (0x71, 2, 4, 6), "d": (0x72, 2, 4, 6), "q": (0x73, 2, None, 6)}
_PREFIX = {"ps": "", "pd": "66 ", "ss": "f3 ", "sd": "f2 "}
_ALL, _PACKED_ONLY, _SINGLE = ("ps", "pd", "ss", "sd"), ("ps", "pd"), ("ps", "ss")
_FLOAT = {
    "sqrt": (0x51, _ALL), "rsqrt": (0x52, _SINGLE), "rcp": (0x53, _SINGLE), "and": (0x54, _PACKED_ONLY),
    "andn": (0x55, _PACKED_ONLY), "or": (0x56, _PACKED_ONLY), "xor": (0x57, _PACKED_ONLY),
    "add": (0x58, _ALL), "mul": (0x59, _ALL), "sub": (0x5C, _ALL), "min": (0x5D, _ALL), "div": (0x5E, _ALL),
    "max": (0x5F, _ALL), "unpckl": (0x14, _PACKED_ONLY), "unpckh": (0x15, _PACKED_ONLY),
}  # fmt: skip
_PREDICATES = ("eq", "lt", "le", "unord", "neq", "nlt", "nle", "ord")


def _integers() -> str:
    text = ""
    for name, opcode in _PACKED.items():
        text += f"{name} Qq,Pq 0f {opcode:02x} /r\n{name} Wx,Vx 66 0f {opcode:02x} /r\n"
    for name, opcode in _SSSE3.items():
        text += f"{name} Qq,Pq 0f 38 {opcode:02x} /r\n{name} Wx,Vx 66 0f 38 {opcode:02x} /r\n"
    for name, opcode in _SSE41.items():
        text += f"{name} Wx,Vx 66 0f 38 {opcode:02x} /r\n"
    for name, opcode in _SSE41_BYTE.items():
        text += f"{name} Ub,Wx,Vx 66 0f 3a {opcode:02x} /r\n"
    for letter, (opcode, *digits) in _SHIFTS.items():
        for name, digit in zip(("psrl", "psra", "psll"), digits, strict=True):
            if digit is not None:
                text += f"{name}{letter} Ub,Nq 0f {opcode:02x} /{digit}\n"
                text += f"{name}{letter} Ub,Ux 66 0f {opcode:02x} /{digit}\n"
    return text


def _floats() -> str:
    text = ""
    for name, (opcode, kinds) in _FLOAT.items():
        for kind in kinds:
            text += f"{name}{kind} Wx,Vx {_PREFIX[kind]}0f {opcode:02x} /r\n"
    for kind, prefix in _PREFIX.items():
        text += f"cmp{kind} Ub,Wx,Vx {prefix}0f c2 /r\n"
        for number, predicate in enumerate(_PREDICATES):
            text += f"cmp{predicate}{kind} Wx,Vx {prefix}0f c2 /r {number:02x}\n"
    for kind in ("ss", "sd"):
        prefix = "" if kind == "ss" else "66 "
        text += f"ucomi{kind} Wx,Vx {prefix}0f 2e /r\ncomi{kind} Wx,Vx {prefix}0f 2f /r\n"
    return text


def _moves() -> str:
    """Moves that load with one opcode and store with the next one."""
    places = {
        "movups": "0f 10", "movupd": "66 0f 10", "movss": "f3 0f 10", "movsd": "f2 0f 10", "movaps": "0f 28",
        "movapd": "66 0f 28",
    }  # fmt: skip
    text = "".join(
        f"{name} Wx,Vx {place} /r\n{name} Vx,Wx {place[:-1]}{int(place[-1]) + 1} /r\n"
        for name, place in places.items()
    )
    for name, opcode in (("movlp", 0x12), ("movhp", 0x16)):
        for kind in ("ps", "pd"):
            head = f"{_PREFIX[kind]}0f"
            text += (
                f"{name}{kind[1]} M,Vx {head} {opcode:x} /r\n{name}{kind[1]} Vx,M {head} {opcode + 1:x} /r\n"
            )
    return text


VECTOR = (
    _integers()
    + _floats()
    + _moves()
    + """
movdqa Wx,Vx 66 0f 6f /r
movdqa Vx,Wx 66 0f 7f /r
movdqu Wx,Vx f3 0f 6f /r
movdqu Vx,Wx f3 0f 7f /r
movd Ed,Pq 0f 6e /r
movd Pq,Ed 0f 7e /r
movd Ed,Vx 66 0f 6e /r
movd Vx,Ed 66 0f 7e /r
movq Wx,Vx f3 0f 7e /r
movq Vx,Wx 66 0f d6 /r
movq Qq,Pq 0f 6f /r
movq Pq,Qq 0f 7f /r
movq2dq Nq,Vx f3 0f d6 /r
movdq2q Ux,Pq f2 0f d6 /r
movhlps Ux,Vx 0f 12 /r
movlhps Ux,Vx 0f 16 /r
movsldup Wx,Vx f3 0f 12 /r
movshdup Wx,Vx f3 0f 16 /r
movddup Wx,Vx f2 0f 12 /r
lddqu M,Vx f2 0f f0 /r
movntdqa M,Vx 66 0f 38 2a /r
movntdq Vx,M 66 0f e7 /r
movntps Vx,M 0f 2b /r
movntpd Vx,M 66 0f 2b /r
movntq Pq,M 0f e7 /r
movmskps Ux,Gd 0f 50 /r
movmskpd Ux,Gd 66 0f 50 /r
maskmovq Nq,Pq 0f f7 /r
maskmovdqu Ux,Vx 66 0f f7 /r
pmovmskb Nq,Gd 0f d7 /r
pmovmskb Ux,Gd 66 0f d7 /r
punpcklqdq Wx,Vx 66 0f 6c /r
punpckhqdq Wx,Vx 66 0f 6d /r
psrldq Ub,Ux 66 0f 73 /3
pslldq Ub,Ux 66 0f 73 /7
pinsrw Ub,Ed,Pq 0f c4 /r
pinsrw Ub,Ed,Vx 66 0f c4 /r
pextrw Ub,Nq,Gd 0f c5 /r
pextrw Ub,Ux,Gd 66 0f c5 /r
pextrw Ub,Vx,M 66 0f 3a 15 /r
pextrb Ub,Vx,Ed 66 0f 3a 14 /r
pextrd Ub,Vx,Ed 66 0f 3a 16 /r
extractps Ub,Vx,Ed 66 0f 3a 17 /r
pinsrb Ub,Ed,Vx 66 0f 3a 20 /r
pinsrd Ub,Ed,Vx 66 0f 3a 22 /r
pshufw Ub,Qq,Pq 0f 70 /r
pshufd Ub,Wx,Vx 66 0f 70 /r
pshufhw Ub,Wx,Vx f3 0f 70 /r
pshuflw Ub,Wx,Vx f2 0f 70 /r
palignr Ub,Qq,Pq 0f 3a 0f /r
palignr Ub,Wx,Vx 66 0f 3a 0f /r
shufps Ub,Wx,Vx 0f c6 /r
shufpd Ub,Wx,Vx 66 0f c6 /r
pblendvb Wx,Vx 66 0f 38 10 /r
pblendvb x0,Wx,Vx 66 0f 38 10 /r
blendvps Wx,Vx 66 0f 38 14 /r
blendvps x0,Wx,Vx 66 0f 38 14 /r
blendvpd Wx,Vx 66 0f 38 15 /r
blendvpd x0,Wx,Vx 66 0f 38 15 /r
pclmullqlqdq Wx,Vx 66 0f 3a 44 /r 00
pclmulhqlqdq Wx,Vx 66 0f 3a 44 /r 01
pclmullqhqdq Wx,Vx 66 0f 3a 44 /r 10
pclmulhqhqdq Wx,Vx 66 0f 3a 44 /r 11
addsubpd Wx,Vx 66 0f d0 /r
addsubps Wx,Vx f2 0f d0 /r
haddpd Wx,Vx 66 0f 7c /r
haddps Wx,Vx f2 0f 7c /r
hsubpd Wx,Vx 66 0f 7d /r
hsubps Wx,Vx f2 0f 7d /r
cvtpi2ps Qq,Vx 0f 2a /r
cvtpi2pd Qq,Vx 66 0f 2a /r
cvtsi2ss.l Ed,Vx f3 0f 2a /r
cvtsi2sd.l Ed,Vx f2 0f 2a /r
cvttps2pi Wx,Pq 0f 2c /r
cvttpd2pi Wx,Pq 66 0f 2c /r
cvttss2si.l Wx,Gd f3 0f 2c /r
cvttsd2si.l Wx,Gd f2 0f 2c /r
cvtps2pi Wx,Pq 0f 2d /r
cvtpd2pi Wx,Pq 66 0f 2d /r
cvtss2si.l Wx,Gd f3 0f 2d /r
cvtsd2si.l Wx,Gd f2 0f 2d /r
cvtps2pd Wx,Vx 0f 5a /r
cvtpd2ps Wx,Vx 66 0f 5a /r
cvtss2sd Wx,Vx f3 0f 5a /r
cvtsd2ss Wx,Vx f2 0f 5a /r
cvtdq2ps Wx,Vx 0f 5b /r
cvtps2dq Wx,Vx 66 0f 5b /r
cvttps2dq Wx,Vx f3 0f 5b /r
cvttpd2dq Wx,Vx 66 0f e6 /r
cvtdq2pd Wx,Vx f3 0f e6 /r
cvtpd2dq Wx,Vx f2 0f e6 /r
emms - 0f 77
ldmxcsr M 0f ae /2
stmxcsr M 0f ae /3
"""
)
