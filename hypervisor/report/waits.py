"""What a vcpu waits for, in a report: its run state, event ports and timers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.domid import DomId
from paravane.abi.event_channel import EvtchnFifoPriority, Virq
from paravane.events.port import State
from paravane.time.timers import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paravane.events import EventChannels
    from paravane.events.port import Port
    from paravane.run_state import RunState
    from paravane.time.timers import TimerName

MOST_PORTS: Final = 32
"""Ports that are shown: those that are pending first."""

_VIRQS: Final = {virq.value: virq.name for virq in Virq}

Armed = tuple["TimerName", int]
"""A timer that is armed, and for when."""


def state(vcpu_id: int, run_state: RunState, events: EventChannels) -> str:
    """What a vcpu does, as the end of a sentence that begins with its name."""
    waiting = run_state.waiting
    if waiting.blocked:
        if not run_state.polls:
            return "sleeps until an event"
        # With several ports any will do, in Xen as well, which is why nobody remembers which they are.
        port = events.polled(vcpu_id)
        until = waiting.poll_deadline
        what = "several ports" if port is None else f"port {port}"
        return f"polls {what}" + (f" until {seconds(until)}" if until != NEVER else "")
    if waiting.down:
        return "is down"
    return "runs" if run_state.has_processor else "waits for its turn"


def ports(vcpu_id: int, events: EventChannels) -> Iterator[str]:
    """Whether upcalls are pending and masked, and every port that notifies the vcpu."""
    upcall = events.upcall_state(vcpu_id)
    if upcall is None:
        yield "  no upcalls: it has no vcpu_info"
    else:
        pending, masked = upcall
        abi = ", by the FIFO ABI" if events.uses_fifo else ""
        said = f"{'pending' if pending else 'not pending'}, {'masked' if masked else 'not masked'}"
        yield f"  upcall {said}{abi}"
    own = [(number, port) for number, port in events.in_use() if port.vcpu_id == vcpu_id]
    own.sort(key=lambda item: (not events.is_pending(item[0]), item[0]))
    for number, port in own[:MOST_PORTS]:
        marks = port_marks(events, number)
        yield f"  port {number}, {port_text(port)}{': ' if marks else ''}{', '.join(marks)}"
    if len(own) > MOST_PORTS:
        yield f"  and {len(own) - MOST_PORTS} ports more"


def timers(owner: str, armed: Iterable[Armed], now: int) -> Iterator[str]:
    """The armed timers of one owner, the first to fire first."""
    for name, deadline in armed:
        if name.owner == owner:
            yield f"  {name.kind} at {seconds(deadline)}, in {seconds(max(0, deadline - now))}"


def seconds(time: int) -> str:
    """Nanoseconds as `12.345678901 s`."""
    return f"{time // 1_000_000_000}.{time % 1_000_000_000:09d} s"


def port_marks(events: EventChannels, port: int) -> list[str]:
    """What there is to say of a port besides what it is bound to."""
    priority = events.priority(port)
    marks = [] if priority in (None, EvtchnFifoPriority.DEFAULT) else [f"priority {priority}"]
    marks += ["pending"] if events.is_pending(port) else []
    return marks + (["masked"] if events.is_masked(port) else [])


def port_text(port: Port) -> str:
    """What a port is bound to, in words."""
    match port.state:
        case State.INTERDOMAIN:
            return f"connected to port {port.remote_port} of d{port.remote_domid}"
        case State.UNBOUND:
            whom = "anybody" if port.remote_domid == DomId.INVALID else f"d{port.remote_domid}"
            return f"open for {whom}"
        case State.VIRQ:
            return f"virtual interrupt {_VIRQS.get(port.virq, port.virq)}"
        case _:
            return port.state.name.lower()
