"""Packages whose names are loaded when somebody first asks for them.

A package's `__init__` says what the package offers. Were it to import all of that, whoever wants one name of
it would wait for the rest: a guest without a disk for disks, one that is not traced for records of traces.

    if TYPE_CHECKING:
        from paravane.trace.records import TrapRecord
    else:
        __getattr__ = late(__name__, records="TrapRecord ...")
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False  # `typing` itself takes longer to load than many a module that is put off by this
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def late(package: str, /, **homes: str) -> Callable[[str], Any]:
    """The `__getattr__` of a package: `homes` are its modules, and the names that each of them has, with
    blanks between them, none of them its module's. A name is the package's own once it was asked for."""
    found = {name: module for module, names in homes.items() for name in names.split()}
    # The import system would put the module there, for whoever asks after it was imported.
    assert not found.keys() & homes.keys()

    def load(name: str) -> Any:
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{found[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
