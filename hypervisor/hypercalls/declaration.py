"""A declared hypercall: from the signature of a function to the decoder of its arguments and its errnos."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from paravane.abi.parameters import COUNT_BITS, InOut, Items, Parameter, Word
from paravane.cpu import PageFault
from paravane.refusal import Refusal
from paravane.trace import Argument, Written

if TYPE_CHECKING:
    from enum import IntEnum

    from paravane.abi.errno import Errno
    from paravane.hypercalls.caller import Caller

Arguments = tuple[int, ...]
"""EBX, ECX, EDX, ESI, EDI, EBP: the six argument words as unsigned 32-bit numbers."""

Handler = Callable[..., Any]
Run = Callable[["Caller", Arguments], "int | None"]
Check = Callable[["Caller", Arguments], Arguments]

SHOWN_ITEMS = 4
"""Structs of an array that are decoded for the trace."""


@dataclass(slots=True)
class Call:
    """One hypercall, decoded once: what is to be run, and what the trace shows of it.

    `values` go to the function of the declaration. `problem` is why there is nothing to run, `written` the
    struct that was copied back to the guest.
    """

    name: str
    values: list[Any] = field(default_factory=list)
    arguments: tuple[Argument, ...] = ()
    declaration: Declaration | None = None
    problem: Refusal | PageFault | None = None
    written: Written | None = None

    def run(self, caller: Caller) -> int | None:
        """Do it. Raises `problem`, and whatever the function raises."""
        if self.problem is not None:
            raise self.problem
        return None if self.declaration is None else self.declaration.run(caller, self)


class Declaration:
    """One hypercall or one command of a multiplexed one: its function and how its arguments are decoded."""

    def __init__(self, name: str, function: Handler, *, skip: int = 0) -> None:
        """`skip` argument registers come before the first parameter."""
        self.name = name
        self.function = function
        self.parameters = _parameters(function)
        self._skip = skip
        self._end = skip + len(self.parameters)
        if self._end > 6:
            raise TypeError(f"{name}: a hypercall has six argument registers")
        self._back = next((i for i, (_, kind) in enumerate(self.parameters) if isinstance(kind, InOut)), None)
        plain = all(
            isinstance(kind, Items) or (isinstance(kind, Word) and not kind.signed)
            for _, kind in self.parameters
        )
        self.call: Run = self._plain(function, skip, self._end) if plain else self._call
        """Decode and run. Raises Refusal, PageFault, Preempted and whatever ends the domain."""

    @staticmethod
    def _plain(function: Handler, first: int, end: int) -> Run:
        """Nothing to decode: the argument words go to the function as they are."""
        if end - first == 1:
            return lambda caller, arguments: function(caller, arguments[first])
        return lambda caller, arguments: function(caller, *arguments[first:end])

    def _call(self, caller: Caller, arguments: Arguments) -> int | None:
        words = arguments[self._skip : self._end]
        values = [_value(caller, kind, word) for (_, kind), word in zip(self.parameters, words, strict=True)]
        result = self.function(caller, *values)
        return self._answer(caller, words, result)[0]

    def decode(self, caller: Caller, arguments: Arguments) -> Call:
        """The call as the trace wants it. What cannot be read is kept, and raised when it is run."""
        call = Call(self.name, declaration=self)
        words = arguments[self._skip : self._end]
        try:
            for (_, kind), word in zip(self.parameters, words, strict=True):
                call.values.append(_value(caller, kind, word))
        except PageFault as fault:
            call.problem = fault
        call.arguments = tuple(
            Argument(name, kind, words[at], self._shown(caller, kind, at, words, call.values))
            for at, (name, kind) in enumerate(self.parameters)
        )
        return call

    def run(self, caller: Caller, call: Call) -> int | None:
        """As `call`, with the values that `decode` has found."""
        words = [argument.word for argument in call.arguments]
        result, call.written = self._answer(caller, words, self.function(caller, *call.values))
        return result

    def _answer(
        self, caller: Caller, words: Arguments | list[int], result: Any
    ) -> tuple[int | None, Written | None]:
        """What goes into EAX for what the function returned, and the struct copied back to the guest."""
        if self._back is None or result is None or isinstance(result, int):
            return result, None
        kind = self.parameters[self._back][1]
        assert isinstance(kind, InOut)
        caller.copy_to_guest(words[self._back], kind.layout.pack(result))
        return 0, Written(kind.layout, result)

    @staticmethod
    def _shown(caller: Caller, kind: Parameter, at: int, words: Arguments, values: list[Any]) -> Any:
        """The value of one argument as the trace has it: see `Argument`."""
        if isinstance(kind, Word):
            return kind.value(words[at])
        if isinstance(kind, Items):
            return _items(caller, kind, words[at], words[at + 1] & COUNT_BITS)
        return values[at] if at < len(values) else None


class Family:
    """A hypercall whose first argument selects a command; each command is a declaration of its own."""

    def __init__(self, name: str, numbers: type[IntEnum], unknown: Errno, check: Check | None = None) -> None:
        self.name = name
        self.commands: dict[int, Declaration] = {}
        self._numbers = numbers
        self._unknown = unknown
        self._check = check

    def __call__(self, *numbers: IntEnum) -> Callable[[Handler], Handler]:
        def declare(function: Handler) -> Handler:
            for number in numbers:
                title = f"{self.name}.{number.name.rstrip('_')}"
                self.commands[int(number)] = Declaration(title, function, skip=1)
            return function

        return declare

    def call(self, caller: Caller, arguments: Arguments) -> int | None:
        if self._check is not None:
            arguments = self._check(caller, arguments)
        command = self.commands.get(arguments[0])
        if command is None:
            raise self._no_command(arguments[0])
        return command.call(caller, arguments)

    def decode(self, caller: Caller, arguments: Arguments) -> Call:
        """As `Declaration.decode`, for the command that the arguments select."""
        name = f"{self.name}.{self._title(arguments[0])}"
        try:
            if self._check is not None:
                arguments = self._check(caller, arguments)
            if arguments[0] not in self.commands:
                raise self._no_command(arguments[0])
        except Refusal as refusal:
            return Call(name, problem=refusal)
        return self.commands[arguments[0]].decode(caller, arguments)

    def _no_command(self, number: int) -> Refusal:
        return Refusal(self._unknown, f"{self.name} has no command {self._title(number)} here")

    def _title(self, number: int) -> str:
        try:
            return f"{self._numbers(number).name.rstrip('_')} ({number})"
        except ValueError:
            return str(number)


Entry = Declaration | Family


def _value(caller: Caller, kind: Parameter, word: int) -> Any:
    """What a function gets for an argument register. Raises PageFault."""
    if isinstance(kind, Word):
        return kind.value(word)
    if isinstance(kind, Items):
        return word
    return kind.layout.unpack(caller.copy_from_guest(word, kind.layout.size))


def _items(caller: Caller, kind: Items, pointer: int, count: int) -> tuple[Any, ...]:
    """The first structs of an array, as far as they can be read."""
    layout, found = kind.layout, []
    for at in range(pointer, pointer + min(count, SHOWN_ITEMS) * layout.size, layout.size):
        try:
            found.append(layout.unpack(caller.copy_from_guest(at, layout.size)))
        except PageFault:
            break
    return tuple(found)


def _parameters(function: Handler) -> tuple[tuple[str, Parameter], ...]:
    found: list[tuple[str, Parameter]] = []
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        kinds = [kind for kind in get_args(parameter.annotation)[1:] if isinstance(kind, Parameter)]
        if len(kinds) != 1:
            raise TypeError(f"{function.__qualname__}: parameter {name} does not say how it is decoded")
        found.append((name, kinds[0]))
    return tuple(found)
