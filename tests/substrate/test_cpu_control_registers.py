"""Control registers: what a write to one does besides, and flags that are read without asking the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.x86 import Cr0, Eflags

if TYPE_CHECKING:
    from tests.support.cpu_bench import Bench, Trap

NO_SYSTEM_FLAGS = Eflags.CF | Eflags.PF | Eflags.AF | Eflags.ZF | Eflags.SF | Eflags.OF | Eflags.DF
INT_DONE = b"\xcd\x20"


def test_task_switched_flushes_no_translation_and_write_protect_does(bench: Bench) -> None:
    cpu = bench.cpu
    before = cpu.flushes
    cpu.cr0 |= Cr0.TS
    cpu.cr0 &= ~Cr0.TS
    assert cpu.flushes == before
    cpu.cr0 &= ~Cr0.WP
    assert cpu.flushes == before + 1
    cpu.cr0 |= Cr0.WP
    assert cpu.flushes == before + 2


def test_system_flags_are_those_of_eflags_read_written_or_neither(bench: Bench) -> None:
    cpu = bench.cpu
    bench.kernel(eflags=Eflags.FIXED | Eflags.IF | Eflags.DF | Eflags.AC | Eflags.NT)
    seen: list[tuple[int, int, int]] = []

    def look(_: Trap) -> None:
        unread, eflags = cpu.system_eflags, cpu.eflags
        assert eflags & Eflags.DF
        seen.append((unread, cpu.system_eflags, eflags & ~NO_SYSTEM_FLAGS))
        cpu.eflags = eflags & ~Eflags.NT | Eflags.RF
        assert cpu.system_eflags == (eflags & ~NO_SYSTEM_FLAGS & ~Eflags.NT | Eflags.RF)
        cpu.stop()

    bench.handler.on_trap = look
    bench.run(b"\x31\xc0" + INT_DONE)  # xorl %eax, %eax: ZF and PF, which are no system flags
    assert len(seen) == 1
    assert seen[0][0] == seen[0][1] == seen[0][2]
    assert seen[0][0] & Eflags.NT
