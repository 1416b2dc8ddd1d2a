"""What becomes of a domain that has ended: xl's on_poweroff, on_reboot, on_crash, ... (xl.cfg(5))."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum

from paravane.abi.sched import ShutdownReason
from paravane.arguments import check_type
from paravane.classes import dataclass


class Action(Enum):
    """The values are xl's words. A domain that is built anew gets another number, and its name."""

    PRESERVE = "preserve"
    """It stays as it ended, to be looked at, until somebody destroys it."""

    DESTROY = "destroy"
    RESTART = "restart"
    """It is destroyed and built anew."""

    RENAME_RESTART = "rename-restart"
    """It stays, under another name, and is built anew beside that."""


@dataclass(frozen=True, slots=True)
class OnEnd:
    """An action for each way to end. A domain that suspended itself is always preserved, as xl does."""

    poweroff: Action = Action.PRESERVE
    reboot: Action = Action.PRESERVE
    crash: Action = Action.PRESERVE
    watchdog: Action = Action.PRESERVE
    soft_reset: Action = Action.PRESERVE

    def __post_init__(self) -> None:
        """Raises TypeError for a value of a wrong type, by its name."""
        for field in fields(self):
            check_type(field.name, getattr(self, field.name), Action)

    def action(self, reason: ShutdownReason) -> Action:
        """What becomes of a domain that ended for this reason."""
        if reason is ShutdownReason.suspend:
            return Action.PRESERVE
        found: Action = getattr(self, reason.name)
        return found

    @property
    def builds_anew(self) -> bool:
        """Whether it is built anew after any end."""
        actions = {getattr(self, field.name) for field in fields(self)}
        return bool(actions & {Action.RESTART, Action.RENAME_RESTART})
