"""The hypercalls: the table of their declarations, and what answers a vcpu's from it."""

from paravane.hypercalls.caller import Caller
from paravane.hypercalls.dispatch import Dispatcher, call
from paravane.hypercalls.table import names

__all__ = ["Caller", "Dispatcher", "call", "names"]
