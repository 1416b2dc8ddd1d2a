"""The end of a machine in order: every domain is asked to power off, and what cannot hear it is destroyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane import StopReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane import Domain, Machine


class OrderlyEnd:
    """Waits to be asked for the end of `machine`; `say` takes sentences for the user."""

    def __init__(self, machine: Machine, say: Callable[[str], None]) -> None:
        self._machine = machine
        self._say = say
        self._begun = False
        machine.when_stalled(self._tell)

    def begin(self) -> None:
        """Ask every domain to power off; none is restarted any more."""
        machine = self._machine
        self._begun = True
        machine.end_restarts()
        living = self._living()
        who, them = ("1 domain is", "it") if len(living) == 1 else (f"{len(living)} domains are", "them")
        self._say(f"{who} asked to power off; Ctrl-C again destroys {them}")
        for domain in living:
            if domain.paused:
                self._destroy(domain, "it is paused")
            elif machine.can_ask(domain):
                machine.shutdown(domain)
            else:
                self._destroy(domain, "it cannot be asked, as it is not in the machine's xenstore")
        # From now on, so that it is called for those as well who slept for good before they were asked.
        machine.when_stalled(self._give_up)

    def _tell(self) -> None:
        """Every vcpu sleeps, and no timer or input can wake one. An administrator still can."""
        if not self._begun:
            self._say(f"{StopReason.STALLED.value}; `paravane ctl` can still end the domains, or Ctrl-C")

    def _give_up(self) -> None:
        """So it is although they were asked: who has not reacted by now never will."""
        for domain in self._living():
            self._destroy(domain, "it sleeps and does not listen")

    def _living(self) -> list[Domain]:
        return [domain for domain in self._machine.domains.values() if domain.alive]

    def _destroy(self, domain: Domain, why: str) -> None:
        self._say(f"{domain.name} is destroyed: {why}")
        self._machine.destroy(domain)
