"""A machine that is one bare PC: memory, time, turns and ends are those of every machine."""

from __future__ import annotations

import math
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from paravane.arguments import check_callable, check_type
from paravane.cpu import Ram
from paravane.cpu.segments import Descriptor, Table
from paravane.full import bios_data, multiboot
from paravane.full.guest_tables import GuestTables
from paravane.full.linear_memory import LinearMemory
from paravane.full.pc import Pc
from paravane.full.physical_memory import PhysicalMemory
from paravane.full.processor import VirtualProcessor
from paravane.full.rewriter import Rewriter
from paravane.full.shadow import Policy, Shadow
from paravane.full.shadow_audit import audit
from paravane.full.state import KERNEL, PrivilegedState, Sensitive
from paravane.full.vcpu import FullVcpu
from paravane.inbox import Inbox
from paravane.memory import MachineMemory
from paravane.outside import MachineBusyError, Outside
from paravane.platform import Platform
from paravane.registry import CONTROL_DOMID, Registry
from paravane.run_loop import RunLoop
from paravane.sched import RoundRobin
from paravane.time.clock import VirtualClock
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE, Eflags

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from paravane.ending import Ending
    from paravane.full.multiboot import Loaded
    from paravane.full.serial_port import SerialPort
    from paravane.platform import Resident
    from paravane.time.clock import Clock

_OWN_FRAMES: Final = 512
"""Frames of the monitor: its tables, and those of the shadow."""

SMALLEST: Final = 1 << 20
LARGEST: Final = 3 << 30
_CODE, _DATA = 0x08, 0x10


class BareGuest:
    """A kernel on a bare PC (`paravane.personality.Guest`). `exit_code` is what it wrote to the debug exit,
    `failure` the sentence that says why it could not go on, `reset_by` the name of what it reset its machine
    by, once it has come to one of these. What is fed to `console`, its serial port, it finds typed there."""

    domid = CONTROL_DOMID
    paused = False
    console: SerialPort

    def __init__(self, vcpu: Callable[[BareGuest], FullVcpu]) -> None:
        self.exit_code: int | None = None
        self.failure: str | None = None
        self.reset_by: str | None = None
        self.vcpus = (vcpu(self),)

    @property
    def alive(self) -> bool:
        return self.exit_code is None and self.failure is None and self.reset_by is None

    def exit(self, code: int) -> None:
        """It ends its machine."""
        if self.alive:
            self.exit_code = code
            self._end()

    def reset(self, by: str) -> None:
        """It resets its machine."""
        if self.alive:
            self.reset_by = by
            self._end()

    def fail(self, sentence: str) -> None:
        """It cannot go on."""
        if self.alive:
            vcpu = self.vcpus[0]
            self.failure = f"{sentence} (at {vcpu.place()})"
            self._end()

    def _end(self) -> None:
        for vcpu in self.vcpus:
            vcpu.run_state.end()


class BareMachine(Outside):
    """One bare PC and its kernel. Close it, or use it in a `with`.

    It belongs to one thread at a time. While `run` lasts, any other thread may call `post` and `interrupt`,
    and nothing else.
    """

    def __init__(
        self,
        kernel: bytes,
        memory: int,
        *,
        command_line: str = "",
        ramdisk: bytes | None = None,
        sink: Callable[[bytes], object],
        clock: Clock | None = None,
        slice_instructions: int = 0,
        sensitive: Sensitive = Sensitive.REWRITE,
        shadow: Policy = Policy.VTLB,
    ) -> None:
        """`kernel` is a multiboot image, `memory` its machine's in bytes, a multiple of 4096 from 1 MiB to 3
        GiB; `ramdisk` it finds as a multiboot module; `sink` takes what it writes to its serial port. With
        `slice_instructions` a slice is that many instructions, and the run a function of its input alone.
        Raises ImageError, TypeError for a value of a wrong type, ValueError for another size or a negative
        number of instructions, and MemoryError when the host has not so much."""
        check_type("kernel", kernel, bytes, bytearray)
        check_type("command_line", command_line, str)
        check_type("ramdisk", ramdisk, bytes, bytearray, type(None))
        check_type("sensitive", sensitive, Sensitive)
        check_type("shadow", shadow, Policy)
        check_callable("sink", sink)
        _check_numbers(memory, slice_instructions)
        self._size = memory
        self._runner: int | None = None
        self._closed = False
        loaded = multiboot.load(kernel, memory, command_line, ramdisk)
        with ExitStack() as undo:
            frames = memory >> PAGE_SHIFT
            # Besides its own tables the machine map keeps 4 bytes for each frame.
            ram = Ram(frames + _OWN_FRAMES + frames // 512)
            undo.callback(ram.close)
            registry: Registry[Resident, Resident] = Registry()
            machine_memory = MachineMemory(ram, registry, low_frames=frames)
            self.platform = Platform(ram, machine_memory, registry, clock or VirtualClock())
            self.guest = BareGuest(self._make_vcpu)
            vcpu = self.guest.vcpus[0]
            undo.callback(vcpu.close)
            physical = PhysicalMemory(ram, memory)
            self._state = state = PrivilegedState()
            self._tables = GuestTables(physical, state)
            self.shadow = Shadow(ram, vcpu.cpu, memory, machine_memory.allocate_own, self._tables, shadow)
            physical.stored = self.shadow.stored
            self.memory = LinearMemory(physical, state, self.shadow.reached)
            processor = VirtualProcessor(vcpu.cpu, state, self.memory, self.shadow, sensitive)
            rewriter = Rewriter(vcpu.cpu, sensitive=sensitive is Sensitive.REWRITE)
            self.pc = Pc(
                self.platform,
                "d0",
                physical,
                sink=sink,
                interrupted=vcpu.interrupted,
                ended=self.guest.exit,
                reset=self.guest.reset,
            )
            self.guest.console = self.pc.serial
            vcpu.equip(processor, self.pc.ports, self.pc.interrupts, rewriter)
            _enter(processor, physical, loaded)
            self._inbox = Inbox()
            undo.callback(self._inbox.close)
            self._loop = RunLoop(
                self.platform,
                {self.guest.domid: self.guest},
                RoundRobin(),
                self._inbox,
                slice_instructions,
                _nothing,
                lambda: False,
            )
            self._loop.scheduler.add(vcpu)
            self._resources = undo.pop_all()

    def _make_vcpu(self, guest: BareGuest) -> FullVcpu:
        return FullVcpu(self.platform, guest.domid, guest.fail)

    def run(
        self, *, timeout: float | None = None, deadline: float | None = None, max_traps: int = 0
    ) -> Ending:
        """Run the kernel until it has ended, or for `timeout` host seconds, or until `deadline` (as
        `time.monotonic` counts), or for `max_traps` traps. MachineBusyError while it is running already."""
        self._check_idle("be run")
        if self._closed:
            raise ValueError("the machine is closed")
        for name, limit in (("timeout", timeout), ("deadline", deadline)):
            check_type(name, limit, int, float, type(None))
        check_type("max_traps", max_traps, int)
        if any(limit is not None and math.isnan(limit) for limit in (timeout, deadline)) or max_traps < 0:
            raise ValueError("a limit of a run must be a number, and not a negative one of traps")
        self.platform.limit_traps(self.platform.traps + max_traps if max_traps else 0)
        if timeout is not None:
            end = time.monotonic() + timeout
            deadline = end if deadline is None else min(deadline, end)
        self._runner = threading.get_ident()
        try:
            ending = self._loop.run(deadline)
        finally:
            self._runner = None
            self._loop.interrupted = False
        assert ending is not None  # nobody asks the loop to leave
        return ending

    def _check_thread(self, what: str) -> None:
        if self._runner not in (None, threading.get_ident()):
            raise MachineBusyError(f"another thread runs the machine: only that one can {what} now")

    def _check_idle(self, what: str) -> None:
        if self._runner is not None:
            raise MachineBusyError(f"the machine is running, and cannot {what} meanwhile")

    def audit(self) -> list[str]:
        """What is wrong with the shadow of the guest's page tables, in sentences: see
        `paravane.full.shadow_audit`."""
        self._check_thread("audit the machine")
        return audit(self.shadow, self._tables, self._state, self.guest.vcpus[0].cpu.cr3, self._size)

    def close(self) -> None:
        """Free the processor and the memory. Idempotent. MachineBusyError while it is running."""
        self._check_idle("be closed")
        self._closed = True
        self.pc.close()
        self._resources.close()

    def __enter__(self) -> BareMachine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _check_numbers(memory: int, slice_instructions: int) -> None:
    for name, number in (("memory", memory), ("slice_instructions", slice_instructions)):
        check_type(name, number, int)
    if slice_instructions < 0:
        raise ValueError(f"slice_instructions must not be negative, as {slice_instructions} is")
    if not SMALLEST <= memory <= LARGEST or memory % PAGE_SIZE:
        raise ValueError(f"a bare PC has 1 MiB to 3 GiB of memory in pages of 4 KiB, not {memory} bytes")


def _enter(processor: VirtualProcessor, physical: PhysicalMemory, loaded: Loaded) -> None:
    """Memory and registers as a multiboot loader leaves them (3.2 of the specification)."""
    table = multiboot.loader_gdt()
    for piece in (*loaded.pieces, table):
        physical.write(piece.address, bytes(piece.data))
        # All other memory is zero.
        end = piece.address + len(piece.data)
        physical.clear(end, min(piece.address + piece.size, bios_data.END) - end)
    state, cpu = processor.state, processor.cpu
    state.gdt, state.idt = Table(table.address, table.size - 1), Table(0, 0)
    processor.set_cpl(KERNEL)
    processor.hold("cs", processor.code_segment(_CODE, KERNEL))
    data: Descriptor = processor.stack_segment(_DATA, KERNEL)
    for name in ("ds", "es", "fs", "gs", "ss"):
        processor.hold(name, data)
    cpu.eax, cpu.ebx, cpu.eip = multiboot.BOOT_MAGIC, loaded.info, loaded.entry
    cpu.esp = table.address
    processor.eflags = int(Eflags.FIXED)


def _nothing() -> None:
    """There is nobody to be taken away."""
