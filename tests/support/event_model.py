"""What event channels should do, said as simply as can be: sets of ports, and lists for the queues.

Nothing here is fast or knows of bits and pages. It is held against the real thing, request by request.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Protocol

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.event_channel import NR_VIRQS, EvtchnFifoPriority, EvtchnStat, Virq
from paravane.events import Status

CREATED = 64
"""Ports that exist from the beginning; the models have no more."""

PER_VCPU = (Virq.TIMER, Virq.DEBUG, Virq.XENOPROF, Virq.XENPMU)


class ModelRefusalError(Exception):
    """A request that gets this errno."""

    def __init__(self, errno: Errno) -> None:
        super().__init__(errno)
        self.errno = errno


def check(condition: bool, errno: Errno) -> None:
    if not condition:
        raise ModelRefusalError(errno)


@dataclass
class Bound:
    """What a port is bound to. `dom`, `port`: the other end, or who may become it."""

    state: EvtchnStat
    vcpu: int = 0
    dom: int = 0
    port: int = 0
    virq: int = 0


class Abi(Protocol):
    pending: set[int]
    masked: set[int]

    def fire(self, port: int, vcpu: int) -> None: ...
    def unmask(self, port: int, vcpu: int) -> None: ...
    def take(self, vcpu: int) -> list[int]: ...
    def busy(self, port: int) -> bool: ...


@dataclass
class Vcpus:
    """Upcalls that are pending, who was woken, and who polls which ports."""

    upcalls: set[int] = field(default_factory=set)
    woken: list[int] = field(default_factory=list)
    polls: dict[int, int | None] = field(default_factory=dict)

    def raise_for(self, vcpu: int) -> None:
        if vcpu not in self.upcalls:
            self.upcalls.add(vcpu)
            self.woken.append(vcpu)

    def turned_pending(self, port: int) -> None:
        for vcpu, polled in list(self.polls.items()):
            if polled in (None, port):
                del self.polls[vcpu]
                self.woken.append(vcpu)


class TwoLevelModel:
    def __init__(self, vcpus: Vcpus) -> None:
        self.vcpus = vcpus
        self.pending: set[int] = set()
        self.masked: set[int] = set()
        self.selected: set[tuple[int, int]] = set()

    def fire(self, port: int, vcpu: int) -> None:
        if port not in self.pending:
            self.pending.add(port)
            if port not in self.masked:
                self._select(port, vcpu)
            self.vcpus.turned_pending(port)

    def unmask(self, port: int, vcpu: int) -> None:
        if port in self.masked:
            self.masked.remove(port)
            if port in self.pending:
                self._select(port, vcpu)

    def take(self, vcpu: int) -> list[int]:
        """A guest's upcall handler: the ports it finds."""
        self.vcpus.upcalls.discard(vcpu)
        words = {word for owner, word in self.selected if owner == vcpu}
        self.selected -= {(vcpu, word) for word in words}
        found = sorted(port for port in self.pending - self.masked if port // 32 in words)
        self.pending -= set(found)
        return found

    def busy(self, port: int) -> bool:
        return False

    def _select(self, port: int, vcpu: int) -> None:
        if (vcpu, port // 32) not in self.selected:
            self.selected.add((vcpu, port // 32))
            self.vcpus.raise_for(vcpu)


class FifoModel:
    def __init__(self, vcpus: Vcpus, late: set[int]) -> None:
        self.vcpus = vcpus
        self.late = late
        self.blocks: set[int] = set()
        self.has_page = False
        self.pending: set[int] = set()
        self.masked = set(range(CREATED))
        """Those without an event word count as masked."""
        self.priorities: dict[int, int] = defaultdict(lambda: int(EvtchnFifoPriority.DEFAULT))
        self.queues: dict[tuple[int, int], list[int]] = defaultdict(list)

    def add_page(self) -> None:
        self.has_page, self.masked = True, set()

    def fire(self, port: int, vcpu: int) -> None:
        if not self.has_page:
            self.late.add(port)
        elif vcpu in self.blocks:
            first_time = port not in self.pending
            self.pending.add(port)
            self._link(port, vcpu)
            if first_time:
                self.vcpus.turned_pending(port)

    def unmask(self, port: int, vcpu: int) -> None:
        if self.has_page:
            self.masked.discard(port)
            if port in self.pending and vcpu in self.blocks:
                self._link(port, vcpu)

    def take(self, vcpu: int) -> list[int]:
        """A guest's upcall handler: the ports it finds, the most urgent first."""
        self.vcpus.upcalls.discard(vcpu)
        found = []
        for priority in range(16):
            for port in self.queues.pop((vcpu, priority), []):
                if port in self.pending and port not in self.masked:
                    self.pending.remove(port)
                    found.append(port)
        return found

    def busy(self, port: int) -> bool:
        return any(port in queue for queue in self.queues.values())

    def _link(self, port: int, vcpu: int) -> None:
        if port not in self.masked and not self.busy(port):
            queue = self.queues[vcpu, self.priorities[port]]
            queue.append(port)
            if len(queue) == 1:
                self.vcpus.raise_for(vcpu)


class DomainModel:
    """One domain's ports. Every method raises ModelRefusalError where the real one refuses."""

    def __init__(self, domid: int, nr_vcpus: int, max_port: int, domains: dict[int, DomainModel]) -> None:
        self.domid, self.nr_vcpus, self.max_port, self.domains = domid, nr_vcpus, max_port, domains
        self.ports: dict[int, Bound] = {}
        self.vcpus = Vcpus()
        self.two_level = TwoLevelModel(self.vcpus)
        self.late: set[int] = set()
        self.fifo: FifoModel | None = None
        self.dying = False

    @property
    def abi(self) -> Abi:
        return self.fifo or self.two_level

    def alloc_unbound(self, dom: int, remote: int) -> int:
        domain = self._named(dom)
        port = domain._free()
        check(domain is self, Errno.EPERM)
        return self._open(port, Bound(EvtchnStat.unbound, dom=self.domid if remote == DomId.SELF else remote))

    def bind_interdomain(self, dom: int, remote_port: int) -> int:
        remote, port = self._named(dom), self._free()
        other = remote.ports.get(remote_port)
        check(
            other is not None and other.state is EvtchnStat.unbound and other.dom == self.domid, Errno.EINVAL
        )
        assert other is not None
        self._open(port, Bound(EvtchnStat.interdomain, dom=remote.domid, port=remote_port))
        other.state, other.port = EvtchnStat.interdomain, port
        self.abi.fire(port, 0)
        return port

    def bind_virq(self, virq: int, vcpu: int) -> int:
        check(virq < NR_VIRQS and (virq in PER_VCPU or vcpu == 0), Errno.EINVAL)
        check(vcpu < self.nr_vcpus, Errno.ENOENT)
        check(self._virq_port(virq, vcpu) is None, Errno.EEXIST)
        return self._open(self._free(), Bound(EvtchnStat.virq, vcpu=vcpu, virq=virq))

    def bind_ipi(self, vcpu: int) -> int:
        check(vcpu < self.nr_vcpus, Errno.ENOENT)
        return self._open(self._free(), Bound(EvtchnStat.ipi, vcpu=vcpu))

    def bind_vcpu(self, port: int, vcpu: int) -> None:
        check(vcpu < self.nr_vcpus, Errno.ENOENT)
        bound = self.ports.get(port)
        check(
            bound is not None
            and bound.state is not EvtchnStat.ipi
            and not (bound.state is EvtchnStat.virq and bound.virq in PER_VCPU),
            Errno.EINVAL,
        )
        self.ports[port].vcpu = vcpu

    def close(self, port: int) -> None:
        bound = self.ports.get(port)
        check(bound is not None, Errno.EINVAL)
        assert bound is not None
        del self.ports[port]
        self.abi.pending.discard(port)
        if bound.state is EvtchnStat.interdomain:
            other = self.domains[bound.dom].ports.get(bound.port)
            if other is not None:  # not so when both ends are closed together
                other.state, other.dom, other.port = EvtchnStat.unbound, self.domid, 0

    def send(self, port: int) -> None:
        bound = self.ports.get(port)
        check(bound is not None and bound.state is not EvtchnStat.virq, Errno.EINVAL)
        assert bound is not None
        if bound.state is EvtchnStat.ipi:
            self.abi.fire(port, bound.vcpu)
        elif bound.state is EvtchnStat.interdomain:
            other = self.domains[bound.dom]
            other.abi.fire(bound.port, other.ports[bound.port].vcpu)

    def raise_virq(self, virq: int, vcpu: int) -> None:
        port = self._virq_port(virq, vcpu)
        if port is not None:
            self.abi.fire(port, self.ports[port].vcpu)

    def unmask(self, port: int) -> None:
        check(port < CREATED, Errno.EINVAL)
        if port in self.ports:
            self.abi.unmask(port, self.ports[port].vcpu)

    def poll(self, vcpu: int, ports: list[int]) -> bool:
        if vcpu in self.vcpus.upcalls:
            return False
        for port in ports:
            check(port in self.ports, Errno.EINVAL)
            if port in self.abi.pending:
                return False
        self.vcpus.polls[vcpu] = ports[0] if len(ports) == 1 else None
        return True

    def set_priority(self, port: int, priority: int) -> None:
        check(port < CREATED, Errno.EINVAL)
        check(self.fifo is not None, Errno.ENOSYS)
        assert self.fifo is not None
        check(port in self.ports, Errno.EACCES)
        check(priority <= EvtchnFifoPriority.MIN, Errno.EINVAL)
        self.fifo.priorities[port] = priority

    def init_control(self, vcpu: int) -> int:
        check(vcpu < self.nr_vcpus, Errno.ENOENT)
        if self.fifo is None:
            self.late |= self.two_level.pending
            self.fifo = FifoModel(self.vcpus, self.late)
        check(vcpu not in self.fifo.blocks, Errno.EINVAL)
        self.fifo.blocks.add(vcpu)
        return 17

    def expand_array(self) -> None:
        check(self.fifo is not None, Errno.EOPNOTSUPP)
        assert self.fifo is not None
        if not self.fifo.has_page:
            self.fifo.add_page()
            for port in sorted(self.late):
                self.fifo.fire(port, self.ports[port].vcpu if port in self.ports else 0)

    def reset(self, dom: int) -> bool:
        check(self._named(dom) is self, Errno.EPERM)
        for port in sorted(self.ports):
            self.close(port)
        self.fifo = None
        return True

    def destroy(self) -> None:
        self.dying = True
        self.reset(self.domid)

    def status(self, port: int) -> Status:
        bound = self.ports.get(port)
        if bound is None:
            return Status(EvtchnStat.closed)
        dom = bound.dom if bound.state in (EvtchnStat.unbound, EvtchnStat.interdomain) else 0
        return Status(bound.state, bound.vcpu, dom, bound.port, bound.virq)

    def _named(self, dom: int) -> DomainModel:
        number = self.domid if dom == DomId.SELF else dom
        check(number in self.domains, Errno.ESRCH)
        return self.domains[number]

    def _free(self) -> int:
        check(not self.dying, Errno.EINVAL)
        free = (
            port for port in range(1, self.max_port + 1) if port not in self.ports and not self.abi.busy(port)
        )
        port = next(free, None)
        check(port is not None, Errno.ENOSPC)
        assert port is not None
        return port

    def _open(self, port: int, bound: Bound) -> int:
        self.ports[port] = bound
        if self.fifo is not None:
            self.fifo.priorities.pop(port, None)
        return port

    def _virq_port(self, virq: int, vcpu: int) -> int | None:
        for port, bound in self.ports.items():
            own = bound.vcpu == vcpu or virq not in PER_VCPU
            if bound.state is EvtchnStat.virq and bound.virq == virq and own:
                return port
        return None
