"""What a machine does for each verb of a control socket."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from paravane.abi.sched import ShutdownReason
from paravane.abi.vcpu import Runstate
from paravane.devices.block import BlockDevice, number_of, parse_disk
from paravane.devices.net.interface import Interface
from paravane.devices.net.vif import parse_vif
from paravane.text import number_in, shown
from paravane.tools.ctl.listings import block_rows, network_rows
from paravane.tools.ctl.protocol import RequestError
from paravane.tools.screens import save

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane import Domain, Machine
    from paravane.tools.ctl.protocol import Request

_LETTERS: Final = {
    ShutdownReason.poweroff: "-",
    ShutdownReason.reboot: "r",
    ShutdownReason.suspend: "s",
    ShutdownReason.crash: "c",
    ShutdownReason.watchdog: "w",
    ShutdownReason.soft_reset: "S",
}
"""xl's letters for why a domain has ended."""


def perform(machine: Machine, request: Request) -> Any:
    """What comes of a request, as JSON has it. Raises RequestError."""
    if request.verb == "list":
        domains = [domain_of(machine, request.domain)] if request.domain else machine.domains.values()
        return [_row(domain) for domain in domains]
    if request.verb not in VERBS:
        raise RequestError(f"there is no verb {shown(request.verb[:40])!r}")
    domain = domain_of(machine, request.domain)
    try:
        return VERBS[request.verb](machine, domain, request.argument)
    except ValueError as error:
        raise RequestError(str(error)) from None


def domain_of(machine: Machine, name: str) -> Domain:
    """The domain that is called so, or that has this number. Raises RequestError."""
    domain = machine.find(name)
    if domain is None and name.isdigit():
        domain = machine.domains.get(number_in(name) or 0)
    if domain is None:
        raise RequestError(f"there is no domain {shown(name[:80])!r}")
    return domain


def _dump(machine: Machine, domain: Domain, argument: str) -> str:
    return domain.crash_report or domain.where()


def _set_memory(machine: Machine, domain: Domain, argument: str) -> None:
    machine.set_memory(domain, _number(argument, "MiB") << 20)


def _set_max_memory(machine: Machine, domain: Domain, argument: str) -> None:
    machine.set_max_memory(domain, _number(argument, "MiB") << 20)


def _set_vcpus(machine: Machine, domain: Domain, argument: str) -> None:
    machine.set_vcpus(domain, _number(argument, "vcpus"))


def _set_share(machine: Machine, domain: Domain, argument: str) -> None:
    """`weight=512 cap=50`, or one of them."""
    wishes: dict[str, int] = {}
    for word in argument.split():
        name, _, value = word.partition("=")
        if name not in ("weight", "cap"):
            raise RequestError(f"a share has a weight and a cap, no {shown(name[:40])!r}")
        wishes[name] = _number(value, "percent" if name == "cap" else "shares")
    machine.set_share(domain, weight=wishes.get("weight"), cap=wishes.get("cap"))


def _attach_disk(machine: Machine, domain: Domain, argument: str) -> None:
    machine.attach(domain, parse_disk(argument))


def _detach_disk(machine: Machine, domain: Domain, argument: str) -> None:
    vdev, _, force = argument.partition(",")
    device = domain.devices.find(BlockDevice.kind, number_of(vdev))
    if device is None:
        raise RequestError(f"{shown(domain.name)} has no disk {shown(vdev[:40])}")
    machine.detach(domain, device, force=bool(force))


def _attach_vif(machine: Machine, domain: Domain, argument: str) -> None:
    taken = {attached.device.number for attached in domain.devices if attached.device.kind == Interface.kind}
    number = next(number for number in count() if number not in taken)
    machine.attach(domain, parse_vif(argument, number))


def _detach_vif(machine: Machine, domain: Domain, argument: str) -> None:
    number, _, force = argument.partition(",")
    devid = number_in(number)
    device = None if devid is None else domain.devices.find(Interface.kind, devid)
    if device is None:
        raise RequestError(f"{shown(domain.name)} has no network interface {shown(number[:40])}")
    machine.detach(domain, device, force=bool(force))


def _screenshot(machine: Machine, domain: Domain, argument: str) -> None:
    """`NUMBER,FILE`."""
    number, _, path = argument.partition(",")
    try:
        save(domain, _number(number, "a framebuffer"), Path(path))
    except OSError as error:
        raise RequestError(f"{shown(path)}: {error.strerror}") from None


VERBS: Final[dict[str, Callable[[Machine, Domain, str], Any]]] = {
    "pause": lambda machine, domain, _: machine.pause(domain),
    "unpause": lambda machine, domain, _: machine.unpause(domain),
    "shutdown": lambda machine, domain, _: machine.shutdown(domain),
    "reboot": lambda machine, domain, _: machine.reboot(domain),
    "suspend": lambda machine, domain, _: machine.suspend(domain),
    "resume": lambda machine, domain, _: machine.resume(domain),
    "sysrq": lambda machine, domain, letter: machine.sysrq(domain, letter),
    "destroy": lambda machine, domain, _: machine.destroy(domain),
    "dump": _dump,
    "mem-set": _set_memory,
    "mem-max": _set_max_memory,
    "block-list": lambda machine, domain, _: block_rows(machine, domain),
    "disk-attach": _attach_disk,
    "disk-detach": _detach_disk,
    "network-list": lambda machine, domain, _: network_rows(machine, domain),
    "vcpu-set": _set_vcpus,
    "screenshot": _screenshot,
    "rename": lambda machine, domain, name: machine.rename(domain, name),
    "sched-credit": _set_share,
    "vif-attach": _attach_vif,
    "vif-detach": _detach_vif,
}


def _number(text: str, unit: str) -> int:
    number = number_in(text)
    if number is None:
        raise RequestError(f"{shown(text[:40])!r} is not a number of {unit}")
    return number


def _row(domain: Domain) -> dict[str, object]:
    """What `xl list` and `xl sched-credit` show of a domain (xl(1)): MiB, vcpus that are up, state, seconds
    of processor time, weight, cap."""
    up = [vcpu.run_state for vcpu in domain.vcpus if not vcpu.run_state.down]
    return {
        "name": domain.name,
        "id": domain.domid,
        "memory": domain.memory.tot_pages >> 8,
        "vcpus": len(up),
        "state": "".join(
            (
                "r" if any(state.has_processor for state in up) else "-",
                "b" if up and all(state.resting is Runstate.blocked for state in up) else "-",
                "p" if domain.paused else "-",
                "-" if domain.alive else "s",
                "-" if domain.reason is None else _LETTERS[domain.reason],
                "-",
            )
        ),
        "weight": domain.share.weight,
        "cap": domain.share.cap,
        "time": domain.running_time / 1e9,
    }
