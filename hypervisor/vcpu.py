"""One virtual processor of a domain: where the processor's traps meet the hypervisor's rooms.

Everything a guest does that enters the hypervisor comes in through `exception` or `interrupt` and leaves
through `_leave`, as everything that enters Xen leaves through its exit path: time passes, timers fire, a
pending event is delivered, and only then does the guest go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.arch import xen_cr3_to_pfn, xen_pfn_to_cr3
from paravane.abi.hypercall import HYPERCALL_VECTOR
from paravane.abi.shared_info import SHARED_INFO
from paravane.abi.vcpu import Runstate
from paravane.builder import hypercall_page
from paravane.cpu import Cpu, EngineError, PageFault
from paravane.hypercalls import answer_text, call, call_text
from paravane.preemption import UNIT_TIME, WORK_BUDGET, Preempted, Work
from paravane.time.clock import GATE_COST, TRAP_COST
from paravane.time.records import TSC_KHZ
from paravane.time.vcpu_time import VcpuTime
from paravane.trace import EventRecord, ExceptionRecord, HypercallRecord, Kind, RefusalRecord
from paravane.traps import GuestCrash, VcpuTraps
from paravane.x86 import PageFaultCode, Vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.abi.event_channel import Virq
    from paravane.builder import StartOfDay
    from paravane.domain import Domain
    from paravane.refusal import Refusal
    from paravane.traps import TrapNote

KERNEL_CPL = 1
PAGE_SHIFT = 12
INT_LENGTH = 2
"""Bytes of `int $0x82`."""

_ARGUMENT_REGISTERS = ("ebx", "ecx", "edx", "esi", "edi", "ebp")
_NMI_REASON = SHARED_INFO.offsets["arch.nmi_reason"]


class Vcpu:
    """A processor with its traps, paging and timer; runnable, blocked or, with its domain, gone."""

    def __init__(self, domain: Domain, vcpu_id: int) -> None:
        self.domain = domain
        self.platform = domain.platform
        self.vcpu_id = vcpu_id
        self.cpu = Cpu(domain.platform.ram, self, domain.memory.geometry)
        # Before anything else can fail: a processor that stays open would keep the machine's memory.
        domain.resources.callback(self.cpu.close)
        self.paging = domain.memory.attach(vcpu_id, self.cpu)
        self.info = _known(domain.events.vcpu_info(vcpu_id))
        self.traps = VcpuTraps(self)
        self.blocked = False
        self.down = False
        self.info_moved = False
        self.yielded = False
        self.in_multicall = False
        walked = domain.memory.machine.types.tables_walked
        self.work = Work(lambda: self.platform.traps, self._way_out_is_wanted, walked)
        platform = domain.platform
        self.time = VcpuTime(self, platform.ram, platform.clock, platform.timers)
        self._poll_timer = platform.timers.timer(self._poll_expired)

    def start(self, start: StartOfDay) -> None:
        """The registers of the first vcpu at the start of day."""
        self.paging.load_base(start.base_mfn)
        self.traps.switch_stack(start.ss, start.esp)
        cpu = self.cpu
        cpu.enter(cs=start.cs, eip=start.eip, eflags=start.eflags, cpl=KERNEL_CPL, ss=start.ss, esp=start.esp)
        for name in ("ds", "es", "fs", "gs"):
            cpu.load_segment(name, start.ss)
        cpu.esi = start.esi

    # What the scheduler sees.

    @property
    def runnable(self) -> bool:
        return not self.blocked and not self.down and self.domain.alive

    @property
    def resting(self) -> Runstate:
        """The run state of the vcpu while it does not have the processor."""
        if self.blocked:
            return Runstate.blocked
        return Runstate.runnable if self.runnable else Runstate.offline

    def run(self, instructions: int = 0) -> None:
        """Run the guest until something stops it, or for `instructions` (0: without a limit)."""
        self.time.publish()
        self.yielded = False
        try:
            self._deliver_events()
        except GuestCrash as crash:
            self.domain.crash(self, crash.sentence)
            return
        try:
            self.cpu.run(instructions=instructions)
        except EngineError as error:
            # Whatever the guest did to its processor must not end the other domains.
            self.domain.crash(self, f"its processor cannot go on: {error}")

    def stop(self) -> None:
        """Leave the guest soon: after the trap being served, or at once from another thread."""
        self.cpu.stop()

    def wake(self) -> None:
        """Something happened that the vcpu waits for."""
        self.blocked = False
        self._poll_timer.disarm()
        self.time.woken(self.resting)

    def close(self) -> None:
        """Free the processor. The vcpu cannot run again."""
        self.time.stop()
        self._poll_timer.disarm()
        self.cpu.close()

    # Where the processor comes in (paravane.cpu.TrapHandler).

    def exception(self, vector: int, error_code: int) -> None:
        """A fault or trap of the guest. What the hypervisor can mend is mended, the rest is the guest's."""
        try:
            if not (vector == Vector.PF and self.paging.fix_page_fault(self.cpu.cr2, error_code)):
                self.traps.exception(vector, error_code)
        except GuestCrash as crash:
            self.domain.crash(self, f"{_exception_name(vector)} with error code {error_code:#x}: {crash}")
        self._leave()

    def interrupt(self, vector: int) -> None:
        """`int n`: a hypercall, a system call, or whatever the guest's trap table says."""
        cpu = self.cpu
        cost = TRAP_COST
        try:
            if vector == HYPERCALL_VECTOR and cpu.cpl == KERNEL_CPL:
                eax, ecx, edx, ebx, _, ebp, esi, edi = cpu.gprs()
                result = self.hypercall(eax, (ebx, ecx, edx, esi, edi, ebp))
                if result is not None:
                    cpu.eax = result & 0xFFFF_FFFF
            elif self.traps.interrupt(vector):
                cost = GATE_COST
        except Preempted as rest:
            self._ask_again(rest)
        except GuestCrash as crash:
            self.domain.crash(self, crash.sentence)
        self._leave(cost)

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        return self.traps.cpuid(leaf, subleaf)

    def hypercall(self, number: int, arguments: tuple[int, ...]) -> int | None:
        """Run one hypercall: what goes into EAX, None to leave EAX alone. Raises Preempted."""
        trace = self.platform.trace
        if not trace.hypercalls:
            return call(self, number, arguments)
        text, eip = call_text(self, number, arguments), self.cpu.eip
        shown = "no result"
        try:
            result = call(self, number, arguments)
            shown = answer_text(self, number, arguments, result)
        except Preempted as rest:
            shown = str(rest)
            raise
        finally:
            trace.write(
                HypercallRecord(self.platform.clock.now(), self.domain.domid, self.vcpu_id, eip, text, shown)
            )
        return result

    def _ask_again(self, rest: Preempted) -> None:
        """Have the guest execute its `int $0x82` once more, for what is left (EAX still has the number).

        Who used up the whole budget lets others run first, and the time that the work took passes.
        """
        cpu = self.cpu
        for name, argument in zip(_ARGUMENT_REGISTERS, rest.arguments, strict=False):
            setattr(cpu, name, argument)
        cpu.eip -= INT_LENGTH
        if self.work.spent >= WORK_BUDGET:
            self.platform.clock.ran(self.work.spent * UNIT_TIME)
            self.stop()

    def _way_out_is_wanted(self) -> bool:
        return self.yielded or not self.runnable or self.domain.events.upcall_due(self.vcpu_id)

    def _leave(self, cost: int = TRAP_COST) -> None:
        """The one way back to the guest, after a trap that takes `cost` nanoseconds of virtual time."""
        platform = self.platform
        platform.traps = traps = platform.traps + 1
        now = platform.clock.trapped(cost)
        if platform.timers.deadline <= now:
            platform.timers.expire(now)
        if self.traps.pending:
            try:
                self._deliver_events()
            except GuestCrash as crash:
                self.domain.crash(self, crash.sentence)
        if traps == platform.trap_limit:
            self.stop()

    def _deliver_events(self) -> None:
        if self.traps.pending and self.runnable:
            self.traps.deliver_pending()
            if self.platform.trace.wants(Kind.EVENT):
                now = self.platform.clock.now()
                self.platform.trace.write(EventRecord(now, self.domain.domid, self.vcpu_id, "upcall"))

    # What hypercalls ask of their vcpu.

    def copy_from_guest(self, va: int, size: int) -> bytes:
        """`size` bytes at linear address `va`. PageFault where the guest's kernel could not read itself, and,
        as Xen's access_ok has it, for any address that is the hypervisor's."""
        if va + size > self.domain.memory.space.hole and size:
            raise PageFault(va, 0)
        return self.cpu.read(va, size)

    def copy_to_guest(self, va: int, data: bytes) -> None:
        """Store `data` at linear address `va`; PageFault as for `copy_from_guest`."""
        if va + len(data) > self.domain.memory.space.hole and data:
            raise PageFault(va, PageFaultCode.write_access)
        self.cpu.write(va, data)

    def refused(self, request: str, refusal: Refusal) -> None:
        """Put a refusal where people look for it: the log and the trace."""
        self.domain.log.debug("%s refused: %s", request, refusal)
        trace = self.platform.trace
        if trace.wants(Kind.REFUSAL):
            now, errno = self.platform.clock.now(), refusal.errno.name
            trace.write(RefusalRecord(now, self.domain.domid, self.vcpu_id, request, errno, refusal.sentence))

    def raise_virq(self, virq: Virq) -> None:
        """Fire a virtual interrupt of this vcpu, if the guest has bound it."""
        self.domain.events.raise_virq(virq, self.vcpu_id)

    def move_info(self, mfn: int, offset: int) -> None:
        """Keep the vcpu_info at byte `offset` of a frame of the domain's from now on. Raises Refusal
        (-EINVAL) for a frame that cannot be written."""
        machine, domid = self.platform.memory, self.domain.domid
        machine.hold(mfn, domid, writable=True)
        self.domain.resources.callback(machine.let_go, mfn, writable=True)
        self.domain.events.move_vcpu_info(self.vcpu_id, (mfn << PAGE_SHIFT) + offset)
        self.info = _known(self.domain.events.vcpu_info(self.vcpu_id))
        self.info_moved = True

    def yield_processor(self) -> None:
        """Let others run first."""
        self.yielded = True
        self.stop()

    def unmask_upcalls(self) -> None:
        self.traps.state.upcall_mask = 0

    def block(self) -> None:
        """Sleep until an upcall is due; one that is due already wins."""
        if not self.domain.events.upcall_due(self.vcpu_id):
            self.blocked = True
            self.stop()

    def poll(self, ports: Sequence[int], deadline: int) -> None:
        """Sleep until a port is pending, an upcall is due or `deadline` (system time; 0: never) has come."""
        if not self.domain.events.poll(self.vcpu_id, ports):
            return
        if deadline:
            self._poll_timer.arm(deadline)
        self.blocked = True
        self.stop()

    # What traps ask of their vcpu (paravane.traps.TrapHost).

    @property
    def architectural_iopl(self) -> bool:
        return self.domain.memory.architectural_iopl

    @property
    def tsc_khz(self) -> int:
        return TSC_KHZ

    @property
    def max_mfn(self) -> int:
        return self.platform.ram.nr_frames - 1

    def tsc(self) -> int:
        return self.time.read(self.platform.traps)

    def nmi_reason(self) -> int:
        at = self.domain.shared_info + _NMI_REASON
        return int.from_bytes(self.platform.ram.bytes[at : at + 4], "little")

    def guest_cr3(self) -> int:
        return xen_pfn_to_cr3(self.paging.base_mfn)

    def load_guest_cr3(self, value: int) -> None:
        self.paging.load_base(xen_cr3_to_pfn(value))

    def map_ldt_page(self, offset: int) -> bool:
        return self.paging.map_ldt_page(offset)

    def fill_hypercall_page(self, mfn: int) -> None:
        self.domain.memory.write_frame(mfn, hypercall_page())

    def guest_note(self, sentence: str) -> None:
        self.domain.log.info("vcpu %d: %s", self.vcpu_id, sentence)

    def observe_traps(self) -> None:
        """Write a trace record for every exception, `int n` and bounce from now on."""
        self.traps.observe(self._trapped)

    def _trapped(self, note: TrapNote) -> None:
        now = self.platform.clock.now()
        who = (now, self.domain.domid, self.vcpu_id)
        self.platform.trace.write(
            ExceptionRecord(*who, note.eip, note.cpl, note.name, note.error_code, note.cr2, note.outcome)
        )

    def _poll_expired(self) -> None:
        self.domain.events.stop_poll(self.vcpu_id)
        self.wake()


def _known(address: int | None) -> int:
    """The vcpu_info of a vcpu that has one in shared_info."""
    if address is None:
        raise ValueError("a vcpu runs only once it has a vcpu_info")
    return address


def _exception_name(vector: int) -> str:
    try:
        return f"#{Vector(vector).name}"
    except ValueError:
        return f"exception {vector}"
