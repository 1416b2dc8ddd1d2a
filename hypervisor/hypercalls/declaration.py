"""A declared hypercall: from the signature of a function to the decoder of its arguments and its errnos."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, get_args

from paravane.abi.parameters import COUNT_BITS, InOut, Items, Parameter, Word
from paravane.cpu import PageFault
from paravane.refusal import Refusal
from paravane.trace import Argument, Written

if TYPE_CHECKING:
    from collections.abc import Iterator
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


class Call(Sequence[Argument]):
    """One hypercall, decoded once: what is to be run, and what the trace shows of it, its arguments.

    These are made from copies when somebody looks at them: most who subscribe to hypercalls drop some, and
    the guest should not wait for what nobody sees. `problem` is why there is nothing to run, `written` the
    struct that was copied back to the guest, `copies` all that the arguments are made from (None: some could
    not be read).
    """

    __slots__ = (
        "_arrays",
        "_declaration",
        "_shown",
        "_values",
        "_words",
        "copies",
        "name",
        "problem",
        "written",
    )

    def __init__(
        self,
        name: str,
        problem: Refusal | PageFault | None = None,
        declaration: Declaration | None = None,
        words: Arguments = (),
        values: tuple[Any, ...] = (),
        arrays: tuple[bytes, ...] = (),
    ) -> None:
        """`words` are the argument registers, `values` what the function gets, as far as it
        could be read, `arrays` the first bytes of each array, in order."""
        self.name = name
        self.problem = problem
        self.written: Written | None = None
        self._declaration = declaration
        self._words = words
        self._values = values
        self._arrays = arrays
        self._shown: tuple[Argument, ...] | None = None
        # Most have words and nothing else, whose values follow from them.
        known = problem is None and declaration is not None
        self.copies = (
            (words if values is words and not arrays else (words, values, arrays)) if known else None
        )

    def __getitem__(self, at: Any) -> Any:
        return self._arguments()[at]

    def __len__(self) -> int:
        return len(self._words)

    def run(self, caller: Caller) -> int | None:
        """Do it. Raises `problem`, and whatever the function raises."""
        if self.problem is not None:
            raise self.problem
        if self._declaration is None:
            return None
        if self._declaration.copies_back:
            result, self.written = self._declaration.run(caller, self._words, self._values)
            return result
        answer: int | None = self._declaration.function(caller, *self._values)
        return answer

    def _arguments(self) -> tuple[Argument, ...]:
        if self._shown is None:
            arrays, parameters = iter(self._arrays), self._declaration.parameters if self._declaration else ()
            self._shown = tuple(
                Argument(name, kind, self._words[at], self._value(kind, at, arrays))
                for at, (name, kind) in enumerate(parameters)
            )
        return self._shown

    def _value(self, kind: Parameter, at: int, arrays: Iterator[bytes]) -> Any:
        if isinstance(kind, Word):
            return kind.value(self._words[at])
        if isinstance(kind, Items):
            return tuple(kind.layout.iter_unpack(next(arrays)))
        return self._values[at] if at < len(self._values) else None


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
        self.copies_back = self._back is not None
        """Whether the guest gets a struct back."""
        self._plain = plain
        self._arrays = tuple(
            (at, kind.layout.size) for at, (_, kind) in enumerate(self.parameters) if isinstance(kind, Items)
        )
        self.call: Run = self._pass_on(function, skip, self._end) if plain else self._call
        """Decode and run. Raises Refusal, PageFault, Preempted and whatever ends the domain."""

    @staticmethod
    def _pass_on(function: Handler, first: int, end: int) -> Run:
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
        words = arguments[self._skip : self._end]
        arrays: tuple[bytes, ...] = ()
        if self._arrays:
            arrays = tuple([_first(caller, words[at], size, words[at + 1]) for at, size in self._arrays])
        if self._plain:
            return Call(self.name, None, self, words, words, arrays)
        values: list[Any] = []
        problem = None
        try:
            for (_, kind), word in zip(self.parameters, words, strict=True):
                values.append(_value(caller, kind, word))
        except PageFault as fault:
            problem = fault
        return Call(self.name, problem, self, words, tuple(values), arrays)

    def run(
        self, caller: Caller, words: Arguments, values: Sequence[Any]
    ) -> tuple[int | None, Written | None]:
        """As `call`, with the values that `decode` has found, and the struct copied back to the guest."""
        return self._answer(caller, words, self.function(caller, *values))

    def _answer(self, caller: Caller, words: Arguments, result: Any) -> tuple[int | None, Written | None]:
        """What goes into EAX for what the function returned, and the struct copied back to the guest."""
        if self._back is None or result is None or isinstance(result, int):
            return result, None
        kind = self.parameters[self._back][1]
        assert isinstance(kind, InOut)
        caller.copy_to_guest(words[self._back], kind.layout.pack(result))
        return 0, Written(kind.layout, result)


class Family:
    """A hypercall whose first argument selects a command; each command is a declaration of its own."""

    def __init__(self, name: str, numbers: type[IntEnum], unknown: Errno, check: Check | None = None) -> None:
        self.name = name
        self.commands: dict[int, Declaration] = {}
        self.numbers = numbers
        self._unknown = unknown
        self.check = check

    def __call__(self, *numbers: IntEnum) -> Callable[[Handler], Handler]:
        def declare(function: Handler) -> Handler:
            for number in numbers:
                title = f"{self.name}.{number.name.rstrip('_')}"
                self.commands[int(number)] = Declaration(title, function, skip=1)
            return function

        return declare

    def call(self, caller: Caller, arguments: Arguments) -> int | None:
        if self.check is not None:
            arguments = self.check(caller, arguments)
        command = self.commands.get(arguments[0])
        if command is None:
            raise self._no_command(arguments[0])
        return command.call(caller, arguments)

    def decode(self, caller: Caller, arguments: Arguments) -> Call:
        """As `Declaration.decode`, for the command that the arguments select."""
        asked = arguments[0]
        try:
            if self.check is not None:
                arguments = self.check(caller, arguments)
            command = self.commands.get(arguments[0])
            if command is None:
                raise self._no_command(arguments[0])
        except Refusal as refusal:
            return Call(f"{self.name}.{self._title(asked)}", refusal)
        return command.decode(caller, arguments)

    def _no_command(self, number: int) -> Refusal:
        return Refusal(self._unknown, f"{self.name} has no command {self._title(number)} here")

    def _title(self, number: int) -> str:
        try:
            return f"{self.numbers(number).name.rstrip('_')} ({number})"
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


def _first(caller: Caller, pointer: int, size: int, count: int) -> bytes:
    """The first structs of an array as they are now, as far as they can be read."""
    wanted = min(count & COUNT_BITS, SHOWN_ITEMS)
    try:
        return caller.copy_from_guest(pointer, wanted * size)
    except PageFault:
        pass
    found = bytearray()
    for at in range(pointer, pointer + wanted * size, size):
        try:
            found += caller.copy_from_guest(at, size)
        except PageFault:
            break
    return bytes(found)


def _parameters(function: Handler) -> tuple[tuple[str, Parameter], ...]:
    found: list[tuple[str, Parameter]] = []
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        kinds = [kind for kind in get_args(parameter.annotation)[1:] if isinstance(kind, Parameter)]
        if len(kinds) != 1:
            raise TypeError(f"{function.__qualname__}: parameter {name} does not say how it is decoded")
        found.append((name, kinds[0]))
    return tuple(found)
