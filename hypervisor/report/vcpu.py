"""The report of one vcpu: what it does and where, its processor, its stack, and what it waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.call_site import call_site
from paravane.classes import dataclass
from paravane.report import processor, stack, waits
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paravane.cpu import Cpu
    from paravane.events import EventChannels
    from paravane.image import Image
    from paravane.image.source_text import SourceText
    from paravane.place import Place, Places
    from paravane.run_state import RunState


@dataclass(frozen=True, slots=True)
class Subject:
    """A vcpu as a report sees it; its guest does not execute meanwhile.

    `owner` is its name among the machine's timers, of which `armed` are all that are armed; `now` is system
    time in nanoseconds. `sources` has the text of source files (None: it is not to be looked for).
    """

    vcpu_id: int
    owner: str
    cpu: Cpu
    run_state: RunState
    image: Image
    places: Places
    events: EventChannels
    armed: Sequence[waits.Armed]
    now: int
    sources: SourceText | None


def vcpu_report(subject: Subject, fault: int | None = None) -> str:
    """Lines of text, always in the same order: what the vcpu does and where, with the line of source; its
    registers; code; stack; calls; the page walk of the linear address `fault`, when one could not be used;
    events; timers. Of a vcpu that has no context yet there is no more to say than that."""
    if not subject.run_state.initialised:
        return f"vcpu {subject.vcpu_id} was never started\n"
    cpu, image, places = subject.cpu, subject.image, subject.places
    doing = waits.state(subject.vcpu_id, subject.run_state, subject.events)
    here, caller = _places(subject)
    called_from = "" if caller is None else f", called from {caller}"
    lines = [f"vcpu {subject.vcpu_id} {doing}: ring {cpu.cpl}, EIP {here}{called_from}"]
    lines += _source(subject, caller or here)
    lines += processor.registers(cpu)
    lines += ["code:", *processor.code(cpu, places)]
    lines += ["stack:", *stack.words(cpu, image, places)]
    lines += stack.calls(cpu, image, places)
    if fault is not None:
        lines += processor.walk(cpu, fault)
    lines += ["events:", *waits.ports(subject.vcpu_id, subject.events)]
    timers = [*waits.timers(subject.owner, subject.armed, subject.now)]
    lines += ["timers:", *(timers or ["  none is armed"])]
    return "\n".join(lines) + "\n"


def _places(subject: Subject) -> tuple[Place, Place | None]:
    """Where EIP is and, in a hypercall page, where every guest sleeps, the place of the call as well."""
    cpu, places = subject.cpu, subject.places
    here = places.at(processor.linear_eip(cpu))
    site = call_site(cpu)
    if site is None or site == cpu.eip or not subject.image.is_code(site):
        return here, None
    return here, places.before(site)


def _source(subject: Subject, place: Place) -> Iterator[str]:
    """The line of source, when its file is at hand."""
    if subject.sources is not None and place.file:
        text = subject.sources.line(subject.image.lines.file_of(place.file), place.line)
        if text:
            yield f"  {place.line}: {shown(text.strip().expandtabs())}"
