"""A hypercall, one of its commands, or a struct, on a page: as the table and the ABI have it."""

from __future__ import annotations

import inspect
import textwrap
from typing import TYPE_CHECKING, Any, Final

import paravane.abi
from paravane.abi.errno import Errno
from paravane.abi.layout import Layout
from paravane.abi.names import C_NAMES
from paravane.abi.parameters import In, InOut, Items, Word
from paravane.hypercalls import table
from paravane.hypercalls.declaration import Family
from paravane.hypercalls.struct_family import StructFamily
from paravane.tools.docs.refusals import Reach
from paravane.tools.docs.source import of_hypervisor
from paravane.tools.docs.structs import describe, layouts
from paravane.tools.docs.users import users

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from enum import IntEnum

    from paravane.abi.parameters import Parameter
    from paravane.hypercalls.declaration import Declaration

_REGISTERS: Final = ("EBX", "ECX", "EDX", "ESI", "EDI", "EBP")
_WIDTH: Final = 100
_BAD_POINTER: Final = "an argument points where the guest's own kernel could not read or write"


def names() -> dict[str, str]:
    """What can be asked for, in the order of hypercall numbers -> what it is in a line."""
    found: dict[str, str] = {}
    for number, entry in table.declared().items():
        if isinstance(entry, Family):
            found[entry.name] = f"hypercall {number}: {len(entry.commands)} commands"
            for command in entry.commands.values():
                found[command.name] = _summary(command)
        else:
            found[entry.name] = f"hypercall {number}: {_summary(entry)}".rstrip(": ")
    return found


def spellings() -> dict[str, str]:
    """Other ways to ask: numbers, and the names that C and assembler sources have -> the name in `names`."""
    found: dict[str, str] = {}
    for number, entry in table.declared().items():
        found[str(number)] = entry.name
        found[f"__HYPERVISOR_{entry.name}"] = entry.name
        if isinstance(entry, Family):
            for command, declaration in entry.commands.items():
                found[_spelt(entry.numbers, command)] = declaration.name
    return found


def page(name: str) -> Iterator[str]:
    """The page of a name of `names`, or of a struct, as lines."""
    structs = layouts()
    for number, entry in table.declared().items():
        if entry.name == name and isinstance(entry, Family):
            yield from _family(number, entry)
            return
        if isinstance(entry, Family):
            for command, declaration in entry.commands.items():
                if declaration.name == name:
                    c_name = _spelt(entry.numbers, command)
                    yield f"{name}: {c_name} ({command}) of hypercall {number}"
                    first = "" if isinstance(entry, StructFamily) else f"EBX  {c_name}"
                    yield from _declaration(declaration, first, _words(c_name), entry)
                    return
        elif entry.name == name:
            yield f"{name}: hypercall {number}"
            yield from _declaration(entry, "", _calls(name), None)
            return
    yield from describe(structs[name])


def _family(number: int, family: Family) -> Iterator[str]:
    in_struct = isinstance(family, StructFamily)
    where = "a struct that EBX points to" if in_struct else "EBX"
    yield f"{family.name}: hypercall {number}, with a command in {where}"
    yield ""
    for command, declaration in sorted(family.commands.items()):
        parameters = ", ".join(word for word, _ in declaration.parameters)
        yield f"  {command:3}  {_spelt(family.numbers, command)}" + ("" if in_struct else f"({parameters})")
        if summary := _summary(declaration):
            yield from _wrapped(summary, " " * 7)
    yield ""
    yield f"`paravane docs {next(iter(family.commands.values())).name}` tells of one of them."
    yield from _used(_calls(family.name))


def _declaration(
    declaration: Declaration, first: str, words: Sequence[str], family: Family | None
) -> Iterator[str]:
    text = inspect.getdoc(declaration.function)
    if text:
        yield ""
        for paragraph in text.split("\n\n"):
            yield from _wrapped(" ".join(paragraph.split()), "")
    yield ""
    if first:
        yield f"  {first}"
    registers = _REGISTERS[bool(first) :]
    for register, (name, kind) in zip(registers, declaration.parameters, strict=False):
        yield f"  {register}  {name.rstrip('_'):<14}{_kind(kind)}"
    reach = Reach(of_hypervisor(), *_before(family), declaration.function)
    for layout in _structs(declaration, reach):
        yield ""
        yield from describe(layout)
    yield from _refused(reach, declaration)
    yield from _used(words)


def _before(family: Family | None) -> tuple[Callable[..., object], ...]:
    """What is asked before any command of a family."""
    if isinstance(family, StructFamily):
        return (family.enter,)
    return () if family is None or family.check is None else (family.check,)


def _kind(kind: Parameter) -> str:
    if isinstance(kind, Word):
        return kind.meaning
    if isinstance(kind, Items):
        return f"address of an array of struct {kind.layout.name}; the next argument counts them"
    back = ", which is written back" if isinstance(kind, InOut) else ""
    return f"address of a struct {kind.layout.name}{back}"


def _structs(declaration: Declaration, reach: Reach) -> list[Layout[Any]]:
    """The structs of the parameters, and those that the code reads or writes itself."""
    own = [kind.layout for _, kind in declaration.parameters if isinstance(kind, In | InOut | Items)]
    # A command's struct has that command's part in it; it is shown whole, and the part after it.
    parts = [field.kind for layout in own for field in layout.fields if isinstance(field.kind, Layout)]
    declared = layouts()
    known = set(declared.values())
    used = [_declared(module, name) for module, name in sorted(reach.constants)]
    found = [layout for layout in used if isinstance(layout, Layout) and layout in known]
    return list(dict.fromkeys((*(declared[layout.name] for layout in own), *parts, *found)))


def _declared(module: str, name: str) -> Any:
    """What the ABI declares under a name; None for a module that is not the ABI's."""
    package, _, last = module.rpartition(".")
    home = getattr(paravane.abi, last, None) if package == paravane.abi.__name__ else None
    return getattr(home, name, None)


def _refused(reach: Reach, declaration: Declaration) -> Iterator[str]:
    """The errnos, each with the sentences that traces and `--explain` show with it."""
    reasons: Mapping[Errno, list[str]] = {**reach.refusals}
    if any(not isinstance(kind, Word) or kind.meaning == "address" for _, kind in declaration.parameters):
        reasons = {**reasons, Errno.EFAULT: [_BAD_POINTER, *reasons.get(Errno.EFAULT, [])]}
    yield ""
    yield "refused with" if reasons else "never refused"
    for errno in sorted(reasons):
        for sentence in reasons[errno]:
            yield from textwrap.wrap(
                sentence, _WIDTH, initial_indent=f"  {errno.name:<12}", subsequent_indent=" " * 16
            )


def _used(words: Sequence[str]) -> Iterator[str]:
    yield ""
    lines = list(users(words))
    yield "used by" if lines else "used by no kernel that comes with Paravane"
    for line in lines:
        yield from textwrap.wrap(line, _WIDTH, initial_indent="  ", subsequent_indent="    ")


def _calls(name: str) -> tuple[str, ...]:
    return f"HYPERCALL {name}", f"__HYPERVISOR_{name}"


def _words(c_name: str) -> tuple[str, ...]:
    """A command as sources have it: its name, or a macro that makes the call."""
    return c_name, c_name.removeprefix("XEN_").replace("_", " ", 1)


def _spelt(numbers: type[IntEnum], command: int) -> str:
    """A command as sources spell it."""
    try:
        member = numbers(command)
    except ValueError:
        return str(command)
    spelling = C_NAMES.get(numbers)
    return spelling.assembler(member.name) if spelling else member.name


def _summary(declaration: Declaration) -> str:
    text = inspect.getdoc(declaration.function) or ""
    return " ".join(text.split("\n\n")[0].split())


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
