"""The general-purpose instructions (Intel SDM, volume 2); the notation is described in `forms.py`."""

from __future__ import annotations

CONDITIONS = {
    "o": 0, "no": 1, "b": 2, "c": 2, "nae": 2, "ae": 3, "nb": 3, "nc": 3, "e": 4, "z": 4, "ne": 5, "nz": 5,
    "be": 6, "na": 6, "a": 7, "nbe": 7, "s": 8, "ns": 9, "p": 10, "pe": 10, "np": 11, "po": 11,
    "l": 12, "nge": 12, "ge": 13, "nl": 13, "le": 14, "ng": 14, "g": 15, "nle": 15,
}  # fmt: skip


def _arithmetic() -> str:
    """The eight operations of opcodes 00 to 3F, which are also groups 80, 81 and 83."""
    return "".join(
        f"""
{name}. Gb,Eb {8 * n:02x} /r
{name}. Gv,Ev {8 * n + 1:02x} /r
{name}. Eb,Gb {8 * n + 2:02x} /r
{name}. Ev,Gv {8 * n + 3:02x} /r
{name}. Is,Ev 83 /{n}
{name}. Ib,al {8 * n + 4:02x}
{name}. Iv,Av {8 * n + 5:02x}
{name}. Ib,Eb 80 /{n}
{name}. Iv,Ev 81 /{n}
"""
        for n, name in enumerate(("add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"))
    )


def _shifts() -> str:
    digits = {"rol": 0, "ror": 1, "rcl": 2, "rcr": 3, "shl": 4, "sal": 4, "shr": 5, "sar": 7}
    return "".join(
        f"""
{name}. 1,Eb d0 /{n}
{name}. 1,Ev d1 /{n}
{name}. Ib,Eb c0 /{n}
{name}. Ub,Ev c1 /{n}
{name}. cl,Eb d2 /{n}
{name}. cl,Ev d3 /{n}
{name}. Eb d0 /{n}
{name}. Ev d1 /{n}
"""
        for name, n in digits.items()
    )


def _conditional() -> str:
    return "".join(
        f"set{name}. Eb 0f {0x90 | n:02x} /0\ncmov{name}. Ev,Gv 0f {0x40 | n:02x} /r\n"
        for name, n in CONDITIONS.items()
    )


def _bit_tests() -> str:
    return "".join(
        f"{name}. Gv,Ev 0f {0x83 | n << 3:02x} /r\n{name}. Ub,Ev 0f ba /{n}\n"
        for n, name in enumerate(("bt", "bts", "btr", "btc"), 4)
    )


GENERAL = (
    _arithmetic()
    + _shifts()
    + _conditional()
    + _bit_tests()
    + """
test. Gb,Eb 84 /r
test. Gv,Ev 85 /r
test. Mb,Gb 84 /r
test. Mv,Gv 85 /r
test. Ib,al a8
test. Iv,Av a9
test. Ib,Eb f6 /0
test. Iv,Ev f7 /0

mov. Ob,al a0
mov. Ov,Av a1
mov. al,Ob a2
mov. Av,Ov a3
mov. Gb,Eb 88 /r
mov. Gv,Ev 89 /r
mov. Eb,Gb 8a /r
mov. Ev,Gv 8b /r
mov. Ib,Zb b0
mov. Iv,Zv b8
mov. Ib,Eb c6 /0
mov. Iv,Ev c7 /0

xchg. Zv,Av 90
xchg. Av,Zv 90
xchg. Gb,Eb 86 /r
xchg. Gv,Ev 87 /r
xchg. Mb,Gb 86 /r
xchg. Mv,Gv 87 /r

lea. M,Gv 8d /r
lds. M,Gv c5 /r
les. M,Gv c4 /r
lss. M,Gv 0f b2 /r
lfs. M,Gv 0f b4 /r
lgs. M,Gv 0f b5 /r

inc. Zv 40
inc. Eb fe /0
inc. Ev ff /0
dec. Zv 48
dec. Eb fe /1
dec. Ev ff /1
not. Eb f6 /2
not. Ev f7 /2
neg. Eb f6 /3
neg. Ev f7 /3
mul. Eb f6 /4
mul. Ev f7 /4
imul. Ev,Gv 0f af /r
imul. Is,Ev,Gv 6b /r
imul. Iv,Ev,Gv 69 /r
imul. Is,Hv 6b /r
imul. Iv,Hv 69 /r
imul. Eb f6 /5
imul. Ev f7 /5
div. Eb f6 /6
div. Ev f7 /6
div. Eb,al f6 /6
div. Ev,Av f7 /6
idiv. Eb f6 /7
idiv. Ev f7 /7
idiv. Eb,al f6 /7
idiv. Ev,Av f7 /7

shld. Ub,Gv,Ev 0f a4 /r
shld. cl,Gv,Ev 0f a5 /r
shld. Gv,Ev 0f a5 /r
shrd. Ub,Gv,Ev 0f ac /r
shrd. cl,Gv,Ev 0f ad /r
shrd. Gv,Ev 0f ad /r
bsf. Ev,Gv 0f bc /r
bsr. Ev,Gv 0f bd /r
popcnt. Ev,Gv f3 0f b8 /r
tzcnt. Ev,Gv f3 0f bc /r
lzcnt. Ev,Gv f3 0f bd /r
bswap.l Zd 0f c8
cmpxchg. Gb,Eb 0f b0 /r
cmpxchg. Gv,Ev 0f b1 /r
xadd. Gb,Eb 0f c0 /r
xadd. Gv,Ev 0f c1 /r
cmpxchg8b M 0f c7 /1
movbe. M,Gv 0f 38 f0 /r
movbe. Gv,M 0f 38 f1 /r
crc32.b Eb,Gd f2 0f 38 f0 /r
crc32.w Ew,Gd 66 f2 0f 38 f1 /r
crc32.l Ed,Gd f2 0f 38 f1 /r

movzb.w Eb,Gw 66 0f b6 /r
movzb.l Eb,Gd 0f b6 /r
movzw.l Ew,Gd 0f b7 /r
movsb.w Eb,Gw 66 0f be /r
movsb.l Eb,Gd 0f be /r
movsw.l Ew,Gd 0f bf /r
movzx Eb,Gw 66 0f b6 /r
movzx Eb,Gd 0f b6 /r
movzx Rw,Gd 0f b7 /r
movzx Rw,Gw 66 0f b7 /r
movzxb Eb,Gw 66 0f b6 /r
movzxb Eb,Gd 0f b6 /r
movzxw Ew,Gd 0f b7 /r
movzxw Ew,Gw 66 0f b7 /r
movsx Eb,Gw 66 0f be /r
movsx Eb,Gd 0f be /r
movsx Rw,Gd 0f bf /r
movsx Rw,Gw 66 0f bf /r
movsxb Eb,Gw 66 0f be /r
movsxb Eb,Gd 0f be /r
movsxw Ew,Gd 0f bf /r
movsxw Ew,Gw 66 0f bf /r

push.l Zd 50
push.w Zw 66 50
push.l Is 6a
push.w Is 66 6a
push.l Id 68
push.w Iw 66 68
push.l Ed ff /6
push.w Ew 66 ff /6
push.l es 06
push.l cs 0e
push.l ss 16
push.l ds 1e
push.l fs 0f a0
push.l gs 0f a8
push.w es 66 06
push.w cs 66 0e
push.w ss 66 16
push.w ds 66 1e
push.w fs 66 0f a0
push.w gs 66 0f a8
pop.l Zd 58
pop.w Zw 66 58
pop.l Ed 8f /0
pop.w Ew 66 8f /0
pop.l es 07
pop.l ss 17
pop.l ds 1f
pop.l fs 0f a1
pop.l gs 0f a9
pop.w es 66 07
pop.w ss 66 17
pop.w ds 66 1f
pop.w fs 66 0f a1
pop.w gs 66 0f a9
pusha,pushal - 60
pushaw - 66 60
popa,popal - 61
popaw - 66 61
pushf,pushfl - 9c
pushfw - 66 9c
popf,popfl - 9d
popfw - 66 9d

jmp.l *Ed ff /4
jmp.w *Ew 66 ff /4
call.l *Ed ff /2
call.w *Ew 66 ff /2
ljmp.l *M ff /5
ljmp.w *M 66 ff /5
lcall.l *M ff /3
lcall.w *M 66 ff /3
ret,retl - c3
ret,retl Uw c2
retw - 66 c3
retw Uw 66 c2
lret,lretl,retf,retfl - cb
lret,lretl,retf,retfl Uw ca
lretw,retfw - 66 cb
lretw,retfw Uw 66 ca
iret,iretl - cf
iretw - 66 cf
leave,leavel - c9
leavew - 66 c9
enter,enterl Uw,Ub c8
enterw Uw,Ub 66 c8
int 3 cc
int Ub cd
int3 - cc
int1 - f1
into - ce
bound. Gv,M 62 /r

in Ub,al e4
in Ub,ax 66 e5
in Ub,eax e5
in dx,al ec
in dx,ax 66 ed
in dx,eax ed
in Ub e5
in dx ed
inb Ub,al e4
inw Ub,ax 66 e5
inl Ub,eax e5
inb dx,al ec
inw dx,ax 66 ed
inl dx,eax ed
inb Ub e4
inw Ub 66 e5
inl Ub e5
inb dx ec
inw dx 66 ed
inl dx ed
out al,Ub e6
out ax,Ub 66 e7
out eax,Ub e7
out al,dx ee
out ax,dx 66 ef
out eax,dx ef
out Ub e7
out dx ef
outb al,Ub e6
outw ax,Ub 66 e7
outl eax,Ub e7
outb al,dx ee
outw ax,dx 66 ef
outl eax,dx ef
outb Ub e6
outw Ub 66 e7
outl Ub e7
outb dx ee
outw dx 66 ef
outl dx ef

cbw,cbtw - 66 98
cwde,cwtl - 98
cwd,cwtd - 66 99
cdq,cltd - 99
aaa - 37
aas - 3f
daa - 27
das - 2f
aam - d4 0a
aam Ub d4
aad - d5 0a
aad Ub d5
xlat,xlatb - d7
xlat,xlatb X d7
lahf - 9f
sahf - 9e
cmc - f5
clc - f8
stc - f9
cld - fc
std - fd
nop - 90
nop. Ev 0f 1f /0
pause - f3 90
endbr32 - f3 0f 1e fb
endbr64 - f3 0f 1e fa
movnti.l Gd,M 0f c3 /r
ud2,ud2a - 0f 0b
ud1. Ev,Gv 0f b9 /r
ud2b. Ev,Gv 0f b9 /r
ud0. Ev,Gv 0f ff /r
"""
)
