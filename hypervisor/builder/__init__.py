"""The domain builder: a kernel image becomes a domain's start-of-day memory and registers."""

from paravane.builder.build import Rings, StartOfDay, build_domain
from paravane.builder.hypercall_page import hypercall_page
from paravane.builder.start_layout import MAX_PAGES, Region, StartLayout, amount, plan_layout, smallest_memory

__all__ = [
    "MAX_PAGES",
    "Region",
    "Rings",
    "StartLayout",
    "StartOfDay",
    "amount",
    "build_domain",
    "hypercall_page",
    "plan_layout",
    "smallest_memory",
]
