"""The hypercall table: one declaration per hypercall gives its decoder, its trace line and its errnos.

A hypercall is a function whose signature says what its arguments are:

    @hypercall(Hypercall.vm_assist)
    def vm_assist(caller: "Caller", cmd: UInt, assist: UInt) -> int: ...

and one that multiplexes commands on its first argument is a family of them:

    sched = commands(Hypercall.sched_op, SchedOp)

    @sched(SchedOp.shutdown)
    def shutdown(caller: "Caller", arg: Annotated[SchedShutdown, In(SCHED_SHUTDOWN)]) -> int: ...

`In` structs are copied from the guest before the call, `InOut` structs are also copied back from the value
that the function returns. A pointer the guest may not use is -EFAULT, a `Refusal` is its errno, and a
function that replaced the guest's registers itself returns None so that EAX is left alone. One that leaves
work for later raises `Preempted` (paravane.preemption), which is its caller's to act on.

The calling convention is that of Xen's public/arch-x86/xen-x86_32.h: number in EAX, arguments in EBX, ECX,
EDX, ESI, EDI, EBP, result in EAX, every other register preserved.

Modules that declare hypercalls evaluate their annotations when they are imported, so they do without
`from __future__ import annotations`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.cpu import PageFault
from paravane.refusal import Refusal
from paravane.x86 import PageFaultCode

if TYPE_CHECKING:
    from enum import IntEnum

    from paravane.abi.hypercall import Hypercall
    from paravane.abi.layout import Layout
    from paravane.hypercalls.caller import Caller

Arguments = tuple[int, ...]
"""EBX, ECX, EDX, ESI, EDI, EBP: the six argument words as unsigned 32-bit numbers."""

Handler = Callable[..., Any]
Run = Callable[["Caller", Arguments], "int | None"]


@dataclass(frozen=True, slots=True)
class Word:
    """A parameter that is one register: how the trace shows it, and whether it is signed."""

    text: Callable[[int], str]
    signed: bool = False

    def value(self, word: int) -> int:
        return word - (1 << 32) if self.signed and word & 0x8000_0000 else word


def domid_text(value: int) -> str:
    """A domain id of 16 bits, by its name where it is no domain's number."""
    domid = value & 0xFFFF
    return f"DOMID_{DomId(domid).name}" if domid in DomId._value2member_map_ else str(domid)


UInt = Annotated[int, Word(lambda value: str(value) if value < 0x10000 else hex(value))]
Int = Annotated[int, Word(str, signed=True)]
Hex = Annotated[int, Word(hex)]
Ptr = Annotated[int, Word(hex)]
Domid = Annotated[int, Word(domid_text)]


@dataclass(frozen=True, slots=True)
class In:
    """A parameter that is a pointer to a struct, copied in before the call."""

    layout: Layout[Any]


@dataclass(frozen=True, slots=True)
class InOut:
    """Like `In`; the struct the function returns is copied back to the guest and the result is 0."""

    layout: Layout[Any]


@dataclass(frozen=True, slots=True)
class Items:
    """A pointer to an array of structs that the function reads itself; the next parameter counts them."""

    layout: Layout[Any]


Parameter = Word | In | InOut | Items
SHOWN_ITEMS = 4
"""Structs of an array that a trace line shows."""

_COUNT = 0x7FFF_FFFF
"""Bits of a count that count: the top one says that the call is the rest of an earlier one."""


class Declaration:
    """One hypercall or one command of a multiplexed one: its function and how its arguments are decoded."""

    def __init__(self, name: str, function: Handler, *, skip: int = 0) -> None:
        self.name = name
        self.function = function
        self._skip = skip
        self.parameters = _parameters(function)
        self._end = skip + len(self.parameters)
        if self._end > 6:
            raise TypeError(f"{name}: a hypercall has six argument registers")
        plain = all(
            isinstance(kind, Items) or (isinstance(kind, Word) and not kind.signed)
            for _, kind in self.parameters
        )
        self.call: Run = self._plain(function, skip, self._end) if plain else self._decode
        """Decode and run. Raises Refusal, PageFault and whatever ends the domain."""

    @staticmethod
    def _plain(function: Handler, first: int, end: int) -> Run:
        """Nothing to decode: the argument words go to the function as they are."""
        if end - first == 1:
            return lambda caller, arguments: function(caller, arguments[first])
        return lambda caller, arguments: function(caller, *arguments[first:end])

    def _decode(self, caller: Caller, arguments: Arguments) -> int | None:
        values: list[Any] = []
        back: tuple[Layout[Any], int] | None = None
        for (_, kind), word in zip(self.parameters, arguments[self._skip : self._end], strict=True):
            if isinstance(kind, Word | Items):
                values.append(word if isinstance(kind, Items) else kind.value(word))
                continue
            values.append(kind.layout.unpack(caller.copy_from_guest(word, kind.layout.size)))
            if isinstance(kind, InOut):
                back = (kind.layout, word)
        result = self.function(caller, *values)
        if back is None or result is None or isinstance(result, int):
            number: int | None = result
            return number
        layout, pointer = back
        caller.copy_to_guest(pointer, layout.pack(result))
        return 0

    def text(self, caller: Caller, arguments: Arguments) -> str:
        """The call as a trace line shows it. Structs are read again; an unreadable one shows its pointer."""
        parts = []
        words = arguments[self._skip : self._end]
        for at, ((name, kind), word) in enumerate(zip(self.parameters, words, strict=True)):
            if isinstance(kind, Word):
                parts.append(f"{name}={kind.text(kind.value(word))}")
            elif isinstance(kind, Items):
                parts.append(f"{name}={_items_text(caller, kind.layout, word, words[at + 1] & _COUNT)}")
            else:
                parts.append(f"{name}={_struct_text(caller, kind.layout, word) or hex(word)}")
        return f"{self.name}({', '.join(parts)})"

    def answer(self, caller: Caller, arguments: Arguments, result: int | None) -> str:
        """The result as a trace line shows it, with the struct that a success has put into guest memory."""
        if result is None:
            return "no result"
        for (_, kind), word in zip(self.parameters, arguments[self._skip : self._end], strict=True):
            if result == 0 and isinstance(kind, InOut):
                return f"0 {_struct_text(caller, kind.layout, word)}".rstrip()
        return str(result)


class Family:
    """A hypercall whose first argument selects a command; each command is a declaration of its own."""

    def __init__(self, name: str, numbers: type[IntEnum], unknown: Errno) -> None:
        self.name = name
        self._numbers = numbers
        self._unknown = unknown
        self.commands: dict[int, Declaration] = {}

    def __call__(self, *numbers: IntEnum) -> Callable[[Handler], Handler]:
        def declare(function: Handler) -> Handler:
            for number in numbers:
                title = f"{self.name}.{number.name.rstrip('_')}"
                self.commands[int(number)] = Declaration(title, function, skip=1)
            return function

        return declare

    def call(self, caller: Caller, arguments: Arguments) -> int | None:
        command = self.commands.get(arguments[0])
        if command is None:
            raise Refusal(self._unknown, f"{self.name} has no command {self._title(arguments[0])} here")
        return command.call(caller, arguments)

    def text(self, caller: Caller, arguments: Arguments) -> str:
        command = self.commands.get(arguments[0])
        return command.text(caller, arguments) if command else f"{self.name}.{self._title(arguments[0])}"

    def answer(self, caller: Caller, arguments: Arguments, result: int | None) -> str:
        command = self.commands.get(arguments[0])
        return command.answer(caller, arguments, result) if command else str(result)

    def _title(self, number: int) -> str:
        try:
            return f"{self._numbers(number).name.rstrip('_')} ({number})"
        except ValueError:
            return str(number)


Entry = Declaration | Family
TABLE: dict[int, Entry] = {}
"""Hypercall number -> declaration, filled as the modules of this folder are imported."""


def hypercall(number: Hypercall) -> Callable[[Handler], Handler]:
    """Declare the function below as hypercall `number`."""

    def declare(function: Handler) -> Handler:
        TABLE[int(number)] = Declaration(number.name, function)
        return function

    return declare


def commands(number: Hypercall, numbers: type[IntEnum], *, unknown: Errno = Errno.ENOSYS) -> Family:
    """Declare hypercall `number` as a family of commands; `unknown` answers a command it does not have."""
    family = Family(number.name, numbers, unknown)
    TABLE[int(number)] = family
    return family


def call(caller: Caller, number: int, arguments: Arguments) -> int | None:
    """Run one hypercall and give what goes into EAX (negative errnos included), or None to leave EAX alone.

    Every refusal is reported to the vcpu's log and trace with its sentence. Raises Preempted.
    """
    entry = TABLE.get(number)
    try:
        if entry is None:
            raise Refusal(Errno.ENOSYS, f"hypercall {number} is not implemented")
        result = entry.call(caller, arguments)
    except Refusal as refusal:
        caller.refused(entry.name if entry else f"hypercall {number}", refusal)
        result = -int(refusal.errno)
    except PageFault as fault:
        name = entry.name if entry else f"hypercall {number}"
        caller.refused(name, Refusal(Errno.EFAULT, _no_access(fault)))
        result = -int(Errno.EFAULT)
    return result


def _no_access(fault: PageFault) -> str:
    verb = "write to" if fault.error_code & PageFaultCode.write_access else "read"
    return f"an argument points to {fault.va:#010x}, which the guest's own kernel could not {verb}"


def call_text(caller: Caller, number: int, arguments: Arguments) -> str:
    """The call with its arguments decoded, as a trace line shows it."""
    entry = TABLE.get(number)
    if entry is None:
        return f"hypercall_{number}({', '.join(map(hex, arguments))})"
    return entry.text(caller, arguments)


def answer_text(caller: Caller, number: int, arguments: Arguments, result: int | None) -> str:
    """What came of a call, as a trace line shows it: after the call, for structs that were copied back."""
    entry = TABLE.get(number)
    return entry.answer(caller, arguments, result) if entry is not None else str(result)


def _items_text(caller: Caller, layout: Layout[Any], pointer: int, count: int) -> str:
    """An array as `0xc0001000[{...} {...} +9]`: the first structs it has, and how many more there are."""
    shown = []
    for index in range(min(count, SHOWN_ITEMS)):
        text = _struct_text(caller, layout, pointer + index * layout.size)
        if not text:
            break
        shown.append(text)
    if len(shown) < count:
        shown.append(f"+{count - len(shown)}")
    return f"{pointer:#x}[{' '.join(shown)}]" if shown else hex(pointer)


def _struct_text(caller: Caller, layout: Layout[Any], pointer: int) -> str:
    """A struct in guest memory, empty when it cannot be read."""
    try:
        value = layout.unpack(caller.copy_from_guest(pointer, layout.size))
    except PageFault:
        return ""
    return f"{{{layout.format(value)}}}"


def _parameters(function: Handler) -> tuple[tuple[str, Parameter], ...]:
    found: list[tuple[str, Parameter]] = []
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        kinds = [kind for kind in get_args(parameter.annotation)[1:] if isinstance(kind, Parameter)]
        if len(kinds) != 1:
            raise TypeError(f"{function.__qualname__}: parameter {name} does not say how it is decoded")
        found.append((name, kinds[0]))
    return tuple(found)
