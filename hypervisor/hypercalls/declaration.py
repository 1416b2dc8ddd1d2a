"""A declared hypercall: from the signature of a function to the decoder of its arguments and its errnos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

from paravane.abi.parameters import COUNT_BITS, In, InOut, Items, Parameter, Word
from paravane.cpu import PageFault
from paravane.refusal import Refusal
from paravane.trace import Argument, Written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from enum import IntEnum

    from paravane.abi.errno import Errno
    from paravane.abi.layout import Layout
    from paravane.hypercalls.caller import Caller

Arguments = tuple[int, ...]
"""EBX, ECX, EDX, ESI, EDI, EBP: the six argument words as unsigned 32-bit numbers."""

Copies = tuple[bytes, ...]
"""What the pointers among the arguments of a hypercall point to, in their order, as far as it can be read."""

Parameters = tuple[tuple[str, Parameter], ...]
"""Name and kind of each."""

Handler = Callable[..., Any]
Run = Callable[["Caller", Arguments], "int | None"]
Check = Callable[["Caller", Arguments], Arguments]

SHOWN_ITEMS = 4
"""Structs of an array that are decoded for the trace."""


class Call(Sequence["Argument"]):
    """One hypercall, decoded once: what is to be run, and what the trace shows of it, its arguments.

    These are made from copies when somebody looks at them: most who subscribe to hypercalls drop some, and
    the guest should not wait for what nobody sees. `problem` is why there is nothing to run, `written` the
    struct that was copied back to the guest. `copies` are the bytes that its pointers point to, one for each,
    as far as they could be read; None where no declaration says what its arguments are.
    """

    __slots__ = ("_declaration", "_shown", "_values", "_words", "copies", "name", "problem", "written")

    def __init__(
        self,
        name: str,
        problem: Refusal | PageFault | None = None,
        declaration: Declaration | None = None,
        words: Arguments = (),
        values: tuple[Any, ...] = (),
        copies: Copies | None = None,
    ) -> None:
        """`words` are the six argument registers, `values` what the function gets, as far as it could be
        read."""
        self.name = name
        self.problem = problem
        self.written: Written | None = None
        self.copies = copies
        self._declaration = declaration
        self._words = words
        self._values = values
        self._shown: tuple[Argument, ...] | None = None

    def __getitem__(self, at: Any) -> Any:
        return self._arguments()[at]

    def __len__(self) -> int:
        return 0 if self._declaration is None else len(self._declaration.parameters)

    def run(self, caller: Caller) -> int | None:
        """Do it. Raises `problem`, and whatever the function raises."""
        if self.problem is not None:
            raise self.problem
        if self._declaration is None:
            return None
        result, self.written = self._declaration.run(caller, self._words, self._values)
        return result

    def _arguments(self) -> tuple[Argument, ...]:
        if self._shown is None:
            declaration = self._declaration
            self._shown = () if declaration is None else declaration.shown(self._words, self.copies or ())
        return self._shown


class Declaration:
    """One hypercall or one command of a multiplexed one: its function and how its arguments are decoded."""

    def __init__(
        self, name: str, function: Handler, *, skip: int = 0, parameters: Parameters | None = None
    ) -> None:
        """`skip` argument registers come before the first parameter. The signature says what the
        `parameters` are, unless they are given; it is read when the hypercall is first made."""
        self.name = name
        self.function = function
        self._skip = skip
        self._given = parameters

    @cached_property
    def parameters(self) -> Parameters:
        """Raises TypeError for a signature that is no hypercall's."""
        found = _parameters(self.function) if self._given is None else self._given
        if self._skip + len(found) > 6:
            raise TypeError(f"{self.name}: a hypercall has six argument registers")
        return found

    @cached_property
    def end(self) -> int:
        """How many argument registers it uses, with those that say which command it is."""
        return self._skip + len(self.parameters)

    @cached_property
    def plain(self) -> Declaration | None:
        """The declaration itself, if the trace shows nothing that its arguments point to."""
        return None if any(isinstance(kind, In | InOut | Items) for _, kind in self.parameters) else self

    @property
    def plain_commands(self) -> Mapping[int, Declaration]:
        """None: see `Family`."""
        return {}

    @cached_property
    def call(self) -> Run:
        """Decode and run. Raises Refusal, PageFault, Preempted and whatever ends the domain."""
        as_they_are = all(isinstance(kind, Items) or _unsigned(kind) for _, kind in self.parameters)
        return self._pass_on(self.function, self._skip, self.end) if as_they_are else self._call

    @cached_property
    def _back(self) -> int | None:
        """Which of the parameters is copied back."""
        kinds = [kind for _, kind in self.parameters]
        return next((at for at, kind in enumerate(kinds) if isinstance(kind, InOut)), None)

    @staticmethod
    def _pass_on(function: Handler, first: int, end: int) -> Run:
        """Nothing to decode: the argument words go to the function as they are."""
        if end - first == 1:
            return lambda caller, arguments: function(caller, arguments[first])
        return lambda caller, arguments: function(caller, *arguments[first:end])

    def _call(self, caller: Caller, arguments: Arguments) -> int | None:
        words = arguments[self._skip : self.end]
        values = [_value(caller, kind, word) for (_, kind), word in zip(self.parameters, words, strict=True)]
        return self._answer(caller, words, self.function(caller, *values))[0]

    def decode(self, caller: Caller, arguments: Arguments) -> Call:
        """The call as the trace wants it. What cannot be read is kept, and raised when it is run."""
        words = arguments[self._skip : self.end]
        values: list[Any] = []
        copies: list[bytes] = []
        problem = None
        try:
            for at, (_, kind) in enumerate(self.parameters):
                word = words[at]
                if isinstance(kind, Word):
                    values.append(kind.value(word))
                elif isinstance(kind, Items):
                    copies.append(_first(caller, word, kind.layout.size, words[at + 1]))
                    values.append(word)
                else:
                    copies.append(caller.copy_from_guest(word, kind.layout.size))
                    values.append(kind.layout.unpack(copies[-1]))
        except PageFault as fault:
            problem = fault
        return Call(self.name, problem, self, arguments, tuple(values), tuple(copies))

    def shown(self, arguments: Arguments, copies: Copies) -> tuple[Argument, ...]:
        """What the trace shows of its arguments, from the six argument registers and `Call.copies`."""
        left = iter(copies)
        return tuple(
            Argument(name, kind, word, _shown(kind, word, left))
            for (name, kind), word in zip(self.parameters, arguments[self._skip : self.end], strict=True)
        )

    def run(
        self, caller: Caller, arguments: Arguments, values: Sequence[Any]
    ) -> tuple[int | None, Written | None]:
        """As `call`, with the values that `decode` has found, and the struct copied back to the guest."""
        result = self.function(caller, *values)
        return (result, None) if self._back is None else self._answer(caller, arguments[self._skip :], result)

    def written(self, data: bytes) -> Written:
        """The struct that was copied back to the guest, from its bytes."""
        layout = self._copied_back()
        return Written(layout, layout.unpack(data))

    def _answer(self, caller: Caller, words: Arguments, result: Any) -> tuple[int | None, Written | None]:
        """What goes into EAX for what the function returned, and the struct copied back to the guest."""
        if self._back is None or result is None or isinstance(result, int):
            return result, None
        layout = self._copied_back()
        caller.copy_to_guest(words[self._back], layout.pack(result))
        return 0, Written(layout, result)

    def _copied_back(self) -> Layout[Any]:
        """What the struct is that the guest gets back."""
        assert self._back is not None
        kind = self.parameters[self._back][1]
        assert isinstance(kind, InOut)
        return kind.layout


class Family:
    """A hypercall whose first argument selects a command; each command is a declaration of its own."""

    def __init__(self, name: str, numbers: type[IntEnum], unknown: Errno, check: Check | None = None) -> None:
        self.name = name
        self.commands: dict[int, Declaration] = {}
        self.plain = None
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

    @cached_property
    def plain_commands(self) -> Mapping[int, Declaration]:
        """Commands to which there is no more than registers, nor anything to `check`."""
        if self.check is not None:
            return {}
        return {number: made for number, made in self.commands.items() if made.plain}

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


def _value(caller: Caller, kind: Parameter, word: int) -> Any:
    """What a function gets for an argument register. Raises PageFault."""
    if isinstance(kind, Word):
        return kind.value(word)
    if isinstance(kind, Items):
        return word
    return kind.layout.unpack(caller.copy_from_guest(word, kind.layout.size))


def _shown(kind: Parameter, word: int, copies: Iterator[bytes]) -> Any:
    """What the trace shows of an argument; None for a struct that could not be read."""
    if isinstance(kind, Word):
        return kind.value(word)
    data = next(copies, None)
    if isinstance(kind, Items):
        return tuple(kind.layout.iter_unpack(data or b""))
    return None if data is None else kind.layout.unpack(data)


def _unsigned(kind: Parameter) -> bool:
    return isinstance(kind, Word) and not kind.signed


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


def _parameters(function: Handler) -> Parameters:
    found: list[tuple[str, Parameter]] = []
    code = function.__code__
    for name in code.co_varnames[1 : code.co_argcount]:
        annotation = function.__annotations__.get(name)
        kinds = [kind for kind in get_args(annotation)[1:] if isinstance(kind, Parameter)]
        if len(kinds) != 1:
            raise TypeError(f"{function.__qualname__}: parameter {name} does not say how it is decoded")
        found.append((name, kinds[0]))
    return tuple(found)
