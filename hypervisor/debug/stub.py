"""The answers to a debugger's packets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from paravane.debug import memory, registers
from paravane.debug.memory import ProtectedError
from paravane.debug.packets import MAX_PAYLOAD, Signal, unescaped
from paravane.debug.registers import NUMBERS, RegisterError
from paravane.debug.resume import ALL, Action, hexadecimal, parse, thread_id
from paravane.debug.stops import BEGINNING, Kind, PointError, Signo, Stop, thread_info, thread_of
from paravane.debug.transfers import ImageFile, transfer

if TYPE_CHECKING:
    from paravane.debug.link import Link
    from paravane.debug.target import Target
    from paravane.vcpu import Vcpu

OK, UNKNOWN = b"OK", b""
EFAULT, EINVAL, EACCES, EPERM = b"E0e", b"E16", b"E0d", b"E01"
"""Errors: a page is missing; the packet is wrong; that is not to be written; nobody can go back."""

LONGEST_READ: Final = MAX_PAYLOAD // 2

_EXPEDITED: Final = ("ebp", "esp", "eip")
"""Registers that every stop tells."""

_FEATURES: Final = (
    f"PacketSize={MAX_PAYLOAD:x};QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+;"
    "qXfer:features:read+;qXfer:threads:read+;qXfer:exec-file:read+"
)

Monitor = Callable[[str, "Vcpu"], str]
"""The text that a command of `monitor` answers, of the vcpu that was selected."""


class Stub:
    """One debugger's view of one domain. It answers packets while the domain is stopped; while it runs, only
    an interrupt is taken, as by any stub."""

    def __init__(self, link: Link, target: Target, monitor: Monitor) -> None:
        self.wants_to_go = False
        """The debugger has said good-bye."""
        self._link = link
        self._target = target
        self._monitor = monitor
        self._file = ImageFile(target.domain)
        self._thread = thread_of(target.domain.vcpus[0])
        self._commands: dict[str, Callable[[bytes], bytes | None]] = {
            "?": lambda _: stop_reply(self._target.last),
            "g": lambda _: registers.read_all(self._vcpu).hex().encode(),
            "G": self._write_registers,
            "p": self._read_register,
            "P": self._write_register,
            "m": self._read_memory,
            "M": lambda rest: self._write_memory(rest, bytes.fromhex(_text(rest.partition(b":")[2]))),
            "X": lambda rest: self._write_memory(rest, unescaped(rest.partition(b":")[2])),
            "Z": lambda rest: self._point(rest, self._target.insert),
            "z": lambda rest: self._point(rest, self._target.remove),
            "H": self._select,
            "T": self._is_alive,
            "c": lambda rest: self._go_on(rest, steps=False),
            "s": lambda rest: self._go_on(rest, steps=True),
            "C": lambda rest: self._go_on(rest.partition(b";")[2], steps=False),
            "S": lambda rest: self._go_on(rest.partition(b";")[2], steps=True),
            "b": self._back,
            "D": self._detach,
            "k": lambda _: self._kill(),
        }
        self._long: dict[str, Callable[[str], bytes | None]] = {
            "qSupported": lambda _: self._features(),
            "QStartNoAckMode": self._stop_acknowledging,
            "qXfer": lambda rest: transfer(self._target.domain, rest),
            "qAttached": lambda _: b"1",
            "qC": lambda _: b"QC%x" % self._thread,
            "qfThreadInfo": lambda _: b"m" + b",".join(b"%x" % thread_of(vcpu) for vcpu in self._vcpus),
            "qsThreadInfo": lambda _: b"l",
            "qThreadExtraInfo": self._extra_info,
            "qOffsets": self._offsets,
            "qSymbol": lambda _: OK,
            "qRcmd": self._run_command,
            "vCont?": lambda _: b"vCont;c;C;s;S;r",
            "vCont": self._resume,
            "vKill": self._kill_politely,
            "vFile": self._file.answer,
        }

    def handle(self, item: bytes | Signal) -> None:
        """A payload or an interrupt has come."""
        if isinstance(item, Signal):
            self._target.interrupt()
        elif self._target.is_stopped:
            answer = self._answer(item)
            if answer is not None:
                self._link.send(answer)

    def tell_stop(self, stop: Stop) -> None:
        """The domain has stopped."""
        if stop.sentence:
            self.say(f"{stop.sentence}\n")
        self._thread = thread_of(stop.vcpu)
        self._link.send(stop_reply(stop))

    def say(self, text: str) -> None:
        """Text on the debugger's console."""
        data = text.encode("ascii", "backslashreplace")
        for at in range(0, len(data), LONGEST_READ - 1):
            self._link.send(b"O" + data[at : at + LONGEST_READ - 1].hex().encode())

    # Which command it is.

    def _answer(self, payload: bytes) -> bytes | None:
        """The answer; None where it comes when the domain stops, or not at all."""
        try:
            word = _word(payload)
            if word in self._long:
                return self._long[word](_text(payload[len(word) + 1 :]))
            command = self._commands.get(chr(payload[0])) if payload else None
            return UNKNOWN if command is None else command(payload[1:])
        except PointError as error:
            # gdb shows no error's text, and says "Cannot access memory" of any: whoever wonders looks here.
            self._target.domain.log.warning("its debugger was refused: %s", error)
            return EINVAL
        except (ValueError, RegisterError):
            return EINVAL
        except ProtectedError as error:
            self._target.domain.log.info("its debugger was refused: %s", error)
            return EACCES

    # Registers and memory.

    @property
    def _vcpus(self) -> list[Vcpu]:
        return self._target.domain.vcpus

    @property
    def _vcpu(self) -> Vcpu:
        """The one that was selected."""
        return next(vcpu for vcpu in self._vcpus if thread_of(vcpu) == self._thread)

    def _write_registers(self, rest: bytes) -> bytes:
        values, vcpu_id = bytes.fromhex(_text(rest)), self._vcpu.vcpu_id
        self._target.change(lambda domain: registers.write_all(domain.vcpus[vcpu_id], values))
        return OK

    def _read_register(self, rest: bytes) -> bytes:
        return registers.read_one(self._vcpu, hexadecimal(_text(rest))).hex().encode()

    def _write_register(self, rest: bytes) -> bytes:
        name, _, value = _text(rest).partition("=")
        number, data, vcpu_id = hexadecimal(name), bytes.fromhex(value), self._vcpu.vcpu_id
        self._target.change(lambda domain: registers.write_one(domain.vcpus[vcpu_id], number, data))
        return OK

    def _read_memory(self, rest: bytes) -> bytes:
        address, size = _place(_text(rest))
        data = memory.read(self._vcpu, address, min(size, LONGEST_READ))
        return data.hex().encode() if data or not size else EFAULT

    def _write_memory(self, rest: bytes, data: bytes) -> bytes:
        address, size = _place(_text(rest.partition(b":")[0]))
        if size != len(data):
            return EINVAL
        vcpu_id = self._vcpu.vcpu_id
        written = self._target.change(
            lambda domain: memory.write(domain.vcpus[vcpu_id], domain.memory.machine, address, data)
        )
        return OK if written else EFAULT

    # Breakpoints, and going on.

    def _point(self, rest: bytes, change: Callable[[Kind, int, int], None]) -> bytes:
        kind, _, place = _text(rest).partition(",")
        change(Kind(hexadecimal(kind)), *_place(place.partition(";")[0]))
        return OK

    def _go_on(self, rest: bytes, *, steps: bool) -> None:
        """`c` and `s`, with an address to go on at or without."""
        if rest:
            place, vcpu_id = hexadecimal(_text(rest)), self._vcpu.vcpu_id
            self._target.change(lambda domain: setattr(domain.vcpus[vcpu_id].cpu, "eip", place))
        self._target.resume([Action(steps, self._thread if steps else ALL)])

    def _resume(self, rest: str) -> bytes | None:
        self._target.resume(parse(rest))
        return None

    def _back(self, rest: bytes) -> bytes | None:
        """`bc` and `bs`."""
        if rest not in {b"c", b"s"}:
            return EINVAL
        if sentence := self._target.why_not_back:
            self.say(f"{sentence}\n")
            return EPERM
        if self._target.at_beginning:
            return stop_reply(Stop(Signo.TRAP, self._vcpu, BEGINNING))
        self._target.back(self._thread, steps=rest == b"s")
        return None

    def _features(self) -> bytes:
        """What gdb is told that there is."""
        back = "" if self._target.why_not_back else ";ReverseContinue+;ReverseStep+"
        return f"{_FEATURES}{back}".encode()

    def _detach(self, _rest: bytes) -> bytes:
        self.wants_to_go = True
        return OK

    def _kill(self) -> None:
        """Who asks for it is not told that the domain has ended."""
        self.wants_to_go = True
        self._target.kill()

    def _kill_politely(self, _rest: str) -> bytes:
        self._kill()
        return OK

    # Threads.

    def _select(self, rest: bytes) -> bytes:
        thread = thread_id(_text(rest[1:]))
        if thread == ALL:
            return OK
        if not any(thread_of(vcpu) == thread for vcpu in self._vcpus):
            return EINVAL
        if rest[:1] == b"g":
            self._thread = thread
        return OK

    def _is_alive(self, rest: bytes) -> bytes:
        thread = thread_id(_text(rest))
        return OK if any(thread_of(vcpu) == thread for vcpu in self._vcpus) else EINVAL

    def _extra_info(self, rest: str) -> bytes:
        thread = hexadecimal(rest)
        for vcpu in self._vcpus:
            if thread_of(vcpu) == thread:
                return thread_info(vcpu).encode().hex().encode()
        return EINVAL

    # Odds and ends.

    def _stop_acknowledging(self, _rest: str) -> None:
        """From the acknowledgement of this answer on."""
        self._link.send(OK)
        self._link.acknowledges = False

    def _offsets(self, _rest: str) -> bytes:
        """How far from where its file says the kernel lies."""
        segments = self._target.domain.image.segments
        offset = segments[0].address - segments[0].p_vaddr & 0xFFFFFFFF if segments else 0
        return b"TextSeg=%x" % offset if offset else UNKNOWN

    def _run_command(self, rest: str) -> bytes:
        command = bytes.fromhex(rest).decode("ascii", "backslashreplace")
        self.say(self._monitor(command, self._vcpu))
        return OK


def stop_reply(stop: Stop) -> bytes:
    """Packet `T`: the signal, why, which thread, and where it is."""
    values = "".join(
        f"{NUMBERS[name]:x}:{registers.read_one(stop.vcpu, NUMBERS[name]).hex()};" for name in _EXPEDITED
    )
    reason = f"{stop.reason};" if stop.reason else ""
    return f"T{stop.signal:02x}{reason}thread:{thread_of(stop.vcpu):x};{values}".encode()


def _word(payload: bytes) -> str:
    """What packets of more than one letter begin with."""
    if payload[:1] not in {b"q", b"Q", b"v"}:
        return ""
    if payload.startswith(b"vCont?"):
        return "vCont?"
    end = next((at for at, byte in enumerate(payload) if byte in b":;,"), len(payload))
    return payload[:end].decode("ascii", "replace")


def _text(data: bytes) -> str:
    """ValueError for bytes that are no ASCII."""
    return data.decode("ascii")


def _place(text: str) -> tuple[int, int]:
    """`ADDRESS,LENGTH`. ValueError for addresses a guest does not have."""
    address, _, size = text.partition(",")
    place = hexadecimal(address), hexadecimal(size)
    if place[0] >> 32:
        raise ValueError(f"{address} is beyond 4 GiB")
    return place
