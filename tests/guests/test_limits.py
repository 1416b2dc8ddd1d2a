"""A domain that takes all it can get (docs/limits.md) is refused more, and its neighbours have theirs.

Each greedy kernel sleeps at the end with all that it has. Its neighbour, one of the kernels that come with
Paravane, does then what it always does.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, ShutdownReason, StopReason, guest_kernels, load_image
from paravane.abi.errno import Errno
from paravane.asm import build
from paravane.devices.xenstore import Quota
from paravane.events import MAX_EVENT_CHANNELS
from paravane.guest_kernels.expected import takes
from paravane.log_limit import LogRate
from paravane.toolstack import SLACK_PAGES
from tests.support.boot import HOST_TIMEOUT, kernel_image

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = 8 << 20

HEAD = """
    .include "runtime.inc"
    .include "xenstore.inc"
    XEN_NOTES greedy
    .data
    .balign 8
poll: .long 0, 0
    .quad 0                             # no port, and no time: for ever
name: .asciz "data/00/00"             # in folders, as a node has so many bytes of names of others
    .text
show:                                   # ESI, and EAX with its sign
    pushl %eax
    movl %esi, %eax
    call print_dec
    PRINT " "
    popl %eax
    testl %eax, %eax
    jns 1f
    negl %eax
    pushl %eax
    PRINT "-"
    popl %eax
1:  call print_dec
    PRINT "\\n"
sleep:
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    jmp sleep
next_name:                              # another one each time
    movl $name + 9, %ecx
1:  incb (%ecx)
    cmpb $'0' + 10, (%ecx)
    jb 2f
    movb $'0', (%ecx)
    decl %ecx
    cmpb $'/', (%ecx)
    jne 1b
    decl %ecx
    jmp 1b
2:  ret
main:
    xorl %esi, %esi
"""

PORTS = """
    .data
unbound: .short DOMID_SELF, DOMID_SELF
    .long 0
    .text
1:  movl $EVTCHNOP_alloc_unbound, %ebx
    movl $unbound, %ecx
    HYPERCALL event_channel_op
    testl %eax, %eax
    jnz show
    incl %esi
    jmp 1b
"""

FRAMES = """
    .data
    .balign 8
memory: .long 0, 1, 0, 0
    .short DOMID_SELF, 0
    .text
1:  movl $XENMEM_increase_reservation, %ebx
    movl $memory, %ecx
    HYPERCALL memory_op
    cmpl $1, %eax
    jne show
    incl %esi
    jmp 1b
"""

NODES = """
    call store_init
1:  call next_name
    movl $XS_MKDIR, %eax
    movl $name, %edx
    movl $11, %ecx
    call store_request
    cmpl $XS_ERROR, %eax
    je 2f
    incl %esi
    jmp 1b
2:  xorl %eax, %eax
    jmp show
"""

TRANSACTIONS = """
    call store_init
1:  movl $XS_TRANSACTION_START, %eax
    movl $poll, %edx                    # a NUL
    movl $1, %ecx
    call store_request
    cmpl $XS_ERROR, %eax
    je 2f
    incl %esi
    jmp 1b
2:  xorl %eax, %eax
    jmp show
"""

TIMERS = """
    movl $20000, %esi                   # each for another time, far away
1:  movl %esi, %ebx
    movl $1000, %ecx
    HYPERCALL set_timer_op
    decl %esi
    jnz 1b
    movl $20000, %esi
    jmp show
"""

FLOOD = """
    .data
text: .ascii "spam\\n"
    .text
1:  movl $CONSOLEIO_write, %ebx
    movl $5, %ecx
    movl $text, %edx
    HYPERCALL console_io
    incl %esi
    cmpl $3000, %esi
    jb 1b
    jmp show
"""

TALK = """
    .include "runtime.inc"
    XEN_NOTES neighbour
main:
    movl $20, %esi
1:  movl $CONSOLEIO_write, %ebx
    movl $6, %ecx
    movl $text, %edx
    HYPERCALL console_io
    decl %esi
    jnz 1b
    ret
    .data
text: .ascii "hello\\n"
"""


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=1_000_000) as made:
        yield made


def exhaust(machine: Machine, code: str, **config: object) -> tuple[int, int]:
    """Run a greedy kernel until it sleeps: how much it got, and how it was refused more."""
    image = load_image(kernel_image(HEAD + code))
    domain = machine.create(image, DomainConfig(name="greedy", memory=MEMORY, **config))  # type: ignore[arg-type]
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED
    assert domain.alive
    got, answer = domain.console_output().split()
    return int(got), int(answer)


class Neighbour:
    """A kernel that comes with Paravane, domain 1, which begins when the other domain has all it can get."""

    def __init__(self, machine: Machine, name: str) -> None:
        self._machine = machine
        self._kernel = guest_kernels.load(name)
        image, config = load_image(build(self._kernel.sources)), DomainConfig(name=name, memory=MEMORY)
        self._domain = machine.create(image, replace(config, vcpus=self._kernel.vcpus or 1), paused=True)

    def live(self) -> None:
        """It does what it always does."""
        machine, domain = self._machine, self._domain
        machine.unpause(domain)
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED
        assert domain.reason is ShutdownReason.poweroff
        wanted = self._kernel.expected.splitlines()
        got = domain.console_output().decode().splitlines()
        assert [pair for pair in zip(wanted, got, strict=True) if not takes(*pair)] == []
        assert not machine.audit()


@pytest.mark.parametrize(
    ("code", "most", "refused", "neighbour"),
    [
        (PORTS, MAX_EVENT_CHANNELS - 2, -Errno.ENOSPC, "events"),
        (FRAMES, SLACK_PAGES, 0, "balloon"),
        # As xenstored, which refuses one when there are more than that already.
        (TRANSACTIONS, Quota().transactions + 1, 0, "store"),
    ],
    ids=["event ports", "frames", "transactions"],
)
def test_who_takes_all_leaves_its_neighbours_theirs(
    machine: Machine, code: str, most: int, refused: int, neighbour: str
) -> None:
    other = Neighbour(machine, neighbour)
    assert exhaust(machine, code) == (most, refused)
    other.live()


def test_who_makes_all_nodes_leaves_its_neighbours_theirs(machine: Machine) -> None:
    """Those that the host has made for it are among them, and the folders that it made by the way."""
    other = Neighbour(machine, "store")
    made, _ = exhaust(machine, NODES)
    assert Quota().nodes - 50 < made <= Quota().nodes
    other.live()


def test_a_domain_has_the_timers_of_its_vcpus_and_no_more(machine: Machine) -> None:
    other = Neighbour(machine, "poll")
    exhaust(machine, TIMERS)
    assert machine.platform.timers.size < 100
    other.live()


def test_ports_are_as_many_as_were_configured(machine: Machine) -> None:
    assert exhaust(machine, PORTS, max_event_channels=10) == (8, -Errno.ENOSPC)


def test_lines_that_are_too_many_are_dropped_and_counted(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    exhaust(machine, FLOOD, log_rate=LogRate(burst=50, per_second=10))
    neighbour = machine.create(load_image(kernel_image(TALK)), DomainConfig(memory=MEMORY))
    machine.run(timeout=HOST_TIMEOUT)
    machine.destroy(machine.domains[1])
    assert neighbour.reason is ShutdownReason.poweroff
    assert caplog.messages.count("(d2) hello") == 20
    said = [message for message in caplog.messages if "lines were dropped" in message]
    dropped = sum(int(re.findall(r"(\d+) lines", message)[0]) for message in said)
    shown = caplog.messages.count("(d1) spam")
    assert 50 <= shown < 100
    assert shown + dropped == 3000


def test_a_rate_of_lines_is_a_positive_one() -> None:
    for wrong in ({"burst": 0}, {"per_second": -1}):
        with pytest.raises(ValueError, match="must be 1 or more"):
            LogRate(**wrong)
    with pytest.raises(TypeError, match="burst"):
        LogRate(burst=1.5)  # type: ignore[arg-type]
