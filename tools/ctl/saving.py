"""`ctl save`: domains that are asked to suspend themselves, and are written to files when they have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from paravane.abi.sched import ShutdownReason
from paravane.text import shown
from paravane.tools.ctl.protocol import RequestError
from paravane.whole_file import beside

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane import Domain, Machine


class Afterwards(Enum):
    """What becomes of a domain that was saved; the values are what a request says."""

    DESTROY = "destroy"
    RESUME = "resume"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Wish:
    """One domain that is to be saved. `told` is called once, with the sentence why it could not be, or None
    when it is done."""

    domain: Domain
    path: Path
    afterwards: Afterwards
    told: Callable[[str | None], None]


class Savings:
    """The wishes of one machine that are not fulfilled yet."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._wishes: list[Wish] = []

    def begin(self, domain: Domain, argument: str, told: Callable[[str | None], None]) -> Wish:
        """Ask a domain to suspend itself, if it has not yet; it is saved by `settle`. `argument` is
        "AFTERWARDS,PATH". Raises RequestError."""
        after, _, path = argument.partition(",")
        if after not in [one.value for one in Afterwards] or not path:
            raise RequestError("say what becomes of it, and where it is to be saved")
        if any(wish.domain is domain for wish in self._wishes):
            raise RequestError(f"{shown(domain.name)} is being saved already")
        if domain.reason is not ShutdownReason.suspend:
            try:
                self._machine.suspend(domain)
            except ValueError as error:
                raise RequestError(str(error)) from None
        wish = Wish(domain, Path(path), Afterwards(after), told)
        self._wishes.append(wish)
        return wish

    def give_up(self, wish: Wish) -> None:
        """Nobody waits for it any more: take the request back, if the domain has not taken it."""
        if wish in self._wishes:
            self._wishes.remove(wish)
            domain = wish.domain
            if domain.alive and self._is_there(domain):
                self._machine.withdraw(domain)

    def settle(self) -> bool:
        """Save those that have suspended themselves, and give up those that have ended otherwise or are gone.
        Whether one of them goes on."""
        goes_on = False
        for wish in [*self._wishes]:
            if wish.domain.alive and self._is_there(wish.domain):
                continue
            self._wishes.remove(wish)
            failure = self._fulfil(wish)
            goes_on = goes_on or (wish.domain.alive and self._is_there(wish.domain))
            wish.told(failure)
        return goes_on

    def _is_there(self, domain: Domain) -> bool:
        return self._machine.domains.get(domain.domid) is domain

    def _fulfil(self, wish: Wish) -> str | None:
        """A domain that cannot be saved goes on, as under xl. The sentence why it cannot."""
        domain, machine = wish.domain, self._machine
        if not self._is_there(domain):
            return f"{shown(domain.name)} is gone"
        if domain.reason is not ShutdownReason.suspend:
            return f"{shown(domain.name)} has ended instead: {domain.reason}"
        try:
            with beside(wish.path) as file:
                for piece in machine.save_domain(domain):
                    file.write(piece)
        except (OSError, ValueError) as error:
            machine.resume(domain)
            return f"{shown(str(wish.path))}: {error.strerror}" if isinstance(error, OSError) else str(error)
        if wish.afterwards is Afterwards.DESTROY:
            machine.destroy(domain)
        elif wish.afterwards is Afterwards.RESUME:
            machine.resume(domain)
        return None
