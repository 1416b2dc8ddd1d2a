"""Whatever three domains ask of their event channels, by whichever ABI, a simple model answers the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from paravane.abi.domid import DomId
from paravane.abi.event_channel import Virq
from paravane.refusal import Refusal
from tests.support.event_machine import MASKED, EventGuest, EventMachine
from tests.support.event_model import CREATED, DomainModel, ModelRefusalError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PORT = 9
VCPUS = {1: 2, 2: 1, 3: 3}

domids = st.sampled_from(list(VCPUS))
doms = st.sampled_from([1, 2, 3, int(DomId.SELF)]) | st.sampled_from([9, int(DomId.INVALID)])
ports = st.integers(1, MAX_PORT) | st.integers(1, MAX_PORT) | st.sampled_from([0, 10, 63, 64, 1 << 31])
vcpus = st.integers(0, 2) | st.sampled_from([3, 1 << 31])
picks = st.lists(st.integers(0, 20), min_size=1, max_size=4)
virqs = st.sampled_from([Virq.TIMER, Virq.DEBUG, Virq.CONSOLE, Virq.DOM_EXC, 23]) | st.just(24)


class Channels(RuleBasedStateMachine):
    """One machine of three domains; each rule is one request of one of them, or one thing its guest does."""

    @initialize(fifo=st.sets(domids), busy=st.sets(domids))
    def start(self, fifo: set[int], busy: set[int]) -> None:
        """The domains of `fifo` use that ABI from the beginning, those of `busy` have some ports."""
        self.machine = EventMachine(VCPUS, max_port=MAX_PORT)
        self.guests = self.machine.guests
        self.models: dict[int, DomainModel] = {}
        for domid, count in VCPUS.items():
            self.models[domid] = DomainModel(domid, count, MAX_PORT, self.models)
        for domid in fifo:
            self.use_fifo(domid)
        for domid in busy:
            self.both(domid, "bind_ipi", 0)
            self.both(domid, "bind_ipi", VCPUS[domid] - 1)
            self.both(domid, "alloc_unbound", domid, domid)
            self.both(domid, "bind_interdomain", domid, 3)
            self.both(domid, "bind_virq", Virq.CONSOLE, 0)

    def both(self, domid: int, name: str, *arguments: Any, real: tuple[Any, ...] | None = None) -> None:
        """The same request to both; the real one may take other arguments. Answers and errnos are equal."""
        guest, model = self.guests[domid], self.models[domid]
        asked = getattr(guest.events, name)
        expected = _answer(getattr(model, name), arguments, ModelRefusalError)
        assert _answer(asked, arguments if real is None else real, Refusal) == expected, (name, arguments)

    @rule(domid=domids, dom=doms, remote=doms)
    def alloc_unbound(self, domid: int, dom: int, remote: int) -> None:
        self.both(domid, "alloc_unbound", dom, remote)

    @rule(domid=domids, remote=domids)
    def offer(self, domid: int, remote: int) -> None:
        self.both(domid, "alloc_unbound", DomId.SELF, remote)

    @rule(domid=domids, dom=doms, port=ports)
    def bind_interdomain(self, domid: int, dom: int, port: int) -> None:
        self.both(domid, "bind_interdomain", dom, port)

    @rule(domid=domids, pick=st.integers(0, 1000))
    def bind_what_is_offered(self, domid: int, pick: int) -> None:
        offers = [
            (other.domid, port)
            for other in self.models.values()
            for port, bound in other.ports.items()
            if other.status(port).status == 1 and bound.dom == domid
        ]
        if offers:
            self.both(domid, "bind_interdomain", *offers[pick % len(offers)])

    @rule(domid=domids, virq=virqs, vcpu=vcpus)
    def bind_virq(self, domid: int, virq: int, vcpu: int) -> None:
        self.both(domid, "bind_virq", virq, vcpu)

    @rule(domid=domids, vcpu=vcpus)
    def bind_ipi(self, domid: int, vcpu: int) -> None:
        self.both(domid, "bind_ipi", vcpu)

    @rule(domid=domids, port=ports, vcpu=vcpus)
    def bind_vcpu(self, domid: int, port: int, vcpu: int) -> None:
        self.both(domid, "bind_vcpu", port, vcpu)

    @rule(domid=domids, port=ports)
    def close(self, domid: int, port: int) -> None:
        self.both(domid, "close", port)

    @rule(domid=domids, port=ports)
    def send(self, domid: int, port: int) -> None:
        self.both(domid, "send", port)

    @rule(domid=domids, picked=picks, priority=st.sampled_from([0, 7, 15]))
    def fire_with_priority(self, domid: int, picked: list[int], priority: int) -> None:
        """Ports that are in use get a priority, if there are any, and are sent through."""
        for port in self.used(domid, picked):
            self.both(domid, "set_priority", port, priority)
            self.both(domid, "send", port)

    @rule(domid=domids, picked=picks)
    def fire(self, domid: int, picked: list[int]) -> None:
        for port in self.used(domid, picked):
            self.both(domid, "send", port)

    @rule(domid=domids, picked=picks, vcpu=st.integers(0, 2))
    def close_and_bind(self, domid: int, picked: list[int], vcpu: int) -> None:
        """Ports that are in use are closed, after an event, and others are opened."""
        for port in self.used(domid, picked):
            self.both(domid, "send", port)
            self.both(domid, "close", port)
            self.both(domid, "bind_ipi", vcpu)

    def used(self, domid: int, picked: list[int]) -> list[int]:
        there = sorted(self.models[domid].ports)
        return list(dict.fromkeys(there[pick % len(there)] for pick in picked)) if there else []

    @rule(domid=domids, virq=virqs, vcpu=vcpus)
    def raise_virq(self, domid: int, virq: int, vcpu: int) -> None:
        self.both(domid, "raise_virq", virq, vcpu)

    @rule(domid=domids, port=ports)
    def unmask(self, domid: int, port: int) -> None:
        self.both(domid, "unmask", port)

    @rule(domid=domids, port=ports, priority=st.integers(0, 16))
    def set_priority(self, domid: int, port: int, priority: int) -> None:
        self.both(domid, "set_priority", port, priority)

    @rule(domid=domids, polled=st.lists(ports, max_size=3), pick=st.integers(0, 2))
    def poll(self, domid: int, polled: list[int], pick: int) -> None:
        self.both(domid, "poll", pick % VCPUS[domid], polled)

    @rule(domid=domids, vcpu=vcpus)
    def init_control(self, domid: int, vcpu: int) -> None:
        guest = self.guests[domid]
        if not guest.events.uses_fifo:
            guest.clear_fifo_pages()
        self.both(domid, "init_control", vcpu, real=(vcpu, guest.mfns[0], vcpu % 32 * 72))

    @rule(domid=domids)
    def expand_array(self, domid: int) -> None:
        """The first page is that of the event words, what follows is for ports that nobody has."""
        fifo = self.models[domid].fifo
        page = 3 if fifo is not None and fifo.has_page else 2
        self.both(domid, "expand_array", real=(self.guests[domid].mfns[page],))

    @rule(domid=domids)
    def use_fifo(self, domid: int) -> None:
        for vcpu in range(VCPUS[domid]):
            self.init_control(domid, vcpu)
        self.expand_array(domid)

    @rule(domid=domids, dom=doms)
    def reset(self, domid: int, dom: int) -> None:
        self.both(domid, "reset", dom, real=(dom, lambda: True))

    @rule(domid=domids)
    def restore(self, domid: int) -> None:
        if not self.models[domid].dying:
            self.guests[domid].restore()

    @rule(domid=st.just(3), sure=st.integers(0, 9))
    def destroy(self, domid: int, sure: int) -> None:
        if sure == 0:
            self.both(domid, "destroy")

    @rule(domid=domids, port=st.integers(1, MAX_PORT))
    def mask(self, domid: int, port: int) -> None:
        """A guest masks by a store of its own."""
        guest, model = self.guests[domid], self.models[domid]
        if model.fifo is None:
            guest.set_word("evtchn_mask", 0, guest.word("evtchn_mask", 0) | 1 << port)
            model.two_level.masked.add(port)
        elif model.fifo.has_page:
            guest.words[guest.at(port)] |= MASKED
            model.fifo.masked.add(port)

    @rule(domid=domids, pick=st.integers(0, 2))
    def handle(self, domid: int, pick: int) -> None:
        """A vcpu's upcall handler runs: it finds the same ports, in the same order."""
        guest, model, vcpu = self.guests[domid], self.models[domid], pick % VCPUS[domid]
        if model.fifo is None:
            assert sorted(guest.take_2l(vcpu)) == model.abi.take(vcpu)
        elif vcpu in model.fifo.blocks and model.fifo.has_page:
            assert guest.take_fifo(vcpu) == model.abi.take(vcpu)

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        for domid, guest in self.guests.items():
            model = self.models[domid]
            for port in range(MAX_PORT + 2):
                assert guest.events.status(domid, port) == model.status(port)
                assert guest.events.is_pending(port) == (port in model.abi.pending), (domid, port)
                assert guest.events.is_masked(port) == (port in model.abi.masked), (domid, port)
            self._vcpus_agree(guest, model)
        pages = sum(_pages(model) for model in self.models.values())
        assert self.machine.held >= pages

    @staticmethod
    def _vcpus_agree(guest: EventGuest, model: DomainModel) -> None:
        assert guest.woken == model.vcpus.woken
        due = {vcpu for vcpu in range(guest.nr_vcpus) if guest.events.upcall_due(vcpu)}
        assert due == model.vcpus.upcalls

    def teardown(self) -> None:
        for guest in self.guests.values():
            guest.events.destroy()
        assert self.machine.held == 0


def _answer(call: Callable[..., Any], arguments: tuple[Any, ...], refusal: type[Any]) -> Any:
    try:
        return call(*arguments)
    except refusal as refused:
        return refused.errno


def _pages(model: DomainModel) -> int:
    """Frames that are held for a domain, at least."""
    return 0 if model.fifo is None else len(model.fifo.blocks) + model.fifo.has_page


assert MAX_PORT < CREATED
TestEventChannels = Channels.TestCase
TestEventChannels.settings = settings(
    max_examples=120,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
