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
`from __future__ import annotations`. They are imported when one of their hypercalls is first made: a guest
makes few of them, and what all of them need takes as long to load as a small guest runs.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.abi.parameters import Domid, Hex, In, InOut, Int, Items, Ptr, UInt, Word, domid_text
from paravane.hypercalls.declaration import Arguments, Call, Declaration, Family

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from enum import IntEnum

    from paravane.hypercalls.caller import Caller
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
    "declared",
    "domid_text",
    "hypercall",
    "named",
    "names",
    "numbered",
]

_DOMCTL: Final = ("domctl", "domctl_create", "domctl_domain", "domctl_frames", "domctl_vcpu")
_GRANT_TABLE: Final = ("grant_requests", "grant_map", "grant_table")
HYPERCALLS: Final = {
    ("console_io",): (Hypercall.console_io,),
    ("descriptors",): (Hypercall.set_gdt, Hypercall.update_descriptor),
    _DOMCTL: (Hypercall.domctl, Hypercall.arch_1),
    ("event_channel",): (Hypercall.event_channel_op, Hypercall.event_channel_op_compat),
    _GRANT_TABLE: (Hypercall.grant_table_op,),
    ("hvm_op",): (Hypercall.hvm_op,),
    ("memory_op",): (Hypercall.memory_op,),
    ("mmu",): (
        Hypercall.mmu_update,
        Hypercall.mmuext_op,
        Hypercall.update_va_mapping,
        Hypercall.update_va_mapping_otherdomain,
        Hypercall.vm_assist,
    ),
    ("multicall",): (Hypercall.multicall,),
    ("physdev",): (Hypercall.physdev_op, Hypercall.physdev_op_compat),
    ("privileged",): (
        Hypercall.platform_op,
        Hypercall.mca,
        Hypercall.kexec_op,
        Hypercall.hypfs_op,
        Hypercall.xenpmu_op,
        Hypercall.xenoprof_op,
        Hypercall.dm_op,
    ),
    ("sched",): (Hypercall.sched_op, Hypercall.sched_op_compat, Hypercall.set_timer_op),
    ("sysctl",): (Hypercall.sysctl,),
    ("tlb",): (Hypercall.arch_7,),
    ("traps",): (
        Hypercall.callback_op,
        Hypercall.nmi_op,
        Hypercall.set_trap_table,
        Hypercall.set_callbacks,
        Hypercall.stack_switch,
        Hypercall.fpu_taskswitch,
        Hypercall.set_debugreg,
        Hypercall.get_debugreg,
        Hypercall.iret,
    ),
    ("vcpu_op",): (Hypercall.vcpu_op,),
    ("version",): (Hypercall.xen_version,),
}
"""Modules of this folder -> the hypercalls that they declare. Of several the first declares a family, and
the others its commands."""


class Undeclared:
    """A hypercall whose modules have not been imported: in the table until somebody makes it."""

    plain = None
    plain_commands: Final[Mapping[int, Declaration]] = {}

    def __init__(self, number: Hypercall, modules: tuple[str, ...]) -> None:
        self.name = number.name
        self._number = int(number)
        self._modules = modules

    def declare(self) -> Declaration | Family:
        """Import them: what stands in the table from then on."""
        for module in self._modules:
            import_module(f"paravane.hypercalls.{module}")
        entry = TABLE[self._number]
        assert not isinstance(entry, Undeclared)
        return entry

    def call(self, caller: Caller, arguments: Arguments) -> int | None:
        """As that of what is declared."""
        return self.declare().call(caller, arguments)

    def decode(self, caller: Caller, arguments: Arguments) -> Call:
        """As that of what is declared."""
        return self.declare().decode(caller, arguments)


Entry = Declaration | Family | Undeclared

TABLE: Final[dict[int, Entry]] = {
    int(number): Undeclared(number, modules) for modules, numbers in HYPERCALLS.items() for number in numbers
}
"""Hypercall number -> declaration, as far as the modules of this folder have been imported."""


def hypercall(number: Hypercall) -> Callable[[Handler], Handler]:
    """Declare the function below as hypercall `number`."""

    def declare(function: Handler) -> Handler:
        TABLE[int(number)] = Declaration(number.name, function)
        return function

    return declare


def declared() -> dict[int, Declaration | Family]:
    """The whole table, in the order of the numbers; all modules are imported for it."""
    return {number: _declared(number) for number in sorted(TABLE)}


def names() -> frozenset[str]:
    """The names of all hypercalls, of families and of each of their commands: what a trace calls them."""
    entries = declared().values()
    families = [entry for entry in entries if isinstance(entry, Family)]
    found = [command.name for family in families for command in family.commands.values()]
    return frozenset((*found, *(entry.name for entry in entries)))


def numbered(number: int, arguments: Arguments) -> Declaration:
    """The declaration of a hypercall that is made by this number and these arguments, without more to look
    at. KeyError: there is none."""
    entry = _declared(number)
    return entry if isinstance(entry, Declaration) else entry.commands[arguments[0]]


@cache
def named(name: str) -> Declaration:
    """The declaration that has this name: a hypercall's or a command's. There has to be one."""
    family = name.partition(".")[0]
    entry = next(_declared(number) for number, entry in TABLE.items() if entry.name == family)
    if isinstance(entry, Declaration):
        return entry
    return next(command for command in entry.commands.values() if command.name == name)


def _declared(number: int) -> Declaration | Family:
    entry = TABLE[number]
    return entry.declare() if isinstance(entry, Undeclared) else entry


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
