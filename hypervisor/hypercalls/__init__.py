"""The hypercalls. Importing this package imports every module in it, and so declares them all."""

from importlib import import_module
from pkgutil import iter_modules

from paravane.hypercalls.caller import Caller
from paravane.hypercalls.dispatch import Dispatcher, call
from paravane.hypercalls.table import names

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Caller", "Dispatcher", "call", "names"]
