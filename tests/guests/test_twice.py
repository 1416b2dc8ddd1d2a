"""The kernel for a PC and for Xen: QEMU, which nobody here wrote, judges the one, its console the other."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from paravane import DomainConfig, Kind, Machine, ShutdownReason, guest_kernels, load_image
from paravane.asm import build
from paravane.trace import HypercallRecord, TrapRecord
from tests.support.boot import HOST_TIMEOUT, boot
from tests.support.qemu import PANICKED, POWERED_OFF, on_qemu

if TYPE_CHECKING:
    from pathlib import Path

    from paravane import Record

TWICE = guest_kernels.load("twice")
FEW_FRAMES = 100
SLICE = 1_000_000
"""Instructions: with slices of the host's time a hypercall may be interrupted, and then counts twice."""
PHASES = ["system calls", "page faults", "fork", "exec", "context switches", "table updates", "timer"]
NAMES_BYTES = 96
"""At least as many as the names of the phases have, and all of them the kernel's."""


def image(**defines: int) -> bytes:
    return build(TWICE.sources, defines=defines)


def on_a_pc(kernel: bytes, folder: Path) -> tuple[str, int]:
    """What QEMU has on its serial line, and its exit status."""
    console, status = on_qemu(kernel, TWICE.memory, folder)
    return console.decode(), status


def test_a_pc_and_xen_show_the_same_console(tmp_path: Path) -> None:
    here = boot(image(), memory=TWICE.memory)
    assert here.ended(ShutdownReason.poweroff)
    assert here.audit == ()
    assert here.console == TWICE.expected
    assert on_a_pc(image(BARE=1), tmp_path) == (here.console, POWERED_OFF)


def test_both_give_up_where_frames_are_few(tmp_path: Path) -> None:
    here = boot(image(NR_FRAMES=FEW_FRAMES), memory=TWICE.memory)
    assert here.ended(ShutdownReason.crash)
    assert here.console.endswith("panic: no frame is left\n")
    assert on_a_pc(image(BARE=1, NR_FRAMES=FEW_FRAMES), tmp_path) == (here.console, PANICKED)


def test_phases_say_what_traps_and_hypercalls_are_for() -> None:
    kernel = load_image(image())
    phase, phase_names = (kernel.symbols.address_of(name) for name in ("phase", "phase_names"))
    assert phase
    assert phase_names
    seen: list[tuple[str, str]] = []
    with Machine(Machine.size_for(TWICE.memory), slice_instructions=SLICE) as machine:
        domain = machine.create(kernel, DomainConfig(memory=TWICE.memory))
        guest = domain.vcpus[0].host
        names = guest.copy_from_guest(phase_names, NAMES_BYTES).decode().split("\0")

        def see(record: Record) -> None:
            assert isinstance(record, HypercallRecord | TrapRecord)
            now = int.from_bytes(guest.copy_from_guest(phase, 4), "little")
            seen.append((names[now], record.name))

        machine.trace.subscribe(see, (Kind.HYPERCALL, Kind.TRAP))
        machine.run(timeout=HOST_TIMEOUT)
    assert list(dict.fromkeys(name for name, _ in seen if name != "other")) == PHASES
    counts = Counter(seen)
    of = {phase: {name: n for (here, name), n in counts.items() if here == phase} for phase in PHASES}
    # The mark of a phase is a system call: one more than the work has.
    assert of["system calls"] == {"int 0x80": 2001}
    assert of["page faults"] == {"#PF": 512, "update_va_mapping": 512, "int 0x80": 1, "mmu_update": 1}
    assert of["fork"]["#PF"] == 16 * 64
    assert of["context switches"]["multicall"] == 2 * 500
    # The 4096 entries, in batches as large as the kernel's work, and the table they are in.
    assert of["table updates"]["mmu_update"] == 4 * 4 + 1
    assert of["timer"]["sched_op.block"] == 5
    assert of["timer"]["set_timer_op"] == 2 * (1 + 5 + 1)
