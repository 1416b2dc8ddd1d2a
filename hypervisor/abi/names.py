"""How our number sets are spelled in C and in assembler sources."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import TypeVar

from paravane.classes import NamedTuple

E = TypeVar("E", bound=IntEnum)


class CNames(NamedTuple):
    """Spelling of one number set: prefix + member name (a trailing `_` dropped), or an odd name.

    `header` is the prefix in Xen's header, where it differs from the one that assembler sources use.
    """

    prefix: str
    header: str
    odd: Mapping[str, str]

    def assembler(self, member: str) -> str:
        """The name in the assembler include files."""
        return self.odd.get(member) or self.prefix + member.rstrip("_")

    def c_expression(self, member: str) -> str:
        """The name in the C header."""
        return self.odd.get(member) or self.header + member.rstrip("_")


C_NAMES: dict[type[IntEnum], CNames] = {}
"""Every number set that `c_names` decorated."""


def c_names(prefix: str, *, header: str | None = None, **odd: str) -> Callable[[type[E]], type[E]]:
    """Class decorator: the members of this number set are called `prefix` + name in C, `odd` ones as given.

    Flags are IntEnums too: `flags & GrantFlag.readonly` is then plain integer arithmetic, several times
    faster than IntFlag's, and the result is the `int` that goes back into guest memory.
    """

    def mark(cls: type[E]) -> type[E]:
        C_NAMES[cls] = CNames(prefix, prefix if header is None else header, MappingProxyType(odd))
        return cls

    return mark
