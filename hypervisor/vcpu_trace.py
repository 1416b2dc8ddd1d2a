"""What a trace has of one vcpu: where its guest is, its traps, its upcalls, and the ends of its sleeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane import trace as traces
from paravane.call_site import call_site, follows_hypercall
from paravane.cpu.attention import Attention
from paravane.time.clock import GATE_COST, TRAP_COST
from paravane.trace import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.cpu import Cpu
    from paravane.events.observer import Observer
    from paravane.place import Place
    from paravane.platform import Platform
    from paravane.run_state import RunState
    from paravane.traps import TrapNote, VcpuTraps
    from paravane.vcpu_host import VcpuDomain


class VcpuTrace:
    """A vcpu's traps and run state are observed only as long as somebody wants their records."""

    def __init__(
        self,
        platform: Platform,
        domain: VcpuDomain,
        vcpu_id: int,
        cpu: Cpu,
        traps: VcpuTraps,
        run_state: RunState,
    ) -> None:
        self._platform = platform
        self._domain = domain
        self._vcpu_id = vcpu_id
        self._cpu = cpu
        self._traps = traps
        self._run_state = run_state
        self._placed: tuple[int, int, Place | None] = (-1, 0, None)

    def start(self) -> Callable[[], None]:
        """Follow what is wanted of the trace, until what this returns is called."""
        return self._platform.trace.watch(self._changed)

    def place(self) -> Place:
        """Where its guest is: after an `int $0x82`, where it made the hypercall."""
        cpu, entry = self._cpu, self._platform.traps
        before, address, place = self._placed
        if place is None or before != entry or address != cpu.eip:
            place = self.call_place() if follows_hypercall(cpu) else self._domain.places.at(cpu.eip)
            self._placed = entry, cpu.eip, place
        return place

    def call_place(self) -> Place:
        """As `place`, where it is known that the guest is in a hypercall."""
        return self._domain.places.before(call_site(self._cpu))

    def deliver(self, observer: Observer) -> None:
        """Have its traps deliver what is pending, and tell of an upcall among that."""
        counters, place = self._traps.counters, self._domain.places.at(self._cpu.eip)
        upcalls = counters.upcalls
        self._traps.deliver_pending()
        if counters.upcalls != upcalls:
            ports = self._domain.events.unmasked()
            observer.delivered(self._domain.domid, self._vcpu_id, place, ports)

    def _changed(self) -> None:
        wants = self._platform.trace.wants
        self._traps.observe(self._trapped if wants(Kind.TRAP) else None)
        self._cpu.want_attention(Attention.UPCALLS_OBSERVED, wanted=wants(Kind.EVENT))
        self._run_state.observer = self._woken if wants(Kind.SCHEDULE) else None

    def _woken(self) -> None:
        platform = self._platform
        head = (platform.clock.now(), self._domain.domid, self._vcpu_id, None)
        platform.trace.write(traces.ScheduleRecord(*head, "woken"))

    def _trapped(self, note: TrapNote) -> None:
        clock = self._platform.clock
        cost = GATE_COST if note.outcome == "direct" else TRAP_COST
        self._platform.trace.write(
            traces.TrapRecord(
                clock.now(),
                self._domain.domid,
                self._vcpu_id,
                self._domain.places.at(note.eip),
                note.cpl,
                int(note.vector),
                note.name,
                note.error_code,
                note.cr2,
                note.outcome,
                note.handler,
                clock.after(cost),
            )
        )
