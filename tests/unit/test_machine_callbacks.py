"""Sinks, subscribers and posts that destroy domains, close the machine or raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import (
    DomainConfig,
    Image,
    Machine,
    ShutdownReason,
    StopReason,
)
from paravane.trace import Kind
from tests.support.boot import HOST_TIMEOUT
from tests.support.small_machines import MEMORY, PRINTER, SPIN, image

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.domain import Domain

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("where", ["sink", "trace", "post"])
def test_a_domain_can_be_destroyed_from_inside_a_run(hello: Image, where: str) -> None:
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        outputs: list[bytes] = []

        def destroy(_: object = None) -> None:
            machine.destroy(domain)
            machine.destroy(domain)

        def sink(data: bytes) -> None:
            outputs.append(data)
            if where == "sink":
                destroy()

        if where == "trace":
            machine.trace.subscribe(destroy, (Kind.HYPERCALL,))
        free = machine.platform.memory.nr_free
        domain = machine.create(image(PRINTER), DomainConfig(memory=MEMORY, sink=sink))
        if where == "post":
            machine.post(destroy)
        other = machine.create(hello, DomainConfig(memory=MEMORY))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert other.reason is ShutdownReason.poweroff
        assert list(machine.domains.values()) == [other]
        assert len(outputs) <= 2, "it printed once, and what was left in its ring"
        machine.destroy(other)
        shared = len(machine.platform.memory.m2p_tables(other.memory.space))
        assert machine.platform.memory.nr_free == free - shared
        assert machine.audit() == []


@pytest.mark.parametrize("where", ["sink", "trace", "post"])
def test_a_machine_can_be_closed_from_inside_a_run(where: str) -> None:
    machine = Machine(Machine.size_for(MEMORY))

    def close(_: object = None) -> None:
        machine.close()
        machine.close()

    if where == "trace":
        machine.trace.subscribe(close, (Kind.HYPERCALL,))
    sink = close if where == "sink" else None
    machine.create(image(PRINTER), DomainConfig(memory=MEMORY, sink=sink))
    if where == "post":
        machine.post(close)
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    assert machine.domains == {}
    with pytest.raises(ValueError, match="closed"):
        machine.run()


def test_a_sink_that_destroys_its_domain_while_that_is_closed_changes_nothing(hello: Image) -> None:
    machine = Machine(Machine.size_for(MEMORY))
    domain = machine.create(hello, DomainConfig(memory=MEMORY, sink=lambda _: machine.destroy(domain)))
    machine.run(timeout=HOST_TIMEOUT)
    machine.close()
    assert machine.domains == {}


class OutsideError(Exception):
    """What the sinks and subscribers of these tests raise."""


def _fail(_: object) -> None:
    raise OutsideError


def _with_output(machine: Machine, *sinks: Callable[[bytes], int | None]) -> list[Domain]:
    """A domain for each sink, with output in its console that the sink has not been offered yet."""
    holding = True

    def held(sink: Callable[[bytes], int | None]) -> Callable[[bytes], int | None]:
        def offer(data: bytes) -> int | None:
            if not holding:
                return sink(data)
            machine.interrupt()
            return 0

        return offer

    kernel = image(PRINTER)
    domains = [machine.create(kernel, DomainConfig(memory=MEMORY, sink=held(sink))) for sink in sinks]
    while not all(domain.console.waiting for domain in domains):
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    holding = False
    return domains


def test_a_sink_that_raises_for_the_last_words_too_leaves_a_machine_that_runs_and_closes(
    hello: Image,
) -> None:
    machine = Machine(Machine.size_for(MEMORY))

    def sink(_: bytes) -> None:
        machine.destroy(domain)
        raise OutsideError

    domain = machine.create(image(PRINTER), DomainConfig(memory=MEMORY, sink=sink))
    with pytest.raises(OutsideError):
        machine.run(timeout=HOST_TIMEOUT)
    assert machine.domains == {}
    other = machine.create(hello, DomainConfig(memory=MEMORY))
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE, (
        "there is memory for another, and it can be run"
    )
    assert other.reason is ShutdownReason.poweroff
    assert machine.audit() == []
    machine.close()
    with pytest.raises(ValueError, match="closed"):
        machine.run()


def test_nothing_is_left_of_a_domain_whose_sink_raises_at_its_end(machine: Machine, hello: Image) -> None:
    machine.destroy(machine.create(hello, DomainConfig(memory=MEMORY)))
    free = machine.platform.memory.nr_free
    (domain,) = _with_output(machine, _fail)
    with pytest.raises(OutsideError):
        machine.destroy(domain)
    assert machine.domains == {}
    assert machine.platform.memory.nr_free == free
    assert machine._toolstack.store.find(f"/local/domain/{domain.domid}") is None
    assert machine.audit() == []


def test_all_that_were_destroyed_in_a_run_go_although_sinks_raise() -> None:
    with Machine(Machine.size_for(MEMORY, MEMORY, MEMORY)) as machine:
        domains = _with_output(machine, _fail, _fail, len)

        def destroy() -> None:
            for domain in domains:
                machine.destroy(domain)

        machine.post(destroy)
        with pytest.raises(OutsideError):
            machine.run(timeout=HOST_TIMEOUT)
        assert machine.domains == {}
        assert machine.audit() == []


def test_every_domain_and_the_memory_go_with_a_machine_although_sinks_raise() -> None:
    machine = Machine(Machine.size_for(MEMORY, MEMORY))
    domains = _with_output(machine, _fail, _fail)
    with pytest.raises(OutsideError):
        machine.close()
    assert all(not domain.vcpus for domain in domains)
    with pytest.raises(ValueError, match="released"):
        machine.platform.ram.read(0, 1)


def test_last_words_may_destroy_another_domain_and_close_the_machine() -> None:
    machine = Machine(Machine.size_for(MEMORY, MEMORY))
    other = machine.create(image(SPIN), DomainConfig(memory=MEMORY))

    def sink(data: bytes) -> int:
        machine.destroy(other)
        machine.close()
        return len(data)

    machine.destroy(*_with_output(machine, sink))
    assert machine.domains == {}
    assert not other.vcpus
    with pytest.raises(ValueError, match="closed"):
        machine.run()


def test_a_sink_may_destroy_every_domain_while_the_machine_is_closed() -> None:
    machine = Machine(Machine.size_for(MEMORY, MEMORY))

    def sink(data: bytes) -> int:
        for domain in domains:
            machine.destroy(domain)
        return len(data)

    domains = _with_output(machine, sink, sink)
    machine.close()
    assert all(not domain.vcpus for domain in domains)


def test_a_domain_that_a_subscriber_refuses_to_hear_of_leaves_nothing_behind(
    machine: Machine, hello: Image
) -> None:
    machine.destroy(machine.create(hello, DomainConfig(memory=MEMORY)))
    free = machine.platform.memory.nr_free
    machine.trace.subscribe(_fail, (Kind.DOMAIN,))
    with pytest.raises(OutsideError):
        machine.create(hello, DomainConfig(memory=MEMORY))
    assert machine.platform.memory.nr_free == free
    assert machine.audit() == []
