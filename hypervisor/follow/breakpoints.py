"""Breakpoints and watched data that tell what they saw, and let the guest go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.cpu import PageFault
from paravane.report.processor import linear_eip
from paravane.report.stack import calls
from paravane.trace import BreakpointRecord, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from paravane.cpu.debugger import Watched
    from paravane.domain import Domain
    from paravane.vcpu import Vcpu

SHOWN: Final = 16
"""Bytes of watched memory that a record has at most: a repeated store to a whole page makes a record each."""

_REGISTERS: Final = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")


class Breakpoints:
    """Writes into a machine's trace whenever a domain's vcpus reach an address or touch what is watched, from
    when it is made until it is closed. The guest sees nothing of it, and has its own debug registers."""

    def __init__(self, domain: Domain, addresses: Iterable[int], watched: Sequence[Watched]) -> None:
        """Linear addresses of instructions, and what is watched. ValueError for too many of either."""
        self._probes: list[_Probe] = []
        for vcpu in domain.vcpus:
            self._probes.append(_Probe(domain, vcpu, frozenset(addresses), watched, self._told))

    def close(self) -> None:
        """Write nothing any more. Idempotent."""
        for probe in self._probes:
            probe.close()
        self._probes.clear()

    def _told(self, teller: _Probe) -> None:
        """One vcpu's probe has told what was stored. Nobody is to tell it again as what he finds changed."""
        for probe in self._probes:
            if probe is not teller:
                probe.catch_up()


class _Probe:
    """What watches one vcpu (paravane.cpu.debugger.Debugger). It never stops its guest."""

    def __init__(
        self,
        domain: Domain,
        vcpu: Vcpu,
        breakpoints: frozenset[int],
        watched: Sequence[Watched],
        told: Callable[[_Probe], None],
    ) -> None:
        """`told` is called when it has told of an access."""
        self.breakpoints = breakpoints
        self.watched = watched
        self._told = told
        self._domain = domain
        self._vcpu = vcpu
        self._cpu = vcpu.cpu
        self._cpu.debuggers.attach(self)

    def close(self) -> None:
        self._cpu.debuggers.detach(self)

    def at_breakpoint(self, address: int) -> bool:
        """The instruction at `address` is the next."""
        if self._domain.platform.trace.wants(Kind.BREAKPOINT):
            self._write("breakpoint", address, {})
        return False

    def accessed(self, watched: Watched, before: bytes) -> bool:
        """An instruction has touched `watched`, and is over."""
        if self._domain.platform.trace.wants(Kind.BREAKPOINT):
            kinds = {(True, False): "read", (False, True): "write"}
            name = kinds.get((watched.reads, watched.writes), "access")
            self._write(name, watched.start, _seen(watched, before, self._value(watched)))
        self._told(self)
        return False

    def catch_up(self) -> None:
        """What is in watched memory now is known."""
        self._cpu.debuggers.remember()

    def stepped(self) -> None:
        """Nobody steps here."""

    def _value(self, watched: Watched) -> bytes:
        """What is in watched memory; empty where it is not mapped."""
        try:
            return self._cpu.read(watched.start, watched.size)
        except PageFault:
            return b""

    def _write(self, name: str, address: int, data: dict[str, int | str]) -> None:
        cpu, domain = self._cpu, self._domain
        registers = dict(zip(_REGISTERS, cpu.gprs(), strict=True))
        chain = [line.strip() for line in calls(cpu, domain.image, domain.places)]
        domain.platform.trace.write(
            BreakpointRecord(
                domain.platform.clock.now(),
                domain.domid,
                self._vcpu.vcpu_id,
                domain.places.at(linear_eip(cpu)),
                name,
                address,
                {**registers, "eflags": cpu.eflags},
                chain[1:],
                data,
            )
        )


def _seen(watched: Watched, before: bytes, after: bytes) -> dict[str, int | str]:
    """What a record says of watched memory: all of it, or of more than `SHOWN` bytes those from the first
    that has changed."""
    at = 0
    if watched.size > SHOWN and before != after:
        at = next((at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), 0)
    shown = slice(at, at + SHOWN)
    seen = {"before": before[shown].hex(" "), "after": after[shown].hex(" ")}
    return {"size": watched.size, **({"offset": at} if at else {}), **seen}
