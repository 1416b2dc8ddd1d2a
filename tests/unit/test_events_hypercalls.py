"""event_channel_op and its old form as a guest calls them: structs in and out of its memory."""

from __future__ import annotations

from typing import Any

import pytest

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.event_channel import (
    EVTCHN_ALLOC_UNBOUND,
    EVTCHN_BIND_INTERDOMAIN,
    EVTCHN_BIND_VIRQ,
    EVTCHN_EXPAND_ARRAY,
    EVTCHN_INIT_CONTROL,
    EVTCHN_OP,
    EVTCHN_RESET,
    EVTCHN_SET_PRIORITY,
    EVTCHN_STATUS,
    EvtchnAllocUnbound,
    EvtchnBindInterdomain,
    EvtchnBindVirq,
    EvtchnExpandArray,
    EvtchnInitControl,
    EvtchnOp,
    EvtchnOpCompat,
    EvtchnReset,
    EvtchnSetPriority,
    EvtchnStat,
    EvtchnStatus,
    Virq,
)
from paravane.abi.hypercall import Hypercall
from paravane.preemption import Preempted
from tests.support.caller import FakeCaller
from tests.support.event_machine import EventMachine

SIZE = 4096
UNMAPPED = 0x10_0000


class FakeVcpu(FakeCaller):
    """A vcpu of domain 1 with one page of memory, at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = EventMachine({1: 1, 2: 1})
        self.guest = self.machine.guests[1]
        self.events, self.peer = self.guest.events, self.machine.guests[2].events
        self.domain.events = self.events

    def op(self, command: int, struct: bytes, at: int = 64) -> int:
        self.memory[at : at + len(struct)] = struct
        return self.call(Hypercall.event_channel_op, command, at)

    def answer(self, layout: Any, at: int = 64) -> Any:
        return layout.unpack(self.memory, at)


@pytest.fixture
def vcpu() -> FakeVcpu:
    return FakeVcpu()


def test_the_new_port_is_written_back(vcpu: FakeVcpu) -> None:
    struct = EVTCHN_ALLOC_UNBOUND.pack(EvtchnAllocUnbound(DomId.SELF, 2, 99))
    assert vcpu.op(EvtchnOp.alloc_unbound, struct) == 0
    assert vcpu.answer(EVTCHN_ALLOC_UNBOUND) == EvtchnAllocUnbound(DomId.SELF, 2, 1)


def test_a_channel_is_made_used_and_closed(vcpu: FakeVcpu) -> None:
    offered = vcpu.peer.alloc_unbound(DomId.SELF, 1)
    struct = EVTCHN_BIND_INTERDOMAIN.pack(EvtchnBindInterdomain(2, offered, 0))
    assert vcpu.op(EvtchnOp.bind_interdomain, struct) == 0
    local = vcpu.answer(EVTCHN_BIND_INTERDOMAIN).local_port
    port = local.to_bytes(4, "little")
    assert vcpu.op(EvtchnOp.send, port) == 0
    assert vcpu.peer.is_pending(offered)
    assert vcpu.op(EvtchnOp.unmask, port) == 0
    assert vcpu.op(EvtchnOp.bind_vcpu, port + bytes(4)) == 0
    assert vcpu.op(EvtchnOp.close, port) == 0
    assert vcpu.op(EvtchnOp.close, port) == -Errno.EINVAL
    assert vcpu.op(EvtchnOp.reset, int(DomId.SELF).to_bytes(2, "little")) == 0


@pytest.mark.parametrize(
    "kind", [EvtchnStat.closed, EvtchnStat.unbound, EvtchnStat.interdomain, EvtchnStat.virq]
)
def test_status_sets_the_part_of_the_union_that_it_means(vcpu: FakeVcpu, kind: EvtchnStat) -> None:
    port, union = 5, b"\xaa" * 8
    if kind is EvtchnStat.unbound:
        port, union = vcpu.events.alloc_unbound(1, 0x234), b"\x34\x02" + b"\xaa" * 6
    elif kind is EvtchnStat.interdomain:
        offered = vcpu.peer.alloc_unbound(2, 1)
        port, union = vcpu.events.bind_interdomain(2, offered), b"\x02\0\0\0\x01\0\0\0"
    elif kind is EvtchnStat.virq:
        port, union = vcpu.events.bind_virq(Virq.CONSOLE, 0), b"\x02\0\0\0" + b"\xaa" * 4
    struct = EVTCHN_STATUS.pack(EvtchnStatus(DomId.SELF, port, 77, 77, b"\xaa" * 8))
    assert vcpu.op(EvtchnOp.status, struct) == 0
    assert vcpu.answer(EVTCHN_STATUS) == EvtchnStatus(DomId.SELF, port, kind, 0, union)


def test_virtual_and_physical_interrupts(vcpu: FakeVcpu) -> None:
    struct = EVTCHN_BIND_VIRQ.pack(EvtchnBindVirq(Virq.TIMER, 0, 0))
    assert vcpu.op(EvtchnOp.bind_virq, struct) == 0
    assert vcpu.answer(EVTCHN_BIND_VIRQ).port == 1
    assert vcpu.op(EvtchnOp.bind_virq, struct) == -Errno.EEXIST
    assert vcpu.op(EvtchnOp.bind_ipi, bytes(8)) == 0
    assert vcpu.op(EvtchnOp.bind_pirq, bytes(12)) == -Errno.EPERM
    assert all(vcpu.refusals)


def test_the_fifo_abi_is_set_up(vcpu: FakeVcpu) -> None:
    assert vcpu.op(EvtchnOp.expand_array, bytes(8)) == -Errno.EOPNOTSUPP
    assert vcpu.op(EvtchnOp.set_priority, bytes(8)) == -Errno.ENOSYS
    asked = EvtchnInitControl(vcpu.guest.mfns[0], 72, 0, 0, (0,) * 7)
    assert vcpu.op(EvtchnOp.init_control, EVTCHN_INIT_CONTROL.pack(asked)) == 0
    assert vcpu.answer(EVTCHN_INIT_CONTROL) == asked._replace(link_bits=17)
    page = EVTCHN_EXPAND_ARRAY.pack(EvtchnExpandArray(vcpu.guest.mfns[2]))
    assert vcpu.op(EvtchnOp.expand_array, page) == 0
    port = vcpu.events.bind_ipi(0)
    priority = EVTCHN_SET_PRIORITY.pack(EvtchnSetPriority(port, 3))
    assert vcpu.op(EvtchnOp.set_priority, priority) == 0
    assert vcpu.events.priority(port) == 3


def test_frames_beyond_the_machine_are_no_pages_of_the_fifo_abi(vcpu: FakeVcpu) -> None:
    for gfn in (1 << 52, (1 << 64) - 1, 1 << 32, vcpu.guest.shared_info >> 12 << 20):
        asked = EvtchnInitControl(gfn, 0, 0, 0, (0,) * 7)
        assert vcpu.op(EvtchnOp.init_control, EVTCHN_INIT_CONTROL.pack(asked)) == -Errno.EINVAL
    assert not vcpu.events.uses_fifo


def test_unknown_commands_and_bad_pointers(vcpu: FakeVcpu) -> None:
    assert vcpu.op(99, b"") == -Errno.ENOSYS
    for command in EvtchnOp:
        assert vcpu.call(Hypercall.event_channel_op, command, UNMAPPED) == -Errno.EFAULT


def test_the_old_form_finds_its_struct_after_the_command(vcpu: FakeVcpu) -> None:
    union = EVTCHN_ALLOC_UNBOUND.pack(EvtchnAllocUnbound(DomId.SELF, 2, 0)).ljust(24, b"\0")
    vcpu.memory[64 : 64 + EVTCHN_OP.size] = EVTCHN_OP.pack(EvtchnOpCompat(EvtchnOp.alloc_unbound, union))
    assert vcpu.call(Hypercall.event_channel_op_compat, 64) == 0
    assert vcpu.answer(EVTCHN_ALLOC_UNBOUND, 68).port == 1
    vcpu.memory[64:68] = b"\x04\0\0\0"
    vcpu.memory[68:72] = b"\x01\0\0\0"
    assert vcpu.call(Hypercall.event_channel_op_compat, 64) == 0, "send to an unbound port is dropped"
    vcpu.memory[64:68] = b"\x0a\0\0\0"
    assert vcpu.call(Hypercall.event_channel_op_compat, 64) == -Errno.ENOSYS
    assert vcpu.call(Hypercall.event_channel_op_compat, UNMAPPED) == -Errno.EFAULT


def test_a_long_reset_is_preempted_and_asks_for_its_rest(vcpu: FakeVcpu) -> None:
    """Only the command changes, as Xen's continuation does: the struct is where it was."""
    many = EventMachine({1: 1}, max_port=131_071).guests[1]
    vcpu.domain.events = many.events
    many.use_fifo()
    for _ in range(20_000):
        many.events.bind_ipi(0)
    itself, command, entries = EVTCHN_RESET.pack(EvtchnReset(DomId.SELF)), int(EvtchnOp.reset), 0
    while many.events.uses_fifo:
        entries += 1
        try:
            assert vcpu.op(command, itself) == 0
        except Preempted as rest:
            (command,) = rest.arguments
    assert command == 14
    assert entries > 2
