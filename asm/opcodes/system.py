"""System instructions (Intel SDM, volume 2). The notation is described in `paravane.asm.forms`."""

from __future__ import annotations

SYSTEM = """
mov.l Sw,Rd 8c /r
mov.w Sw,Rw 66 8c /r
mov.w Sw,M 8c /r
mov.l Rd,Tw 8e /r
mov.w Rw,Tw 8e /r
mov.w M,Tw 8e /r
mov.l Cd,Rd 0f 20 /r
mov.l Rd,Cd 0f 22 /r
mov.l Dd,Rd 0f 21 /r
mov.l Rd,Dd 0f 23 /r
mov.l Kd,Rd 0f 24 /r
mov.l Rd,Kd 0f 26 /r

arpl.w Gw,Ew 63 /r
lar. Ev,Gv 0f 02 /r
lar.l Rw,Gd 0f 02 /r
lsl. Ev,Gv 0f 03 /r
lsl.l Rw,Gd 0f 03 /r
sldt.l Rd 0f 00 /0
sldt.w Rw 66 0f 00 /0
sldt.w M 0f 00 /0
str.l Rd 0f 00 /1
str.w Rw 66 0f 00 /1
str.w M 0f 00 /1
lldt.w Ew 0f 00 /2
ltr.w Ew 0f 00 /3
verr.w Ew 0f 00 /4
verw.w Ew 0f 00 /5
sgdt.l M 0f 01 /0
sgdt.w M 66 0f 01 /0
sidt.l M 0f 01 /1
sidt.w M 66 0f 01 /1
lgdt.l M 0f 01 /2
lgdt.w M 66 0f 01 /2
lidt.l M 0f 01 /3
lidt.w M 66 0f 01 /3
smsw.l Rd 0f 01 /4
smsw.w Rw 66 0f 01 /4
smsw.w M 0f 01 /4
lmsw.w Ew 0f 01 /6
invlpg M 0f 01 /7

cli - fa
sti - fb
hlt - f4
clts - 0f 06
invd - 0f 08
wbinvd - 0f 09
rdtsc - 0f 31
rdtscp - 0f 01 f9
rdmsr - 0f 32
wrmsr - 0f 30
rdpmc - 0f 33
syscall - 0f 05
sysret,sysretl - 0f 07
sysenter - 0f 34
sysexit - 0f 35
cpuid - 0f a2
rsm - 0f aa
monitor - 0f 01 c8
monitor eax,ecx,edx 0f 01 c8
mwait - 0f 01 c9
mwait eax,ecx 0f 01 c9
xgetbv - 0f 01 d0
xsetbv - 0f 01 d1
vmcall - 0f 01 c1
vmmcall - 0f 01 d9
clac - 0f 01 ca
stac - 0f 01 cb
lfence - 0f ae e8
mfence - 0f ae f0
sfence - 0f ae f8
clflush M 0f ae /7
prefetch M 0f 0d /0
prefetchw M 0f 0d /1
prefetchnta M 0f 18 /0
prefetcht0 M 0f 18 /1
prefetcht1 M 0f 18 /2
prefetcht2 M 0f 18 /3
"""
