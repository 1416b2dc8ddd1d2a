"""A control domain with random requests about its domains, in any order: an errno or a success each time, a
machine whose books are right, and in the end all memory back. A failure names the seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, load_image
from paravane.abi.domctl import DomctlCmd
from paravane.abi.errno import Errno
from paravane.abi.event_channel import EvtchnOp
from paravane.abi.hypercall import Hypercall
from paravane.abi.memory import MemoryOp
from paravane.abi.mmu import MmuextCmd
from paravane.abi.sched import SchedOp
from paravane.preemption import Preempted
from tests.support.boot import HOST_TIMEOUT, kernel_image

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY = 4 << 20
CALLS = 600
FRAMES = 16
MOST_DOMAINS = 4
KERNEL = """
    .include "runtime.inc"
    XEN_NOTES
main:
    call yield
    jmp main
"""


class Control:
    """The control domain of a machine, which asks for this and that. Its buffers are pages of its own."""

    def __init__(self, machine: Machine, seed: int) -> None:
        self.chance = random.Random(seed)
        self.machine = machine
        image = load_image(kernel_image(KERNEL))
        self.domain = machine.create(image, DomainConfig(memory=MEMORY, privileged=True))
        machine.run(max_traps=20)
        self.vcpu = self.domain.vcpus[0]
        self.request = image.virt_base + 0x20_0000
        self.list = self.request + 0x1000
        self.context = self.request + 0x2000
        self.window = self.request + 0x10_0000

    def ask(self) -> None:
        """One request. Raises AssertionError unless it is answered as Xen answers."""
        number, *arguments = self.chance.choice(_REQUESTS)(self)
        try:
            result = self.vcpu.hypercall(number, (*arguments, *[0] * (6 - len(arguments))))
        except Preempted:
            return
        assert result is not None
        assert result >= 0 or Errno(-result)

    def dom(self) -> int:
        """Mostly the last domain that it made, or one that may be gone and have frames left."""
        last = max(self.machine.domains)
        return self.chance.choice([last, last, last, last, last - 1, self.chance.randrange(last + 2)])

    def frame(self) -> int:
        """One of those that were last populated, or any."""
        if self.chance.random() < 0.8:
            at = self.list + 4 * self.chance.randrange(FRAMES)
            return int.from_bytes(self.vcpu.host.copy_from_guest(at, 4), "little")
        return self.chance.randrange(self.machine.platform.memory.frames.nr_frames)

    def owner(self, mfn: int) -> int:
        """Whose it is, or mostly so."""
        frames = self.machine.platform.memory.frames
        owner = frames.owner[mfn] if mfn < frames.nr_frames else 0
        return owner if owner <= max(self.machine.domains) and self.chance.random() < 0.9 else self.dom()

    def small(self) -> int:
        return self.chance.choice([0, 0, 1, 1, 2, 3, 4, 5])

    def nr_vcpus(self) -> int:
        return self.chance.choice([1, 3])

    def put(self, at: int, *words: int) -> int:
        data = b"".join((word & 0xFFFF_FFFF).to_bytes(4, "little") for word in words)
        self.vcpu.host.copy_to_guest(at, data)
        return at

    def domctl(self, command: DomctlCmd, *words: int) -> tuple[int, ...]:
        dom = 0 if command is DomctlCmd.createdomain else self.dom()
        rest = [0] * (32 - len(words))
        return Hypercall.domctl, self.put(self.request, command, 0x15, dom, 0, *words, *rest)

    def create(self) -> tuple[int, ...]:
        handle_and_flags, sizes = [0] * 7, [self.nr_vcpus(), 1023, -1, -1, 1]
        if len(self.machine.domains) > MOST_DOMAINS:
            return self.domctl(DomctlCmd.destroydomain)
        return self.domctl(DomctlCmd.createdomain, *handle_and_flags, *sizes)

    def extents(self, command: MemoryOp) -> tuple[int, ...]:
        self.put(self.list, *(self.frame() for _ in range(FRAMES)))
        self.put(self.request, self.list, self.chance.randrange(FRAMES), 0, 0, self.dom())
        return Hypercall.memory_op, command, self.request

    def map(self) -> tuple[int, ...]:
        mfn = self.frame()
        entry = self.chance.choice([0, mfn << 12 | 0x65, mfn << 12 | 0x65, mfn << 12 | 0x67])
        page = self.window + 0x1000 * self.chance.randrange(8)
        owner = self.owner(mfn)
        return Hypercall.update_va_mapping_otherdomain, page, entry & 0xFFFF_FFFF, entry >> 32, 2, owner

    def pin(self) -> tuple[int, ...]:
        command = self.chance.choice([MmuextCmd.PIN_L1_TABLE, MmuextCmd.PIN_L3_TABLE, MmuextCmd.UNPIN_TABLE])
        mfn = self.frame()
        return Hypercall.mmuext_op, self.put(self.request, command, mfn, 0), 1, 0, self.owner(mfn)

    def channel(self, command: EvtchnOp) -> tuple[int, ...]:
        words = self.small(), self.small(), 0, 0
        if command is EvtchnOp.alloc_unbound:
            words = self.dom(), 0, 0, 0
        elif command in (EvtchnOp.bind_interdomain, EvtchnOp.reset):
            words = self.dom(), self.small(), 0, 0
        return Hypercall.event_channel_op, command, self.put(self.request, *words)

    def end(self) -> tuple[int, ...]:
        request = self.put(self.request, self.chance.choice([1, 2, 3]), self.small())
        return Hypercall.sched_op, SchedOp.remote_shutdown, request


def _domctl(command: DomctlCmd, *words: Callable[[Control], int]) -> Callable[[Control], tuple[int, ...]]:
    return lambda control: control.domctl(command, *(word(control) for word in words))


_PLAIN = (DomctlCmd.destroydomain, DomctlCmd.pausedomain, DomctlCmd.unpausedomain, DomctlCmd.getdomaininfo)
_CHANNELS = (
    *(EvtchnOp.alloc_unbound, EvtchnOp.bind_interdomain, EvtchnOp.send, EvtchnOp.close, EvtchnOp.reset),
    *(EvtchnOp.alloc_unbound, EvtchnOp.bind_interdomain, EvtchnOp.send, EvtchnOp.status, EvtchnOp.unmask),
    *(EvtchnOp.bind_virq, EvtchnOp.bind_vcpu),
)
_REQUESTS: tuple[Callable[[Control], tuple[int, ...]], ...] = (
    *([Control.create] * 3),
    *(_domctl(command) for command in (*_PLAIN, DomctlCmd.unpausedomain, DomctlCmd.resumedomain)),
    *([_domctl(DomctlCmd.max_vcpus, Control.nr_vcpus)] * 2),
    *([_domctl(DomctlCmd.max_mem, lambda _: 8 * FRAMES)] * 3),
    _domctl(DomctlCmd.getvcpuinfo, Control.small),
    *([_domctl(DomctlCmd.getvcpucontext, Control.small, lambda _: 0, lambda control: control.context)] * 2),
    *([_domctl(DomctlCmd.setvcpucontext, Control.small, lambda _: 0, lambda control: control.context)] * 2),
    _domctl(DomctlCmd.setvcpucontext, Control.small),
    _domctl(DomctlCmd.hypercall_init, Control.frame),
    _domctl(DomctlCmd.getpageframeinfo3, lambda _: FRAMES, lambda _: 0, lambda control: control.list),
    *([lambda control: control.extents(MemoryOp.populate_physmap)] * 3),
    lambda control: control.extents(MemoryOp.decrease_reservation),
    *([Control.map] * 6),
    *([Control.pin] * 3),
    *((lambda control, command=command: control.channel(command)) for command in _CHANNELS),
    Control.end,
)


def _machine() -> Machine:
    return Machine(Machine.size_for(MEMORY, MEMORY, privileged=True))


@pytest.mark.parametrize("seed", range(3))
def test_random_requests_of_a_control_domain_end_in_errnos(seed: int) -> None:
    with _machine() as machine:
        machine.destroy(Control(machine, seed).domain)
        free = machine.platform.memory.nr_free
    with _machine() as machine:
        control = Control(machine, seed)
        machine.create(control.domain.image, DomainConfig(memory=MEMORY, vcpus=3))
        for call in range(CALLS):
            control.ask()
            if control.chance.random() < 0.1:
                machine.run(max_traps=1, timeout=HOST_TIMEOUT)
            if call % 100 == 0:
                assert machine.audit() == []
        for domain in reversed(list(machine.domains.values())):
            machine.destroy(domain)
        assert machine.audit() == []
        assert machine.platform.memory.nr_free == free
