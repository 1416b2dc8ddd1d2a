"""sched_op and its older form sched_op_compat (public/sched.h).

sched_op_compat (hypercall 6) knows yield, block and shutdown only; its second argument is the shutdown reason
itself, not a pointer to it.
"""

from enum import IntEnum
from typing import Annotated, Final

from paravane.abi.domid import DOMID
from paravane.abi.layout import PTR, S32, U32, U64, UINT32, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple


@c_names("SCHEDOP_")
class SchedOp(IntEnum):
    """Commands of sched_op."""

    yield_ = 0
    block = 1
    shutdown = 2
    poll = 3
    remote_shutdown = 4
    shutdown_code = 5
    watchdog = 6
    pin_override = 7


@c_names("SHUTDOWN_")
class ShutdownReason(IntEnum):
    """Why a domain stops running."""

    poweroff = 0
    reboot = 1
    suspend = 2
    crash = 3
    watchdog = 4
    soft_reset = 5

    def __str__(self) -> str:
        """Its name, for people."""
        return self.name


SHUTDOWN_MAX: Final = 5


class SchedShutdown(NamedTuple):
    """Argument of SCHEDOP_shutdown and SCHEDOP_shutdown_code."""

    reason: Annotated[int, UINT32, ShutdownReason]


SCHED_SHUTDOWN = Layout("sched_shutdown", SchedShutdown)


class SchedPoll(NamedTuple):
    """Block until a port of `nr_ports` is pending or system time reaches `timeout` (ns; 0: never)."""

    ports: PTR
    nr_ports: U32
    timeout: U64


SCHED_POLL = Layout("sched_poll", SchedPoll)


class SchedRemoteShutdown(NamedTuple):
    """Argument of SCHEDOP_remote_shutdown."""

    domain_id: DOMID
    reason: Annotated[int, UINT32, ShutdownReason]


SCHED_REMOTE_SHUTDOWN = Layout("sched_remote_shutdown", SchedRemoteShutdown)


class SchedWatchdog(NamedTuple):
    """`id` 0 asks for a new watchdog; `timeout` is in seconds, 0 destroys it."""

    id: U32
    timeout: U32


SCHED_WATCHDOG = Layout("sched_watchdog", SchedWatchdog)


class SchedPinOverride(NamedTuple):
    """`pcpu` < 0 ends the override."""

    pcpu: S32


SCHED_PIN_OVERRIDE = Layout("sched_pin_override", SchedPinOverride)
