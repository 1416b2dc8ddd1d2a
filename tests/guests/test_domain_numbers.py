"""What a guest hears of another domain by its number: while it is there, while it goes, and afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, load_image
from tests.support.boot import HOST_TIMEOUT, kernel_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane import Domain

MEMORY = 4 << 20
OTHER = 1

KERNEL = f"""
    .include "runtime.inc"
    XEN_NOTES
main:
    PRINT "shutdown "
    movl $SCHEDOP_remote_shutdown, %ebx
    movl $shutdown_request, %ecx
    HYPERCALL sched_op
    call show
    PRINT "bind "
    movl $EVTCHNOP_bind_interdomain, %ebx
    movl $bind_request, %ecx
    HYPERCALL event_channel_op
    call show
    PRINT "map "
    movl $update_request, %ebx
    movl $1, %ecx
    xorl %edx, %edx
    movl ${OTHER}, %esi
    HYPERCALL mmu_update
    call show
    PRINT "copy "
    movl $GNTTABOP_copy, %ebx
    movl $copy_request, %ecx
    movl $1, %edx
    HYPERCALL grant_table_op
    movswl copy_status, %eax
    call show
    ret
show:
    negl %eax
    call print_dec
    PRINT "\\n"
    ret
    .data
    .balign 8
shutdown_request: .long {OTHER}, 0
bind_request: .long {OTHER}, 1, 0
update_request: .quad 0, 0
copy_request:   .long 8
    .short {OTHER}, 0
    .long 0
    .short 0x7FF0, 0
    .short 4, 1
copy_status: .short 0
    .balign 4
"""


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(*[MEMORY] * 4)) as made:
        yield made


def _create(machine: Machine) -> Domain:
    return machine.create(load_image(kernel_image(KERNEL)), DomainConfig(memory=MEMORY))


def _heard(machine: Machine) -> list[str]:
    """What a new guest is told of domain `OTHER`."""
    guest = _create(machine)
    machine.run(timeout=HOST_TIMEOUT)
    lines = guest.console_output().decode().splitlines()
    machine.destroy(guest)
    return lines


def test_a_domain_that_goes_is_known_until_its_last_frame_is_free(machine: Machine) -> None:
    other, memory = _create(machine), machine.platform.memory
    assert other.domid == OTHER
    assert _heard(machine) == ["shutdown 1", "bind 22", "map 1", "copy 1"], "it lives, and grants nothing"
    held = memory.frames.owner.index(OTHER)
    memory.hold(held, OTHER, writable=False)
    machine.destroy(other)
    assert machine.domains == {}
    assert _heard(machine) == ["shutdown 1", "bind 22", "map 1", "copy 9"]
    assert machine.audit() == []
    memory.let_go(held, writable=False)
    assert _heard(machine) == ["shutdown 3", "bind 3", "map 3", "copy 2"]
    assert machine.audit() == []
