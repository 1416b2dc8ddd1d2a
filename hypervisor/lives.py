"""The lives of a machine's domains: what becomes of one that has ended, by the wish of who made it."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass
from paravane.image import ImageError
from paravane.on_end import Action
from paravane.text import shown
from paravane.x86 import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.domain import Domain
    from paravane.domain_config import DomainConfig
    from paravane.image import Image
    from paravane.time.clock import Clock

_log = logging.getLogger("paravane")

QUICK_LIFE: Final = 2_000_000_000
"""Nanoseconds of system time: a domain that ends sooner may be in a loop of restarts."""

QUICK_LIVES: Final = 5
"""After so many quick lives in a row a domain is destroyed instead of restarted. (xl itself sleeps for two
seconds before each restart, and goes on for ever.)"""


@dataclass(slots=True)
class _Life:
    """One domain from its birth (system time) on, after `quick` quick lives of the same name."""

    image: Image
    config: DomainConfig
    born: int
    quick: int = 0


class Lives:
    """Remembers what each domain is made of, and acts on those that have ended when it is told to settle.
    Without `restarts`, what would be built anew is only destroyed."""

    def __init__(
        self,
        clock: Clock,
        build: Callable[[Image, DomainConfig], Domain],
        take_away: Callable[[Domain], None],
        rename: Callable[[Domain, str], None],
        announce: Callable[[int], None],
    ) -> None:
        """`build` makes a domain and calls `begin`; it raises ImageError, MemoryError, ValueError.
        `take_away` destroys one now: it is gone even if that raises, for somebody who hears of it. `announce`
        tells xenstore's clients that a domain with this number has ended."""
        self.restarts = True
        self._clock = clock
        self._build = build
        self._take_away = take_away
        self._rename = rename
        self._announce = announce
        self._lives: dict[Domain, _Life] = {}
        self._ended: deque[Domain] = deque()
        self._unborn: deque[_Life] = deque()

    def begin(self, domain: Domain, image: Image, config: DomainConfig) -> None:
        """A domain was built of this."""
        self._lives[domain] = _Life(image, config, self._clock.now())
        domain.when_ended = self._ended.append

    def resume(self, domain: Domain, image: Image, config: DomainConfig, born: int, quick: int) -> None:
        """A domain that was kept goes on, with all that was known of its life."""
        self._lives[domain] = _Life(image, config, born, quick)
        domain.when_ended = self._ended.append

    def config(self, domain: Domain) -> DomainConfig:
        """What a domain was made as."""
        return self._lives[domain].config

    def age(self, domain: Domain) -> tuple[int, int]:
        """When a domain's life began, and after how many quick ones."""
        life = self._lives[domain]
        return life.born, life.quick

    def forget(self, domain: Domain) -> None:
        """A domain is gone."""
        self._lives.pop(domain, None)

    @property
    def unsettled(self) -> bool:
        """Whether a domain has ended and nothing was done with it."""
        return bool(self._ended)

    def settle(self) -> None:
        """Do with every domain that has ended what its configuration says. Whatever a trace subscriber raises
        meanwhile, the next call goes on with what is left."""
        while self._ended:
            self._act(self._ended.popleft())
            self._bear()
        self._bear()

    def _act(self, domain: Domain) -> None:
        life = self._lives.get(domain)
        if life is None or domain.reason is None:
            return  # somebody destroyed it meanwhile
        self._announce(domain.domid)
        action = life.config.on_end.action(domain.reason)
        if action is Action.PRESERVE:
            return
        if (
            action is not Action.DESTROY
            and self.restarts
            and (next_life := self._next(domain, life)) is not None
        ):
            self._unborn.append(next_life)
            if action is Action.RENAME_RESTART:
                self._set_aside(domain)
                return
        self._take_away(domain)

    def _set_aside(self, domain: Domain) -> None:
        """Make its name and its devices free. (xl adds the date, which domains that end in the same minute
        share.)"""
        domain.devices.close()
        name = f"{domain.name}-{domain.domid}"
        taken = {other.name for other in self._lives}
        while name in taken:
            name += "-"
        self._rename(domain, name)

    def _next(self, domain: Domain, life: _Life) -> _Life | None:
        """The life after this one; None when it restarts too fast."""
        quick = life.quick + 1 if self._clock.now() - life.born < QUICK_LIFE else 0
        if quick >= QUICK_LIVES:
            domain.log.warning(
                "%s is not restarted: it has ended %d times in a row within %d seconds of its start",
                shown(domain.name),
                quick,
                QUICK_LIFE // 1_000_000_000,
            )
            return None
        # As it is now: its administrator may have renamed and resized it, given it another share of the
        # processor, and changed its devices.
        config = replace(
            life.config,
            name=domain.name,
            memory=domain.memory.target << PAGE_SHIFT,
            max_memory=domain.max_memory,
            weight=domain.share.weight,
            cap=domain.share.cap,
            online_vcpus=domain.online_vcpus,
            devices=domain.devices.configs,
        )
        return _Life(life.image, config, 0, quick)

    def _bear(self) -> None:
        while self._unborn:
            life = self._unborn.popleft()
            try:
                domain = self._build(life.image, life.config)
            except (ImageError, MemoryError, ValueError) as error:
                _log.warning("%s is not restarted: %s", shown(life.config.name), error)
            else:
                self._lives[domain].quick = life.quick
