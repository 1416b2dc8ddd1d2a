"""The domain builder: a kernel image becomes a domain's start-of-day memory and registers."""

from hypervisor.builder.build import StartOfDay, build_domain
from hypervisor.builder.hypercall_page import hypercall_page
from hypervisor.builder.layout import Region, StartLayout, plan_layout

__all__ = ["Region", "StartLayout", "StartOfDay", "build_domain", "hypercall_page", "plan_layout"]
