"""A trace of instructions: each with what it changed, the one that a trap interrupted with that trap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.report.disassembler import disassembler
from paravane.trace import HypercallRecord, InstructionRecord, Kind, TrapRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.domain import Domain
    from paravane.place import Place
    from paravane.trace import Record
    from paravane.vcpu import Vcpu

_REGISTERS: Final = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eflags")
_ECX: Final = 1
_USER_RING: Final = 3


class InstructionTrace:
    """Writes what a domain's vcpus execute within some addresses into its machine's trace, from when it is
    made until it is closed.

    An instruction's record is written when it is over, with the registers that it changed; where it was a
    trap or caused one, with the trap's name and before the record of that. A repeated string instruction is
    one.
    """

    def __init__(self, domain: Domain, ranges: tuple[range, ...], *, user: bool = False) -> None:
        """`ranges`: of linear addresses; with `user` also all that is executed in ring 3."""
        self._followers = [_Follower(domain, vcpu, ranges, user) for vcpu in domain.vcpus]

    def close(self) -> None:
        """Write nothing any more. Idempotent."""
        for follower in self._followers:
            follower.close()
        self._followers.clear()


class _Follower:
    """One vcpu's instructions (paravane.cpu.debugger.Follower)."""

    def __init__(self, domain: Domain, vcpu: Vcpu, ranges: tuple[range, ...], user: bool) -> None:
        self._domain = domain
        self._vcpu = vcpu
        self._cpu = vcpu.cpu
        self._platform = domain.platform
        self._ranges = ranges
        self._user = user
        self._decoders = {big: disassembler(big=big) for big in (True, False)}
        # Ring 3 may be anywhere.
        self.within = range(1 << 32) if user else range(_first(ranges), _end(ranges))
        self._begun: _Begun | None = None
        # Before all others, so that an instruction comes before the trap that it was.
        kinds = (Kind.TRAP, Kind.HYPERCALL, Kind.DOMAIN)
        self._forget: Callable[[], None] = self._platform.trace.subscribe(self._heard, kinds, first=True)
        self._cpu.debuggers.follow(self)

    def close(self) -> None:
        self._forget()
        self._cpu.debuggers.follow(None)

    def at_instruction(self, address: int) -> None:
        """The instruction at `address` is the next."""
        registers = (*self._cpu.gprs(), self._cpu.eflags)
        begun = self._begun
        if begun is not None:
            if begun.address == address and self._goes_on(begun, registers):
                begun.last = registers
                return
            self._write(begun, begun.changes(registers))
        self._begun = self._begin(address, registers) if self._wanted(address) else None

    def _wanted(self, address: int) -> bool:
        if self._user and self._cpu.cpl == _USER_RING:
            return True
        return any(address in part for part in self._ranges)

    def _goes_on(self, begun: _Begun, registers: tuple[int, ...]) -> bool:
        """Whether this is the instruction that was begun, not the same one again: its next repetition, or
        another try after the hypervisor has mended what it failed for, which changes nothing."""
        if begun.repeats and begun.last[_ECX] - 1 == registers[_ECX]:
            return True
        return self._platform.traps != begun.traps and registers == begun.last

    def _begin(self, address: int, registers: tuple[int, ...]) -> _Begun:
        cpu = self._cpu
        raw = cpu.fetch(address)
        found = next(self._decoders[cpu.has_big_code].disasm(raw, address, 1), None)
        if found is None:
            text, code = "(bad)", raw[:1]
        else:
            text, code = f"{found.mnemonic} {found.op_str}".strip(), bytes(found.bytes)
        place = self._domain.places.at(address)
        now, traps = self._platform.clock.now(), self._platform.traps
        return _Begun(address, cpu.eip, now, place, cpu.cpl, text, code, registers, traps)

    def _heard(self, record: Record) -> None:
        """Something has happened: if it was the instruction that did it, that is over."""
        begun = self._begun
        if begun is None or record.domid != self._domain.domid:
            return
        if isinstance(record, TrapRecord):
            if record.vcpu != self._vcpu.vcpu_id or record.outcome.startswith("emulated"):
                return
            at = record.place.address
            if at == begun.eip or at == begun.eip + len(begun.code):
                self._write(begun, {}, record.name)
                self._begun = None
        elif not isinstance(record, HypercallRecord):
            # The domain has ended, or was taken away.
            self._write(begun, {}, "hypercall" if begun.is_hypercall else "")
            self._begun = None
        elif record.vcpu == self._vcpu.vcpu_id and begun.is_hypercall:
            self._write(begun, {}, "hypercall")
            self._begun = None

    def _write(self, begun: _Begun, changes: dict[str, int], trap: str = "") -> None:
        self._platform.trace.write(
            InstructionRecord(
                begun.time,
                self._domain.domid,
                self._vcpu.vcpu_id,
                begun.place,
                begun.text.partition(" ")[0],
                begun.text,
                begun.code.hex(" "),
                begun.cpl,
                changes,
                trap,
            )
        )


class _Begun:
    """An instruction that was begun. `registers` are those before it, `last` those before its latest
    repetition."""

    def __init__(
        self,
        address: int,
        eip: int,
        time: int,
        place: Place,
        cpl: int,
        text: str,
        code: bytes,
        registers: tuple[int, ...],
        traps: int,
    ) -> None:
        self.address = address
        self.eip = eip
        self.time = time
        self.place = place
        self.cpl = cpl
        self.text = text
        self.code = code
        self.registers = self.last = registers
        self.traps = traps
        self.repeats = text.startswith("rep")
        self.is_hypercall = code == b"\xcd\x82"

    def changes(self, now: tuple[int, ...]) -> dict[str, int]:
        """The registers that it changed, with what is in them now."""
        pairs = zip(_REGISTERS, self.registers, now, strict=True)
        return {name: after for name, before, after in pairs if before != after}


def _first(ranges: tuple[range, ...]) -> int:
    return min((part.start for part in ranges), default=0)


def _end(ranges: tuple[range, ...]) -> int:
    return max((part.stop for part in ranges), default=0)
