"""What an administrator does to domains, and what becomes of those that end: guests show it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane import (
    Action,
    DomainConfig,
    Image,
    Kind,
    Machine,
    OnEnd,
    ShutdownReason,
    StopReason,
    asm,
    guest_kernels,
    load_image,
)
from paravane.devices.xenstore import domain_path
from paravane.domain import MOST_PAUSES
from paravane.lives import QUICK_LIFE, QUICK_LIVES
from paravane.sched import Credit
from paravane.toolstack import SLACK_PAGES
from tests.support.boot import HOST_TIMEOUT
from tests.support.small_machines import MEMORY, SPIN, image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane import DomainRecord, Record
    from paravane.domain import Domain

SLEEPER = """
    .include "runtime.inc"
    XEN_NOTES sleeper
    .text
main:
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    PRINT "woken\\n"
    ret
    .data
    .balign 8
poll:                               # no port, for an hour
    .long 0, 0
    .quad 3600000000000
    .text
"""
READY = b"ready\n"


@pytest.fixture(scope="module")
def obedient() -> Image:
    return load_image(asm.build([Path(__file__).parent / "obedient.S"]))


@pytest.fixture(scope="module")
def hello() -> Image:
    return load_image(asm.build(guest_kernels.load("hello").sources))


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(*[MEMORY] * 3)) as made:
        yield made


def config(name: str = "guest", cmdline: str = "", /, **on_end: Action) -> DomainConfig:
    return DomainConfig(name=name, memory=MEMORY, cmdline=cmdline, on_end=OnEnd(**on_end))


def run(machine: Machine) -> StopReason:
    reason = machine.run(timeout=HOST_TIMEOUT).reason
    assert machine.audit() == []
    return reason


def store_text(machine: Machine, domain: Domain, node: str) -> str:
    return machine.store.read(f"{domain_path(domain.domid)}/{node}").decode()


def built(machine: Machine) -> list[tuple[int, str]]:
    """Numbers and names of the domains that are built from now on."""
    found: list[tuple[int, str]] = []

    def note(record: Record) -> None:
        domain: DomainRecord = record  # type: ignore[assignment]
        if domain.event.value == "built":
            found.append((domain.domid, domain.domain_name))

    machine.trace.subscribe(note, (Kind.DOMAIN,))
    return found


def test_a_domain_that_is_created_paused_runs_when_it_is_unpaused(machine: Machine, hello: Image) -> None:
    domain = machine.create(hello, config(), paused=True)
    assert run(machine) is StopReason.STALLED
    assert domain.paused
    assert domain.console_output() == b""
    machine.unpause(domain)
    assert run(machine) is StopReason.DONE
    assert domain.console_output().startswith(b"hello from ring 1\n")


def test_pauses_are_counted(machine: Machine, hello: Image) -> None:
    domain = machine.create(hello, config())
    with pytest.raises(ValueError, match="guest is not paused"):
        machine.unpause(domain)
    machine.pause(domain)
    machine.pause(domain)
    machine.unpause(domain)
    assert run(machine) is StopReason.STALLED
    for _ in range(MOST_PAUSES - 1):
        machine.pause(domain)
    with pytest.raises(ValueError, match="paused 255 times already"):
        machine.pause(domain)
    for _ in range(MOST_PAUSES):
        machine.unpause(domain)
    assert run(machine) is StopReason.DONE


def test_a_running_guest_is_paused_and_the_others_go_on(machine: Machine, obedient: Image) -> None:
    spinner = machine.create(image(SPIN), config("spinner"))
    other = machine.create(obedient, config("other"))
    machine.post(lambda: machine.pause(spinner))
    assert run(machine) is StopReason.STALLED
    assert other.console_output() == READY
    machine.shutdown(other)
    assert run(machine) is StopReason.STALLED
    assert other.reason is ShutdownReason.poweroff
    assert spinner.alive


def test_virtual_time_does_not_run_away_from_a_paused_domain(machine: Machine) -> None:
    domain = machine.create(image(SLEEPER), config())
    machine.run(max_traps=1)
    machine.pause(domain)
    assert run(machine) is StopReason.STALLED
    assert machine.platform.clock.now() < 1_000_000_000
    machine.unpause(domain)
    assert run(machine) is StopReason.DONE
    assert machine.platform.clock.now() >= 3600 * 1_000_000_000
    assert domain.console_output() == b"woken\n"


@pytest.mark.parametrize("request_", ["shutdown", "reboot"])
def test_a_kernel_is_asked_to_end_through_xenstore(machine: Machine, obedient: Image, request_: str) -> None:
    domain = machine.create(obedient, config())
    assert run(machine) is StopReason.STALLED
    getattr(machine, request_)(domain)
    assert run(machine) is StopReason.DONE
    expected, word = {"shutdown": ("poweroff", "powers off"), "reboot": ("reboot", "reboots")}[request_]
    assert domain.reason is ShutdownReason[expected]
    assert domain.console_output() == READY + f"{word} as it is asked to\n".encode()
    with pytest.raises(ValueError, match="guest has ended already"):
        getattr(machine, request_)(domain)


def test_a_guest_that_reboots_is_built_anew(machine: Machine, obedient: Image) -> None:
    outputs: list[bytes] = []
    wanted = DomainConfig(
        name="phoenix", memory=MEMORY, sink=outputs.append, on_end=OnEnd(reboot=Action.RESTART)
    )
    first = machine.create(obedient, wanted)
    assert run(machine) is StopReason.STALLED
    machine.reboot(first)
    assert run(machine) is StopReason.STALLED, "the new one waits to be asked for something"
    second = machine.find("phoenix")
    assert second is not None
    assert (first.domid, second.domid) == (1, 2)
    assert first.reason is ShutdownReason.reboot
    assert list(machine.domains.values()) == [second]
    assert b"".join(outputs) == READY + b"reboots as it is asked to\n" + READY
    machine.shutdown(second)
    assert run(machine) is StopReason.DONE


@pytest.mark.parametrize(
    ("cmdline", "on_end"),
    [
        ("p", {"poweroff": Action.DESTROY}),
        ("r", {"reboot": Action.DESTROY}),
        ("c", {"crash": Action.DESTROY, "poweroff": Action.RESTART}),
    ],
)
def test_a_domain_that_ended_is_destroyed_if_so_wished(
    machine: Machine, obedient: Image, cmdline: str, on_end: dict[str, Action]
) -> None:
    free = machine.platform.memory.nr_free
    domain = machine.create(obedient, config("it", cmdline, **on_end))
    assert run(machine) is StopReason.DONE
    assert not machine.domains
    assert domain.reason is not None
    shared = len(machine.platform.memory.m2p_tables(domain.memory.space))
    assert machine.platform.memory.nr_free == free - shared


@pytest.mark.parametrize("cmdline", ["r", "c"])
def test_a_domain_that_ends_at_once_again_and_again_is_given_up(
    machine: Machine, obedient: Image, hello: Image, cmdline: str, caplog: pytest.LogCaptureFixture
) -> None:
    names = built(machine)
    machine.create(obedient, config("loop", cmdline, reboot=Action.RESTART, crash=Action.RESTART))
    other = machine.create(hello, config("other"))
    assert run(machine) is StopReason.DONE
    assert [name for _, name in names] == ["loop", "other", *["loop"] * (QUICK_LIVES - 1)]
    assert list(machine.domains.values()) == [other]
    assert other.reason is ShutdownReason.poweroff
    assert "loop is not restarted: it has ended 5 times in a row within 2 seconds of its start" in caplog.text


def test_lives_that_last_are_no_loop(machine: Machine, obedient: Image) -> None:
    names = built(machine)

    def grow_old(record: Record) -> None:
        domain: DomainRecord = record  # type: ignore[assignment]
        if domain.event.value == "shut down":
            machine.platform.clock.ran(QUICK_LIFE)
            if len(names) > QUICK_LIVES * 2:
                machine.interrupt()

    machine.trace.subscribe(grow_old, (Kind.DOMAIN,))
    machine.create(obedient, config("it", "r", reboot=Action.RESTART))
    assert run(machine) is StopReason.INTERRUPTED
    assert len(names) > QUICK_LIVES * 2


def test_a_domain_is_set_aside_and_built_anew_until_memory_ends(
    machine: Machine, obedient: Image, hello: Image, caplog: pytest.LogCaptureFixture
) -> None:
    machine.create(obedient, config("it", "c", crash=Action.RENAME_RESTART))
    machine.create(hello, config("other"))
    assert run(machine) is StopReason.DONE
    named = {domid: domain.name for domid, domain in machine.domains.items()}
    assert named == {1: "it-1", 2: "other", 3: "it-3", 4: "it-4"}
    assert [store_text(machine, machine.domains[domid], "name") for domid in named] == [*named.values()]
    assert "it is not restarted: a domain of 8 MiB does not fit into this machine" in caplog.text


def test_a_subscriber_that_raises_at_an_end_loses_no_restart(machine: Machine, obedient: Image) -> None:
    machine.create(obedient, config("it", reboot=Action.RESTART))
    assert run(machine) is StopReason.STALLED

    def fail(record: Record) -> None:
        domain: DomainRecord = record  # type: ignore[assignment]
        if domain.event.value == "destroyed":
            raise OSError("the disk is full")

    machine.trace.subscribe(fail, (Kind.DOMAIN,))
    machine.reboot(machine.domains[1])
    with pytest.raises(OSError, match="the disk is full"):
        run(machine)
    assert run(machine) is StopReason.STALLED
    assert [(domain.domid, domain.name) for domain in machine.domains.values()] == [(2, "it")]


def test_a_restart_keeps_the_name_and_the_size_that_the_domain_was_given_since(
    machine: Machine, obedient: Image
) -> None:
    machine.create(obedient, config("it", reboot=Action.RESTART))
    assert run(machine) is StopReason.STALLED
    first = machine.domains[1]
    machine.rename(first, "that")
    machine.set_memory(first, MEMORY // 2)
    machine.reboot(first)
    assert run(machine) is StopReason.STALLED
    second = machine.domains[2]
    assert (second.name, second.memory.tot_pages) == ("that", MEMORY // 2 >> 12)
    assert store_text(machine, second, "memory/static-max") == str(MEMORY >> 10)


def test_a_restart_keeps_the_share_and_the_vcpus_that_the_domain_was_given_since(
    machine: Machine, obedient: Image
) -> None:
    first = machine.create(obedient, replace(config("it", reboot=Action.RESTART), vcpus=3))
    assert run(machine) is StopReason.STALLED
    machine.set_share(first, weight=512)
    machine.set_vcpus(first, 2)
    machine.reboot(first)
    assert run(machine) is StopReason.STALLED
    second = machine.domains[2]
    assert (second.share.weight, len(second.vcpus)) == (512, 3)
    online = [store_text(machine, second, f"cpu/{at}/availability") for at in range(3)]
    assert online == ["online", "online", "offline"]


def test_a_share_is_changed_as_a_whole_or_not_at_all(machine: Machine, hello: Image) -> None:
    domain = machine.create(hello, config())
    machine.set_share(domain, weight=1)
    for wrong in ({"weight": 0}, {"weight": 2, "cap": -1}, {"weight": 2, "cap": 50}):
        with pytest.raises(ValueError, match="weight|cap"):  # bvt, the default policy, keeps no caps
            machine.set_share(domain, **wrong)
    assert (domain.share.weight, domain.share.cap) == (1, 0)
    with Machine(Machine.size_for(MEMORY), policy=Credit()) as other:
        capped = other.create(hello, config())
        other.set_share(capped, cap=50)
        assert (capped.share.weight, capped.share.cap) == (256, 50)


def test_a_name_belongs_to_one_domain(machine: Machine, hello: Image) -> None:
    first, second = (machine.create(hello, config(name)) for name in ("one", "two"))
    with pytest.raises(ValueError, match="another domain is called 'one' already"):
        machine.rename(second, "one")
    machine.rename(first, "uno")
    assert machine.find("one") is None
    assert machine.find("uno") is first
    assert store_text(machine, first, "name") == "uno"


def test_a_domain_is_asked_for_memory_and_bounded(machine: Machine) -> None:
    balloon = load_image(asm.build(guest_kernels.load("balloon").sources))
    domain = machine.create(balloon, DomainConfig(memory=MEMORY, max_memory=2 * MEMORY))
    assert store_text(machine, domain, "memory/static-max") == str(2 * MEMORY >> 10)
    with pytest.raises(ValueError, match="more than the 16384 KiB that guest may have"):
        machine.set_memory(domain, 3 * MEMORY)
    with pytest.raises(ValueError, match="guest is to have 8192 KiB, which is more than that"):
        machine.set_max_memory(domain, MEMORY // 2)
    for size in (0, -4096, 4097):
        with pytest.raises(ValueError, match="must be a positive multiple of 4096 bytes"):
            machine.set_memory(domain, size)
    with pytest.raises(ValueError, match="max_memory is at most 64 GiB"):
        machine.set_max_memory(domain, 1 << 80)
    machine.set_memory(domain, MEMORY + (1 << 20))
    assert store_text(machine, domain, "memory/target") == str((MEMORY >> 10) + 1024)
    assert run(machine) is StopReason.DONE
    limit = (MEMORY + (1 << 20) >> 12) + SLACK_PAGES
    assert domain.console_output().startswith(f"limit: {limit} pages".encode()), domain.console_output()


def test_a_limit_below_what_a_domain_has_lets_it_keep_that_and_take_no_more(machine: Machine) -> None:
    balloon = load_image(asm.build(guest_kernels.load("balloon").sources))
    domain = machine.create(balloon, DomainConfig(memory=MEMORY))
    machine.set_memory(domain, MEMORY // 2)
    assert domain.memory.tot_pages > domain.memory.max_pages
    assert run(machine) is StopReason.DONE
    assert domain.memory.tot_pages < MEMORY >> 12


def test_a_domain_of_another_machine_is_refused(machine: Machine, hello: Image) -> None:
    with Machine(Machine.size_for(MEMORY)) as other:
        stranger = other.create(hello, config())
        machine.create(hello, config())
        for verb in (machine.pause, machine.unpause, machine.shutdown, machine.reboot):
            with pytest.raises(ValueError, match="is not on this machine"):
                verb(stranger)
