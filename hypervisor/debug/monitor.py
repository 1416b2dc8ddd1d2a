"""The commands of GDB's `monitor`: what the hypervisor knows of the guest, as text for people."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from paravane.debug.stops import thread_of
from paravane.refusal import Refusal
from paravane.report.waits import port_marks, port_text
from paravane.text import printable, shown
from paravane.trace import Kind
from paravane.trace.text import body, line
from paravane.x86 import Pte

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.devices.xenstore import Store
    from paravane.domain import Domain
    from paravane.machine import Machine
    from paravane.trace import Record
    from paravane.vcpu import Vcpu

REMEMBERED: Final = 32
"""Refusals that `explain` shows."""

MOST_LINES: Final = 400
LONGEST_VALUE: Final = 80
"""What an answer has at most: lines, and of a node of xenstore bytes."""

_BITS: Final = ((Pte.RW, "W"), (Pte.USER, "U"), (Pte.ACCESSED, "A"), (Pte.DIRTY, "D"))


class Monitor:
    """Answers for one domain, from when it is made until it is closed. `say` takes lines of a trace."""

    def __init__(self, machine: Machine, domain: Domain, say: Callable[[str], None]) -> None:
        self._machine = machine
        self._domain = domain
        self._say = say
        self._refusals: deque[str] = deque(maxlen=REMEMBERED)
        self._forget = machine.trace.subscribe(
            lambda record: self._refusals.append(body(record)), (Kind.REFUSAL,)
        )
        self._end_trace: Callable[[], None] | None = None
        self._vcpu = domain.vcpus[0]
        self._commands: dict[str, tuple[Callable[[list[str]], Iterator[str]], str]] = {
            "help": (self._help, "this list"),
            "domains": (self._domains, "all domains of the machine"),
            "where": (self._where, "where each vcpu of this domain is, and what it waits for"),
            "frame": (self._frame, "MFN: who owns a machine frame, and what it is used as"),
            "pagetable": (
                self._page_table,
                "ADDRESS: the page-table entries that it meets in this thread",
            ),
            "events": (self._events, "the event channels of this domain"),
            "store": (self._store, "[PATH]: xenstore from there on"),
            "explain": (self._explain, "why the last requests were refused"),
            "trace": (self._trace, "on|off: a line for everything that the domain asks for"),
        }

    def __call__(self, command: str, vcpu: Vcpu) -> str:
        """The answer to a command, in lines; `vcpu` is the one that the debugger looks at."""
        self._vcpu = vcpu
        words = command.split()
        known = self._commands.get(words[0] if words else "help")
        if known is None:
            return f"there is no {shown(words[0])}; `monitor help` lists what there is\n"
        lines: list[str] = []
        for text in known[0](words[1:]):
            if len(lines) == MOST_LINES:
                lines.append("... and more")
                break
            lines.append(text)
        return "".join(f"{text}\n" for text in lines)

    def moved(self, domain: Domain) -> None:
        """It answers for this domain from now on."""
        self._domain = domain

    def close(self) -> None:
        """Hear of nothing any more. Idempotent."""
        self._forget()
        if self._end_trace is not None:
            self._end_trace()
            self._end_trace = None

    def _help(self, _words: list[str]) -> Iterator[str]:
        for name, (_, meaning) in self._commands.items():
            yield f"monitor {name:<10} {meaning}"

    def _domains(self, _words: list[str]) -> Iterator[str]:
        for domain in self._machine.domains.values():
            pages = domain.memory.tot_pages
            how = "alive" if domain.reason is None else f"ended: {domain.reason.name}"
            here = "  <- this one" if domain is self._domain else ""
            yield f"d{domain.domid} {shown(domain.name)}: {pages} pages, {how}{here}"
            for vcpu in domain.vcpus:
                yield f"  thread {thread_of(vcpu)}: {_vcpu_line(vcpu)}"

    def _where(self, _words: list[str]) -> Iterator[str]:
        yield from self._domain.where().splitlines()

    def _frame(self, words: list[str]) -> Iterator[str]:
        mfn = _number(words)
        if mfn is None:
            yield "which frame? monitor frame MFN"
            return
        yield self._domain.memory.machine.frames.describe(mfn)

    def _page_table(self, words: list[str]) -> Iterator[str]:
        va = _number(words)
        if va is None or va >> 32:
            yield "which address? monitor pagetable ADDRESS"
            return
        vcpu = self._vcpu
        frames, last = self._domain.memory.machine.frames, None
        for where, steps in vcpu.cpu.walks(va):
            if where:
                yield f"in {where}:"
            for step in steps:
                entry = step.entry
                bits = "".join(name if entry & bit else "-" for bit, name in _BITS)
                nx = " NX" if entry >> 63 else ""
                rights = f"{bits}{nx}" if entry & Pte.PRESENT else "not present"
                yield f"l{step.level} entry {entry:#018x} at {step.maddr:#x}: {rights}"
                last = step
        mfn = vcpu.cpu.frame_at(va)
        if last is not None and mfn is not None:
            yield f"{va:#010x} is in {frames.describe(mfn)}"

    def _events(self, _words: list[str]) -> Iterator[str]:
        events = self._domain.events
        for number, port in events.in_use():
            marks = "".join(f", {mark}" for mark in port_marks(events, number))
            yield f"port {number}: {port_text(port)}, to vcpu {port.vcpu_id}{marks}"

    def _store(self, words: list[str]) -> Iterator[str]:
        path = words[0] if words else f"/local/domain/{self._domain.domid}"
        try:
            yield from _tree(self._machine.store, path)
        except Refusal as refusal:
            yield f"{shown(path)}: {refusal}"

    def _explain(self, _words: list[str]) -> Iterator[str]:
        yield from list(self._refusals) or ["nothing has been refused since the debugger came"]

    def _trace(self, words: list[str]) -> Iterator[str]:
        if words not in (["on"], ["off"]):
            yield "monitor trace on, or monitor trace off"
            return
        if self._end_trace is not None:
            self._end_trace()
            self._end_trace = None
        if words == ["on"]:
            self._end_trace = self._machine.trace.subscribe(self._tell)
        yield f"the trace is {words[0]}"

    def _tell(self, record: Record) -> None:
        if record.domid == self._domain.domid:
            self._say(f"{line(record)}\n")


def _vcpu_line(vcpu: Vcpu) -> str:
    return (
        f"vcpu {vcpu.vcpu_id}, ring {vcpu.cpu.cpl}, eip {vcpu.cpu.eip:#010x}, {vcpu.run_state.resting.name}"
    )


def _tree(store: Store, top: str) -> Iterator[str]:
    """A node and all below it, one line each. Raises Refusal where there is none."""
    stack = [(top, 0)]
    while stack:
        path, depth = stack.pop()
        name = path if depth == 0 else path.rpartition("/")[2]
        value = store.read(path)
        yield f'{"  " * depth}{shown(name)} = "{printable(value, LONGEST_VALUE)}"'
        parent = path.rstrip("/")
        stack += [(f"{parent}/{child}", depth + 1) for child in reversed(store.directory(path))]


def _number(words: list[str]) -> int | None:
    try:
        number = int(words[0], 0)
    except (IndexError, ValueError):
        return None
    return number if number >= 0 else None
