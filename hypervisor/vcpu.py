"""One virtual processor of a domain: where the processor's traps enter the hypervisor and leave it.

Everything a guest does that enters the hypervisor comes in through `exception` or `interrupt` and leaves
through `_return_to_guest`, as everything that enters Xen leaves through its exit path: time passes, timers
fire, a pending event is delivered, and only then does the guest go on.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from paravane import report as reports
from paravane.abi.arch import KERNEL_RING
from paravane.abi.errno import Errno
from paravane.abi.event_channel import Virq
from paravane.abi.hypercall import HYPERCALL_VECTOR
from paravane.abi.vcpu import VcpuContextFlag
from paravane.cpu import Cpu, EngineError, PageFault, RunEnd
from paravane.gateway import native
from paravane.gateway.vcpu_gateway import VcpuGateway
from paravane.gateway.vcpu_tlb import VcpuTlb
from paravane.memory import VcpuPaging, check_tables, fix_page_fault, install_tables, uninstall_tables
from paravane.memory.owner import UNSEEN
from paravane.platform import TRAPS
from paravane.preemption import UNIT_TIME, WORK_BUDGET, Preempted, PreemptionBudget
from paravane.refusal import Refusal
from paravane.run_state import RunState, not_started
from paravane.sched import Entity
from paravane.time.clock import GATE_COST, TRAP_COST
from paravane.traps import GuestCrash, VcpuTraps
from paravane.vcpu_host import VcpuHost
from paravane.vcpu_trace import VcpuTrace
from paravane.x86 import INT_LENGTH, PAGE_SHIFT, Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paravane.abi.vcpu import VcpuGuestContext
    from paravane.builder import StartOfDay
    from paravane.platform import Platform
    from paravane.tlb.spec import TlbSpec
    from paravane.vcpu_host import VcpuDomain

SPIN_TIME: Final = 10_000
"""Virtual nanoseconds that a vcpu is charged for a loop that it waited in before others had a turn: were it
free, vcpus that wait for each other and for the time would wait for ever."""

_ARGUMENT_REGISTERS = ("ebx", "ecx", "edx", "esi", "edi", "ebp")


class Hypercalls(Protocol):
    """What answers the hypercalls of a vcpu."""

    def __call__(self, number: int, arguments: tuple[int, ...], /) -> int | None:
        """Run hypercall `number` with EBX, ECX, EDX, ESI, EDI, EBP: what goes into EAX, None to leave EAX
        alone. Raises Preempted and GuestCrash."""
        ...


class Vcpu:
    """A processor with its traps, paging, time and run state."""

    def __init__(
        self,
        platform: Platform,
        domain: VcpuDomain,
        vcpu_id: int,
        hypercalls: Callable[[Vcpu], Hypercalls],
        answers: Mapping[tuple[int, int], int],
    ) -> None:
        """`hypercalls` makes what answers the hypercalls of this vcpu; it is called once, at the end.
        `answers` has those that it answers always alike: number and first argument -> result."""
        self.domid = domain.domid
        self.vcpu_id = vcpu_id
        self.entity = Entity(domain.share)
        self._platform = platform
        self._domain = domain
        spins = self._spins if domain.memory.max_vcpus > 1 else None
        library = native.find()
        fill = None if library is None else VcpuTlb(library)
        # A modelled TLB sees every trap, and changes tables that the gateway knows nothing of.
        self.gateway = None if library is None or domain.tlb is not None else VcpuGateway(library)
        """What serves its commonest traps in C, where that can be had."""
        self.cpu = self._processor(domain.tlb, spins, fill)
        # Before anything else can fail: a processor that stays open would keep the machine's memory.
        domain.resources.callback(self.cpu.close)
        domain.memory.states[vcpu_id] = UNSEEN
        self.paging = VcpuPaging(domain.memory, vcpu_id, self.cpu)
        self.host = VcpuHost(platform, domain, vcpu_id, self.cpu, self.paging)
        self.time = self.host.time
        self.traps = VcpuTraps(self.host, domain.peripherals)
        self.run_state = RunState(
            vcpu_id, domain.events, self.time, platform.timers, self.stop, not_started()
        )
        self.time.rest(self.run_state.resting)
        walked = domain.memory.machine.types.tables_walked
        self.budget = PreemptionBudget(lambda: platform.counts[TRAPS], self._return_is_wanted, walked)
        self._info_moved = False
        self.computes = True
        """Whether its slices have to be ended for it, as far as can be told from the last ones."""
        self._tracing = VcpuTrace(platform, domain, vcpu_id, self.cpu, self.traps, self.run_state)
        domain.resources.callback(self._tracing.start())
        self.place = self._tracing.place
        """Where its guest is (paravane.trace.Scene): after an `int $0x82`, where it made the hypercall."""
        self.call_place = self._tracing.call_place
        """As `place`, where it is known that the guest is in a hypercall."""
        self.hypercall = hypercalls(self)
        if self.gateway is not None:
            self.gateway.connect(
                platform,
                domain.memory,
                self.paging,
                self.traps.state,
                self.time,
                domain.events,
                self.budget.begun,
                answers,
            )
            self.traps.open_natively(self.gateway)

    def _processor(self, tlb: TlbSpec | None, spins: Callable[[], None] | None, fill: VcpuTlb | None) -> Cpu:
        platform, domain = self._platform, self._domain
        if tlb is not None:
            from paravane.tlb import TlbProcessor  # noqa: PLC0415 - loaded for who asks for it only

            return TlbProcessor(
                tlb,
                domain.memory,
                self,
                group=domain.code_group,
                spins=spins,
                sigint=platform.sigint,
                tlb_fill=fill,
            )
        return Cpu(
            platform.ram,
            self,
            domain.memory.geometry,
            group=domain.code_group,
            spins=spins,
            sigint=platform.sigint,
            trap_entry=self.gateway,
            tlb_fill=fill,
        )

    def start(self, start: StartOfDay) -> None:
        """The registers of the first vcpu at the start of day."""
        self.paging.load_base(start.base_mfn)
        self.traps.switch_stack(start.ss, start.esp)
        cpu = self.cpu
        cpu.enter(
            cs=start.cs, eip=start.eip, eflags=start.eflags, cpl=KERNEL_RING, ss=start.ss, esp=start.esp
        )
        for name in ("ds", "es", "fs", "gs"):
            cpu.load_segment(name, start.ss)
        cpu.esi = start.esi
        self.run_state.initialise()
        self.run_state.bring_up()

    def initialise(self, context: VcpuGuestContext) -> None:
        """VCPUOP_initialise: what any other vcpu starts with. Raises Refusal, having taken nothing: EEXIST
        for one that has a context, and what `install_tables` raises."""
        if self.run_state.initialised:
            raise Refusal(Errno.EEXIST, f"vcpu {self.vcpu_id} has been initialised already")
        install_tables(self.paging, context)
        if self.vcpu_id == 0:  # as in Xen, the first vcpu brings its domain's
            self._domain.memory.vm_assist = context.vm_assist
        self.traps.load(context)
        self.run_state.initialise(online=bool(context.flags & VcpuContextFlag.online))

    def set_context(self, context: VcpuGuestContext) -> None:
        """XEN_DOMCTL_setvcpucontext: as `initialise`, and for a vcpu that has a context what it goes on with.
        It is up or down then, as the context's flags have it. Raises Refusal: EOPNOTSUPP for other tables
        than those it has, and what `install_tables` raises."""
        if self.run_state.initialised:
            check_tables(self.paging, context)
            self.traps.load(context)
        else:
            self.initialise(context)
        self.run_state.set_online(online=bool(context.flags & VcpuContextFlag.online))

    def reset(self) -> None:
        """Be as before `initialise`: down, and without a context."""
        uninstall_tables(self.paging)
        self.run_state.uninitialise()

    # What the machine does with it.

    def run(self, instructions: int = 0) -> RunEnd:
        """Run the guest until something stops it, or for `instructions` (0: without a limit): why it came
        back. With a crash it is STOPPED."""
        self.time.publish()
        self.run_state.begin_slice()
        return self._execute(partial(self._begin, instructions))

    def go_on(self) -> RunEnd:
        """What is left of a run that is PAUSED."""
        return self._execute(self.cpu.go_on)

    def _begin(self, instructions: int) -> RunEnd:
        self.traps.begin()
        if instructions or not (self.traps.pending() and self.cpu.debuggers.puts_off_event()):
            self._deliver_events()
        return self.cpu.run(instructions=instructions)

    def _execute(self, run: Callable[[], RunEnd]) -> RunEnd:
        self._platform.trace.scene = self
        try:
            return run()
        except GuestCrash as crash:
            self._crash(crash.sentence, _address(crash))
        except EngineError as error:
            # Whatever the guest did to its processor must not end the other domains.
            self._crash(f"its processor cannot go on: {error}")
        finally:
            self._platform.trace.scene = None
        return RunEnd.STOPPED

    @property
    def hears_ticks(self) -> bool:
        """Whether its guest would notice that it was not ticked."""
        return self._domain.events.virq_bound(Virq.TIMER, self.vcpu_id)

    def stop(self) -> None:
        """Leave the guest soon: after the trap being served, or at once from another thread."""
        self.cpu.stop()

    def close(self) -> None:
        """Free the processor. The vcpu cannot run again."""
        self.run_state.close()
        self._domain.memory.states[self.vcpu_id] = UNSEEN
        self.cpu.close()

    def report(self, fault: int | None = None) -> str:
        """Where it is and what it waits for, as lines of text (`paravane.report`), with the page walk of a
        linear address that could not be used. Its guest must not be executing, or be in one of its traps."""
        platform, domain = self._platform, self._domain
        subject = reports.Subject(
            self.vcpu_id,
            self.time.owner,
            self.cpu,
            self.run_state,
            domain.image,
            domain.places,
            domain.events,
            platform.timers.armed(),
            platform.clock.now(),
            domain.sources,
        )
        return reports.vcpu_report(subject, fault)

    # Where the processor comes in (paravane.cpu.TrapHandler).

    def exception(self, vector: int, error_code: int) -> None:
        """A fault or trap of the guest. What the hypervisor can mend is mended, the rest is the guest's."""
        try:
            if vector != Vector.PF:
                self.traps.exception(vector, error_code)
            elif (fault := fix_page_fault(self.paging, self.cpu.cr2, error_code)) is not None:
                self.traps.exception(fault.vector, fault.error_code)
        except GuestCrash as crash:
            address = _address(crash)
            if address is None and vector == Vector.PF:
                address = self.cpu.cr2
            self._crash(f"{_exception_name(vector)} with error code {error_code:#x}: {crash}", address)
        self._return_to_guest()

    def interrupt(self, vector: int) -> None:
        """`int n`: a hypercall, a system call, or whatever the guest's trap table says."""
        cpu = self.cpu
        cost = TRAP_COST
        try:
            if vector == HYPERCALL_VECTOR and cpu.cpl == KERNEL_RING:
                eax, ecx, edx, ebx, _, ebp, esi, edi = cpu.gprs()
                result = self.hypercall(eax, (ebx, ecx, edx, esi, edi, ebp))
                if result is not None:
                    cpu.answer(result)
            elif self.traps.interrupt(vector):
                cost = GATE_COST
        except Preempted as rest:
            self._restart_hypercall(rest)
        except GuestCrash as crash:
            name = "" if vector == HYPERCALL_VECTOR else f"int {vector:#04x}: "
            self._crash(name + crash.sentence, _address(crash))
        self._return_to_guest(cost)

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        return self.traps.cpuid(leaf, subleaf)

    def _spins(self) -> None:
        """The guest waits in a loop, in all likelihood for another of its vcpus: let that run."""
        if self._domain.has_other_runnable(self.vcpu_id):
            self._platform.clock.ran(SPIN_TIME)
            self.run_state.yield_()

    # What hypercalls ask of it.

    @property
    def info_moved(self) -> bool:
        """Whether its vcpu_info is where the guest has put it."""
        return self._info_moved

    def move_info(self, mfn: int, offset: int) -> None:
        """Keep the vcpu_info at byte `offset` of a frame of the domain's from now on. Raises Refusal
        (-EINVAL) for a frame that cannot be written."""
        machine, domid = self._platform.memory, self._domain.domid
        machine.hold(mfn, domid, writable=True)
        self._hold_info(mfn)
        self._domain.events.move_vcpu_info(self.vcpu_id, (mfn << PAGE_SHIFT) + offset)
        self.time.publish()

    def resume_info(self) -> None:
        """Its vcpu_info is where the guest had put it before all was kept, in a frame that is held
        already."""
        self._hold_info(self.host.info.maddr >> PAGE_SHIFT)

    def _hold_info(self, mfn: int) -> None:
        self._domain.resources.callback(self._platform.memory.let_go, mfn, writable=True)
        self._info_moved = True

    # The return to the guest.

    def _restart_hypercall(self, rest: Preempted) -> None:
        """Have the guest execute its `int $0x82` once more, for what is left (EAX still has the number).

        Who used up the whole budget lets others run first, and the time that the work took passes.
        """
        cpu = self.cpu
        for name, argument in zip(_ARGUMENT_REGISTERS, rest.arguments, strict=False):
            setattr(cpu, name, argument)
        cpu.eip -= INT_LENGTH
        if self.budget.spent >= WORK_BUDGET:
            self._platform.clock.ran(self.budget.spent * UNIT_TIME)
            self.stop()

    def _return_is_wanted(self) -> bool:
        """Whether something waits for the return to the guest, so that a long hypercall should not go on."""
        run_state = self.run_state
        return run_state.yielded or not run_state.runnable or self.traps.state.upcall_due

    def _return_to_guest(self, cost: int = TRAP_COST) -> None:
        """The one return to the guest, after a trap that takes `cost` nanoseconds of virtual time."""
        platform = self._platform
        counts = platform.counts
        counts[TRAPS] = traps = counts[TRAPS] + 1
        if platform.bus.due:
            self._serve_backends()
        now = platform.clock.trapped(cost)
        if platform.timers.deadline <= now:
            platform.timers.expire(now)
        if self.traps.pending():
            try:
                self._deliver_events()
            except GuestCrash as crash:
                self._crash(crash.sentence, _address(crash))
        if traps == platform.trap_limit:
            self.stop()

    def _serve_backends(self) -> None:
        """The domain's backends do a first portion of what they were asked for, so that a guest that polls
        sees an answer when it goes on. It is charged for that. What is left has its turn between slices, and
        the guest, which has caused more than a portion, lets it come."""
        bus, domid = self._platform.bus, self._domain.domid
        self._platform.clock.ran(bus.serve(domid) * UNIT_TIME)
        if domid in bus.due:
            self.stop()

    def _deliver_events(self) -> None:
        if self.traps.pending() and self.run_state.runnable:
            if self._platform.exchange.observer is None:
                self.traps.deliver_pending()
            else:
                self._tracing.deliver(self._platform.exchange.observer)

    def _crash(self, sentence: str, fault: int | None = None) -> None:
        """End the domain for what this vcpu did; `fault` is the linear address it failed at, if at one."""
        if self._domain.alive:  # what it does before it has left the processor is of interest to nobody
            self._domain.crash(sentence, self._domain.dump(self.vcpu_id, fault))


def _address(crash: GuestCrash) -> int | None:
    """The linear address of the page fault that was the reason, if one was."""
    return crash.__cause__.va if isinstance(crash.__cause__, PageFault) else None


def _exception_name(vector: int) -> str:
    try:
        return f"#{Vector(vector).name}"
    except ValueError:
        return f"exception {vector}"
