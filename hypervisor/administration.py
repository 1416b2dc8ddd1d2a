"""What an administrator does to domains that exist, by the means of xl: pause counts, xenstore, limits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from paravane.abi.sched import ShutdownReason
from paravane.arguments import check_type
from paravane.devices.xenstore import domain_path
from paravane.sched import Share
from paravane.text import number_in
from paravane.toolstack import SLACK_PAGES
from paravane.traps.emulate.cpuid import PHYSICAL_BITS
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paravane.devices.xenbus import Attachment, DeviceConfig
    from paravane.devices.xenstore import Store
    from paravane.domain import Domain

_CANCELLED: Final = 1
"""What SHUTDOWN_suspend answers to a guest that was resumed in place, not restored (public/sched.h)."""

MOST_MEMORY: Final = 1 << PHYSICAL_BITS
"""Bytes of pseudo-physical memory that the processor can address, and so all that a domain may be given."""


class Administration(ABC):
    """The verbs. All raise ValueError, a sentence, for a domain that is not on the machine (any more), and
    those that ask something of its kernel for one that `can_ask` denies."""

    @property
    @abstractmethod
    def domains(self) -> Mapping[int, Domain]: ...

    @property
    @abstractmethod
    def store(self) -> Store: ...

    @abstractmethod
    def _check_thread(self, what: str) -> None:
        """Raises MachineBusyError when another thread runs the machine."""

    @abstractmethod
    def _ring(self, domain: Domain, port: int) -> bool:
        """Fire a port of the domain's that it has allocated for the host: whether it is one."""

    @abstractmethod
    def _check_cap(self, cap: int) -> None:
        """Raises ValueError for a cap that the machine's policy does not keep."""

    def find(self, name: str) -> Domain | None:
        """The domain of this name. Of several the one that was made last, unless only others are alive."""
        named = [domain for domain in self.domains.values() if domain.name == name]
        alive = [domain for domain in named if domain.alive]
        return next(reversed(alive or named), None)

    def pause(self, domain: Domain) -> None:
        """Let none of its vcpus run. Pauses are counted, as XEN_DOMCTL_pausedomain counts them: it takes as
        many `unpause` to have it run again. ValueError beyond 255."""
        self._administer("pause a domain", domain)
        domain.pause()

    def unpause(self, domain: Domain) -> None:
        """Undo one `pause`. ValueError for a domain that is not paused."""
        self._administer("unpause a domain", domain)
        domain.unpause()

    def shutdown(self, domain: Domain) -> None:
        """Ask its kernel to power off, by writing `poweroff` to control/shutdown in xenstore. It is up to the
        kernel to watch that node. ValueError for a domain that has ended."""
        self._ask("poweroff", domain)

    def reboot(self, domain: Domain) -> None:
        """Ask its kernel to reboot, as `shutdown` asks for a power-off."""
        self._ask("reboot", domain)

    def suspend(self, domain: Domain) -> None:
        """Ask its kernel to suspend itself, as `xl save` does first: by the event channel that it has named
        in device/suspend/event-channel, if it has, else by writing `suspend` to control/shutdown. A kernel
        that takes the request empties that node. The domain then ends, for the reason suspend, and stays as
        it is until `resume`."""
        self._administer("ask for a suspend", domain)
        self._check_lives(domain)
        self._check_store(domain)
        port = self.store.find(f"{domain_path(domain.domid)}/device/suspend/event-channel") or b""
        if not self._ring(domain, number_in(port.decode("latin-1")) or 0):
            self._ask("suspend", domain)

    def withdraw(self, domain: Domain) -> bool:
        """Take back what was asked for by control/shutdown, if its kernel has not taken it yet: whether that
        was so."""
        self._administer("withdraw a request", domain)
        self._check_store(domain)
        node = f"{domain_path(domain.domid)}/control/shutdown"
        if not self.store.find(node):
            return False
        self.store.write(node, "")
        return True

    def resume(self, domain: Domain) -> None:
        """Have a domain that has suspended itself go on where it was, as after `xl save -c`: its kernel finds
        1 as the answer to the hypercall by which it did, which says that nothing of it was lost. ValueError
        for one that is not suspended, or is not yet done with that hypercall, as for whoever is told of its
        end in the midst of it."""
        self._administer("resume a domain", domain)
        if domain.reason is not ShutdownReason.suspend:
            raise ValueError(f"{domain.name} is not suspended")
        scene = domain.platform.trace.scene
        if scene is not None and scene.domid == domain.domid:
            # The hypercall would put its own answer over ours.
            raise ValueError(f"{domain.name} is still in the hypercall that suspends it; resume it later")
        # As libxenctrl's resume of a guest that cooperates: it marks the first vcpu's, which made the call.
        domain.vcpus[0].cpu.eax = _CANCELLED
        self.store.resume(domain.domid)
        domain.resume()

    def sysrq(self, domain: Domain, letter: str) -> None:
        """Send its kernel a magic SysRq key (xl sysrq): the node control/sysrq. ValueError for what is not
        one printable ASCII character."""
        self._administer("send a SysRq key", domain)
        check_type("letter", letter, str)
        if len(letter) != 1 or not "!" <= letter <= "~":
            raise ValueError(f"a SysRq key is one letter or digit, and {letter!r} is not")
        self._check_lives(domain)
        self._check_store(domain)
        self.store.write(f"{domain_path(domain.domid)}/control/sysrq", letter)

    def rename(self, domain: Domain, name: str) -> None:
        """Call it by another name. ValueError when another domain has it."""
        self._administer("rename a domain", domain)
        check_type("name", name, str)
        if any(other.name == name and other is not domain for other in self.domains.values()):
            raise ValueError(f"another domain is called {name!r} already")
        domain.name = name
        if self.can_ask(domain):
            self.store.write(f"{domain_path(domain.domid)}/name", name)
            self.store.write(f"/vm/{domain.handle}/name", name)

    def set_memory(self, domain: Domain, memory: int) -> None:
        """Ask its balloon for so many bytes (xl mem-set): the node memory/target, and the limit of its
        reservation with xl's slack. What it has above that it keeps until it gives it back itself. ValueError
        beyond `max_memory`, and for what is no positive number of whole pages."""
        self._administer("resize a domain", domain)
        _check_size("memory", memory)
        self._check_store(domain)
        if memory > domain.max_memory:
            most = domain.max_memory >> 10
            raise ValueError(f"{memory >> 10} KiB are more than the {most} KiB that {domain.name} may have")
        domain.memory.target = memory >> PAGE_SHIFT
        domain.memory.max_pages = domain.memory.target + SLACK_PAGES
        self.store.write(f"{domain_path(domain.domid)}/memory/target", memory >> 10)
        self.store.write(f"/vm/{domain.handle}/memory", memory >> 20)

    def set_max_memory(self, domain: Domain, memory: int) -> None:
        """Bound its memory to so many bytes (xl mem-max): the node memory/static-max, and the limit of its
        reservation with xl's slack. ValueError below what `set_memory` has asked for, and above
        `MOST_MEMORY`."""
        self._administer("resize a domain", domain)
        _check_size("max_memory", memory)
        target = domain.memory.target << PAGE_SHIFT
        if memory < target:
            raise ValueError(f"{domain.name} is to have {target >> 10} KiB, which is more than that")
        domain.max_memory = memory
        domain.memory.max_pages = (memory >> PAGE_SHIFT) + SLACK_PAGES
        if self.can_ask(domain):
            self.store.write(f"{domain_path(domain.domid)}/memory/static-max", memory >> 10)

    def set_share(self, domain: Domain, *, weight: int | None = None, cap: int | None = None) -> None:
        """Change what it may have of the processor (xl sched-credit); None: as it is. ValueError, and nothing
        is changed, for a weight or cap that there is not, and for a cap where the policy keeps none."""
        self._administer("change a share of the processor", domain)
        check_type("weight", weight, int, type(None))
        check_type("cap", cap, int, type(None))
        share = domain.share
        wanted = Share(share.weight if weight is None else weight, share.cap if cap is None else cap)
        self._check_cap(wanted.cap)
        share.weight, share.cap = wanted.weight, wanted.cap

    def set_vcpus(self, domain: Domain, online: int) -> None:
        """Ask it to use its first `online` vcpus and no others (xl vcpu-set): the nodes cpu/N/availability,
        which its kernel watches, if it can take vcpus up and down. ValueError for more than it has, or none.
        """
        self._administer("take vcpus up or down", domain)
        check_type("online", online, int)
        if not 1 <= online <= len(domain.vcpus):
            raise ValueError(f"{domain.name} has {len(domain.vcpus)} vcpus: {online} cannot be online")
        self._check_store(domain)
        domain.online_vcpus = online
        for vcpu in domain.vcpus:
            state = "online" if vcpu.vcpu_id < online else "offline"
            self.store.write(f"{domain_path(domain.domid)}/cpu/{vcpu.vcpu_id}/availability", state)

    def attach(self, domain: Domain, config: DeviceConfig) -> Attachment:
        """Give it a device more, as `xl block-attach` and `network-attach` do: its kernel finds the nodes in
        xenstore, if it watches for that. ValueError when the device cannot be had, or the domain has one of
        that kind and number already."""
        self._administer("attach a device", domain)
        return domain.devices.attach(config)

    def detach(self, domain: Domain, device: Attachment, *, force: bool = False) -> None:
        """Take one of its devices away: as soon as its kernel lets go of it, which it is asked to; or, with
        `force`, at once. ValueError for a device that it has not (any more)."""
        self._administer("detach a device", domain)
        if device.domid != domain.domid or device.closed:
            raise ValueError(f"{domain.name} has no device {device.name} (any more)")
        device.detach(force=force)

    def _ask(self, request: str, domain: Domain) -> None:
        self._administer(f"ask for a {request}", domain)
        self._check_lives(domain)
        self._check_store(domain)
        self.store.write(f"{domain_path(domain.domid)}/control/shutdown", request)

    def can_ask(self, domain: Domain) -> bool:
        """Whether it has nodes in xenstore, by which it is asked for things, and which go when it goes. The
        control domain has none, nor have those that it makes: their xenstore is its own affair."""
        return not domain.privileged and self.store.is_known(domain.domid)

    def _check_lives(self, domain: Domain) -> None:
        if not domain.alive:
            raise ValueError(f"{domain.name} has ended already: {domain.reason}")

    def _check_store(self, domain: Domain) -> None:
        if not self.can_ask(domain):
            raise ValueError(
                f"{domain.name} is not in the machine's xenstore, so it cannot be asked for that"
            )

    def _administer(self, what: str, domain: Domain) -> None:
        self._check_thread(what)
        if self.domains.get(domain.domid) is not domain:
            raise ValueError(f"{domain.name} (domain {domain.domid}) is not on this machine")


def _check_size(name: str, size: int) -> None:
    check_type(name, size, int)
    if size <= 0 or size % PAGE_SIZE:
        raise ValueError(f"{name} must be a positive multiple of {PAGE_SIZE} bytes, as {size} is not")
    if size > MOST_MEMORY:
        raise ValueError(f"{name} is at most {MOST_MEMORY >> 30} GiB, as no domain's addresses reach further")
