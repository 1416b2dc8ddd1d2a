"""The table of hypercalls, whose modules are imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import paravane.hypercalls
from paravane.hypercalls.declaration import Family
from paravane.hypercalls.table import HYPERCALLS, declared


def test_an_entry_is_declared_by_the_modules_that_it_names() -> None:
    for number, modules in _modules().items():
        entry = declared()[number]
        made = entry.commands.values() if isinstance(entry, Family) else (entry,)
        assert made
        assert {one.function.__module__ for one in made} <= modules


def test_no_module_declares_what_no_entry_names_it_for() -> None:
    before = _sizes()
    for module in iter_modules(paravane.hypercalls.__path__):
        import_module(f"paravane.hypercalls.{module.name}")
    assert _sizes() == before


def test_every_declaration_says_what_its_arguments_are() -> None:
    """A signature that is no hypercall's would be found when a guest makes it."""
    for entry in declared().values():
        for one in entry.commands.values() if isinstance(entry, Family) else (entry,):
            assert one.end <= 6, one.name
            assert callable(one.call)


def _modules() -> dict[int, set[str]]:
    return {
        int(number): {f"paravane.hypercalls.{module}" for module in modules}
        for modules, numbers in HYPERCALLS.items()
        for number in numbers
    }


def _sizes() -> dict[int, int]:
    entries = declared().items()
    return {number: len(entry.commands) if isinstance(entry, Family) else 1 for number, entry in entries}
