"""A hypercall with one argument, a struct that names a command and holds what is that command's (domctl)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paravane.abi.errno import Errno
from paravane.abi.layout import Chars, Layout
from paravane.abi.parameters import InOut
from paravane.cpu import PageFault
from paravane.hypercalls.declaration import Call, Declaration, Family
from paravane.hypercalls.table import TABLE
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from enum import IntEnum

    from paravane.abi.hypercall import Hypercall
    from paravane.hypercalls.caller import Caller
    from paravane.hypercalls.declaration import Arguments, Handler

Enter = Callable[["Caller", Any], Any]

_NOTHING = Chars(0)
"""The part of a command that has none."""


class StructFamily(Family):
    """Each command is a declaration of its own, of the same struct with only that command's part in the place
    of its union. The whole struct has to be readable all the same, as Xen copies it before it looks at it."""

    def __init__(
        self, number: Hypercall, numbers: type[IntEnum], layout: Layout[Any], parameter: str, enter: Enter
    ) -> None:
        """The struct's first member is the command, its last one, `u`, the part. `enter` is asked before
        there is a command at all: it gives the struct to go on with, or raises Refusal."""
        super().__init__(number.name, numbers, Errno.ENOSYS)
        self.parameter = parameter
        """What Xen calls the argument."""
        self.enter = enter
        self._layout = layout
        self._parts: dict[int, Layout[Any] | None] = {}
        TABLE[int(number)] = self

    def command(self, number: IntEnum, part: Layout[Any] | None = None) -> Callable[[Handler], Handler]:
        """Declare the function below as command `number`. It is given the caller and the struct, `u` decoded
        by `part`; it gives the struct that is copied back, or what goes into EAX."""

        def declare(function: Handler) -> Handler:
            layout = self._layout.ending_with(part or _NOTHING)
            parameters = ((self.parameter, InOut(layout)),)
            name = f"{self.name}.{number.name.rstrip('_')}"
            self.commands[int(number)] = Declaration(name, function, parameters=parameters)
            self._parts[int(number)] = part
            return function

        return declare

    def call(self, caller: Caller, arguments: Arguments) -> int | None:
        op = self.enter(caller, self._layout.unpack(self._copy(caller, arguments)))
        command = self.commands.get(op.cmd)
        if command is None:
            raise self._no_command(op.cmd)
        return command.run(caller, arguments, (self._with_part(op),))[0]

    def decode(self, caller: Caller, arguments: Arguments) -> Call:
        """As `Family.decode`; what is refused is shown as well, if there is such a command."""
        try:
            data = self._copy(caller, arguments)
        except PageFault as fault:
            return Call(self.name, fault)
        op, problem = self._layout.unpack(data), None
        command = self.commands.get(op.cmd)
        try:
            op = self.enter(caller, op)
            if command is None:
                raise self._no_command(op.cmd)
        except Refusal as refusal:
            problem = refusal
        if command is None:
            return Call(f"{self.name}.{self._title(op.cmd)}", problem)
        return Call(command.name, problem, command, arguments, (self._with_part(op),), (data,))

    def _copy(self, caller: Caller, arguments: Arguments) -> bytes:
        return caller.copy_from_guest(arguments[0], self._layout.size)

    def _with_part(self, op: Any) -> Any:
        part = self._parts[op.cmd]
        return op._replace(u=b"" if part is None else part.unpack(op.u))
