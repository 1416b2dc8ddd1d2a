"""What an administrator asks of a kernel by its control nodes: shutdown, suspend and resume, SysRq keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane import Domain, DomainConfig, Image, Machine, ShutdownReason, StopReason, asm, load_image
from paravane.devices.xenstore import domain_path
from paravane.trace import DomainEvent, DomainRecord, Kind
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.trace import Record

MEMORY = 8 << 20


@pytest.fixture(scope="module")
def asked() -> Image:
    return load_image(asm.build([Path(__file__).with_name("asked.S")]))


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(MEMORY, MEMORY)) as made:
        yield made


def start(machine: Machine, image: Image, cmdline: str = "", vcpus: int = 1) -> Domain:
    """The guest, once it waits for what it is asked."""
    domain = machine.create(image, DomainConfig(memory=MEMORY, cmdline=cmdline, vcpus=vcpus))
    assert run(machine) is StopReason.STALLED
    assert printed(domain) == "ready\n"
    return domain


def run(machine: Machine) -> StopReason:
    return machine.run(timeout=HOST_TIMEOUT).reason


def printed(domain: Domain) -> str:
    return domain.console_output().decode()


def node(machine: Machine, domain: Domain, name: str) -> bytes | None:
    return machine.store.find(f"{domain_path(domain.domid)}/{name}")


def test_a_request_is_taken_by_emptying_its_node(machine: Machine, asked: Image) -> None:
    domain = start(machine, asked)
    machine.reboot(domain)
    assert node(machine, domain, "control/shutdown") == b"reboot"
    assert run(machine) is StopReason.DONE
    assert printed(domain) == "ready\nasked: reboot\n"
    assert node(machine, domain, "control/shutdown") == b""
    assert domain.reason is ShutdownReason.reboot


def test_a_request_that_nobody_takes_is_withdrawn(machine: Machine, asked: Image) -> None:
    domain = start(machine, asked, "deaf")
    machine.suspend(domain)
    assert run(machine) is StopReason.STALLED
    assert node(machine, domain, "control/shutdown") == b"suspend"
    assert machine.withdraw(domain)
    assert node(machine, domain, "control/shutdown") == b""
    assert not machine.withdraw(domain), "there is nothing to take back"


def test_sysrq_keys_arrive_one_by_one(machine: Machine, asked: Image) -> None:
    domain = start(machine, asked)
    for letter in "h9":
        machine.sysrq(domain, letter)
        assert run(machine) is StopReason.STALLED
        assert node(machine, domain, "control/sysrq") == b""
    assert printed(domain) == "ready\nsysrq: h\nsysrq: 9\n"
    for wrong in ("", "hh", " ", "\n", "\x7f", "é"):
        with pytest.raises(ValueError, match="a SysRq key is one letter or digit"):
            machine.sysrq(domain, wrong)
    machine.shutdown(domain)
    assert run(machine) is StopReason.DONE
    with pytest.raises(ValueError, match="has ended already: poweroff"):
        machine.sysrq(domain, "h")


@pytest.mark.parametrize(("cmdline", "taken"), [("", "asked: suspend\n"), ("event channel", "rung\n")])
def test_a_guest_suspends_itself_and_goes_on(
    machine: Machine, asked: Image, cmdline: str, taken: str
) -> None:
    """Twice: what it has goes on as well, its watches and its port."""
    domain = start(machine, asked, cmdline)
    expected = "ready\n"
    for _ in range(2):
        machine.suspend(domain)
        assert run(machine) is StopReason.DONE
        assert domain.reason is ShutdownReason.suspend
        assert machine.domains[domain.domid] is domain, "it stays"
        assert printed(domain) == (expected := expected + taken)
        machine.resume(domain)
        assert domain.alive
        assert run(machine) is StopReason.STALLED
        assert printed(domain) == (expected := expected + "goes on: 1\n")
    assert machine.audit() == []


@pytest.mark.parametrize("value", ["", "nothing", "0", "-1", "1", "4095", "4294967296", "9" * 5000])
def test_a_port_that_is_none_is_not_rung(machine: Machine, asked: Image, value: str) -> None:
    """It is asked by its node instead. Port 1 is xenstore's."""
    domain = start(machine, asked)
    machine.store.write(f"{domain_path(domain.domid)}/device/suspend/event-channel", value)
    machine.suspend(domain)
    assert node(machine, domain, "control/shutdown") == b"suspend"
    assert run(machine) is StopReason.DONE
    assert domain.reason is ShutdownReason.suspend


def test_only_a_suspended_domain_is_resumed(machine: Machine, asked: Image) -> None:
    domain = start(machine, asked)
    with pytest.raises(ValueError, match="guest is not suspended"):
        machine.resume(domain)
    machine.shutdown(domain)
    assert run(machine) is StopReason.DONE
    with pytest.raises(ValueError, match="guest is not suspended"):
        machine.resume(domain)
    with pytest.raises(ValueError, match="has ended already: poweroff"):
        machine.suspend(domain)


def test_whoever_waits_for_ends_hears_of_each(machine: Machine, asked: Image) -> None:
    domain, heard, told = start(machine, asked), list[str](), list[DomainEvent]()
    machine.store.watch("@releaseDomain", heard.append)
    heard.clear()
    machine.trace.subscribe(
        lambda record: told.append(record.event) if isinstance(record, DomainRecord) else None, (Kind.DOMAIN,)
    )
    for ends in (1, 2):
        machine.suspend(domain)
        run(machine)
        assert heard.count("@releaseDomain") == ends
        machine.resume(domain)
        run(machine)
    assert told == [DomainEvent.ENDED, DomainEvent.RESUMED] * 2


def test_a_domain_is_not_resumed_in_the_midst_of_its_hypercall(machine: Machine, asked: Image) -> None:
    domain, refusals = start(machine, asked), list[str]()

    def resume(record: Record) -> None:
        if isinstance(record, DomainRecord) and record.event is DomainEvent.ENDED:
            with pytest.raises(ValueError, match="is still in the hypercall that suspends it") as refused:
                machine.resume(domain)
            refusals.append(str(refused.value))

    machine.trace.subscribe(resume, (Kind.DOMAIN,))
    machine.suspend(domain)
    assert run(machine) is StopReason.DONE
    assert len(refusals) == 1
    machine.resume(domain)
    run(machine)
    assert printed(domain) == "ready\nasked: suspend\ngoes on: 1\n"


def test_others_run_while_one_is_suspended(machine: Machine, asked: Image) -> None:
    sleeper, other = start(machine, asked), machine.create(asked, DomainConfig(name="other", memory=MEMORY))
    machine.suspend(sleeper)
    assert run(machine) is StopReason.STALLED
    assert sleeper.reason is ShutdownReason.suspend
    machine.sysrq(other, "t")
    assert run(machine) is StopReason.STALLED
    assert printed(other) == "ready\nsysrq: t\n"
    machine.pause(sleeper)
    machine.resume(sleeper)
    assert run(machine) is StopReason.STALLED
    assert printed(sleeper) == "ready\nasked: suspend\n", "its administrator keeps it from running"
    machine.unpause(sleeper)
    run(machine)
    assert printed(sleeper) == "ready\nasked: suspend\ngoes on: 1\n"


def test_a_watchdog_goes_on_but_for_one_that_would_have_gone_off(machine: Machine, asked: Image) -> None:
    domain = start(machine, asked)
    early, late = domain.watchdogs.set(0, 5), domain.watchdogs.set(0, 60)
    machine.suspend(domain)
    assert run(machine) is StopReason.DONE
    machine.platform.clock.ran(10_000_000_000)
    machine.resume(domain)
    armed = [
        name for name, _ in machine.platform.timers.armed() if "watchdog 1" in name or "watchdog 2" in name
    ]
    assert len(armed) == 1
    domain.watchdogs.set(early, 0)  # in use for its guest, as it was
    assert run(machine) is StopReason.DONE
    assert domain.reason is ShutdownReason.watchdog
    assert late == 2
