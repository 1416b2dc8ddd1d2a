"""What somebody wants to see of a trace: `hypercall:mmu_update,trap:14,domain:2,refusal`.

A filter is a list of what is wanted, each a kind (`trap`) or a kind with a selector (`trap:PF`), together
with the domains and vcpus that all of it is restricted to (`domain:2`, `vcpu:0`).
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass
from paravane.text import number_in
from paravane.trace.kinds import DEFAULT, Kind
from paravane.trace.selectors import SELECTORS, FilterError, Item

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from paravane.trace.selectors import Predicate

__all__ = ["DEFAULT", "Filter", "FilterError", "parse"]

_OLD_NAMES: Final = {"exception": Kind.TRAP}
_KINDS: Final = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Filter:
    """What is wanted (paravane.trace.Selection): of each kind all (None) or what one of the predicates takes;
    only of these domains and vcpus, where any are named."""

    wanted: Mapping[str, tuple[Predicate, ...] | None]
    domids: frozenset[int] = frozenset()
    vcpus: frozenset[int] = frozenset()

    @property
    def kinds(self) -> frozenset[Kind]:
        return frozenset(_KINDS[name] for name in self.wanted)

    @property
    def whole(self) -> bool:
        """Whether all records of `kinds` are wanted."""
        return not (self.domids or self.vcpus or any(self.wanted.values()))

    def has_all(self, kind: Kind) -> bool:
        """Whether all records of one kind are wanted."""
        return not (self.domids or self.vcpus) and self.wanted.get(kind.value, ()) is None

    def takes(self, item: Item) -> bool:
        """Whether a record, or an entry, is wanted."""
        if self.domids and item.domid not in self.domids:
            return False
        if self.vcpus and item.vcpu not in self.vcpus:
            return False
        kind = item.kind.value if isinstance(item.kind, Kind) else item.kind
        if kind not in self.wanted:
            return False
        predicates = self.wanted[kind]
        return predicates is None or any(predicate(item) for predicate in predicates)


def parse(text: str, hypercalls: Collection[str] = ()) -> Filter:
    """A filter from a list of names with commas between them. Raises FilterError, one sentence.

    `hypercalls` are the names that hypercalls can have, families included; without them any name will do.
    """
    wanted: dict[str, tuple[Predicate, ...] | None] = {}
    restricted: dict[str, set[int]] = {"domain": set(), "vcpu": set()}
    for word in text.split(","):
        name, colon, selector = word.strip().partition(":")
        if colon and name in restricted:
            restricted[name].add(_restriction(name, selector))
        elif name == "all":
            if colon:
                raise FilterError("all is every kind, and nothing is said after it")
            wanted.update(dict.fromkeys(_KINDS))
        else:
            kind = _kind(name).value
            predicates = wanted.get(kind, ())
            if not colon or predicates is None:
                wanted[kind] = None
            else:
                wanted[kind] = (*predicates, _selected(kind, selector, hypercalls))
    return Filter(wanted or dict.fromkeys(_KINDS), *map(frozenset, restricted.values()))


def _kind(name: str) -> Kind:
    kind = _KINDS.get(name) or _OLD_NAMES.get(name)
    if kind is None:
        hint = get_close_matches(name, _KINDS, 1)
        guess = f" (did you mean {hint[0]}?)" if hint else ""
        raise FilterError(
            f"{name!r} is no kind of event{guess}: there are {', '.join(_KINDS)}, all, domain:N and vcpu:N"
        )
    return kind


def _restriction(name: str, selector: str) -> int:
    found = number_in(selector)
    if found is None:
        raise FilterError(f"{name}:{selector} does not name a {name} by its number, as {name}:1 does")
    return found


def _selected(kind: str, selector: str, hypercalls: Collection[str]) -> Predicate:
    if not selector:
        raise FilterError(f"{kind}: says nothing after the colon; {kind} alone is all of it")
    if hypercalls and selector not in hypercalls and _is_request(kind, selector):
        hint = get_close_matches(selector, hypercalls, 3, 0.5)
        guess = f": did you mean {' or '.join(hint)}?" if hint else "; `paravane docs` lists them"
        what = "hypercall" if kind == "hypercall" else "request"
        raise FilterError(f"there is no {what} {selector!r}{guess}")
    return SELECTORS[kind](selector)


def _is_request(kind: str, selector: str) -> bool:
    """Whether a selector is the name of a hypercall or nothing."""
    if kind == "hypercall":
        return number_in(selector) is None
    return kind == "refusal" and selector.lstrip("-")[:1] != "E" and not selector.startswith("hypercall ")
