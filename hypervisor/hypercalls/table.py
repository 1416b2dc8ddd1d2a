"""The hypercall table: one declaration per hypercall gives its decoder, its trace line and its errnos.

A hypercall is a function whose signature says what its arguments are:

    @hypercall(Hypercall.vm_assist)
    def vm_assist(caller: "Caller", cmd: UInt, assist: UInt) -> int: ...

and one that multiplexes commands on its first argument is a family of them:

    sched = commands(Hypercall.sched_op, SchedOp)

    @sched(SchedOp.shutdown)
    def shutdown(caller: "Caller", arg: Annotated[SchedShutdown, In(SCHED_SHUTDOWN)]) -> int: ...

One whose command is in the struct that its argument points to is a `StructFamily`
(paravane.hypercalls.struct_family).

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

from functools import cache
from typing import TYPE_CHECKING

from paravane.abi.errno import Errno
from paravane.abi.parameters import Domid, Hex, In, InOut, Int, Items, Ptr, UInt, Word, domid_text
from paravane.hypercalls.declaration import Arguments, Declaration, Entry, Family

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import IntEnum

    from paravane.abi.hypercall import Hypercall
    from paravane.hypercalls.declaration import Check, Handler

__all__ = [
    "TABLE",
    "Arguments",
    "Domid",
    "Hex",
    "In",
    "InOut",
    "Int",
    "Items",
    "Ptr",
    "UInt",
    "Word",
    "commands",
    "domid_text",
    "hypercall",
    "named",
    "names",
    "numbered",
]

TABLE: dict[int, Entry] = {}
"""Hypercall number -> declaration, filled as the modules of this folder are imported."""


def hypercall(number: Hypercall) -> Callable[[Handler], Handler]:
    """Declare the function below as hypercall `number`."""

    def declare(function: Handler) -> Handler:
        TABLE[int(number)] = Declaration(number.name, function)
        return function

    return declare


def names() -> frozenset[str]:
    """The names of all hypercalls, of families and of each of their commands: what a trace calls them."""
    families = [entry for entry in TABLE.values() if isinstance(entry, Family)]
    found = [command.name for family in families for command in family.commands.values()]
    return frozenset((*found, *(entry.name for entry in TABLE.values())))


def numbered(number: int, arguments: Arguments) -> Declaration:
    """The declaration of a hypercall that is made by this number and these arguments, without more to look
    at. KeyError: there is none."""
    entry = TABLE[number]
    return entry if isinstance(entry, Declaration) else entry.commands[arguments[0]]


@cache
def named(name: str) -> Declaration:
    """The declaration that has this name: a hypercall's or a command's. There has to be one."""
    entry = next(entry for entry in TABLE.values() if entry.name == name.partition(".")[0])
    if isinstance(entry, Declaration):
        return entry
    return next(command for command in entry.commands.values() if command.name == name)


def commands(
    number: Hypercall, numbers: type[IntEnum], *, unknown: Errno = Errno.ENOSYS, check: Check | None = None
) -> Family:
    """Declare hypercall `number` as a family of commands.

    `unknown` answers a command it does not have. `check` is for what all commands have in common: it is
    asked before there is a command at all, and gives the arguments to go on with, or raises Refusal.
    """
    family = Family(number.name, numbers, unknown, check)
    TABLE[int(number)] = family
    return family
