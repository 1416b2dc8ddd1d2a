"""Where a domain's vcpus are: what a guest that hangs does not tell by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.vcpu import Runstate
from paravane.cpu import PageFault
from paravane.dump import registers
from paravane.x86 import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane import Domain
    from paravane.vcpu import Vcpu


def where(domain: Domain, running: Vcpu | None) -> Iterator[str]:
    """For each vcpu one line that says what it does and at which instruction, then its registers.

    `running` is the one that has the processor.
    """
    for vcpu in domain.vcpus:
        state = "runs" if vcpu is running else _RESTING[vcpu.run_state.resting]
        cpu = vcpu.cpu
        yield f"vcpu {vcpu.vcpu_id} {state}: ring {cpu.cpl}, EIP {_place(vcpu, domain)}"
        yield from registers(cpu)


_RESTING = {
    Runstate.running: "runs",
    Runstate.runnable: "waits for its turn",
    Runstate.blocked: "sleeps until an event",
    Runstate.offline: "is offline",
}


def _place(vcpu: Vcpu, domain: Domain) -> str:
    """EIP with symbol and line. In the hypercall page, where every guest sleeps, the caller's as well."""
    eip, image = vcpu.cpu.eip, domain.image
    place = domain.places.at(eip)
    page = image.hypercall_page
    if page is None or not page <= eip < page + PAGE_SIZE:
        return str(place)
    try:
        caller = vcpu.cpu.read_u32(vcpu.cpu.esp)
    except PageFault:
        return str(place)
    return f"{place}, called from {domain.places.before(caller)}" if image.is_code(caller) else str(place)
