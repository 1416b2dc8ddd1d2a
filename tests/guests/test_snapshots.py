"""Machines saved and restored: between policies, gateways and files, and what cannot be saved."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, HostClock, Machine, MachineBusyError, StopReason
from paravane.chosen import choose
from paravane.devices.block import Disk
from paravane.devices.console import parse_console
from paravane.devices.net import parse_rule
from paravane.devices.net.vif import parse_vif
from paravane.gateway.native import SWITCH
from paravane.sched import POLICIES, RoundRobin
from paravane.snapshot import SnapshotError
from paravane.together import Guest
from paravane.tools.screens import vfbs_of
from paravane.variation import Variation
from tests.support.boot import HOST_TIMEOUT, UNHINDERED
from tests.support.snapshots import Bench, finish

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.sched import Policy
    from paravane.time.clock import Clock

SMP = Bench(Guest("smp"))
SCREEN = vfbs_of(["vnc=0"])[0].devices
GUARDED = parse_vif("", rules=(parse_rule("drop in"),))
MIDDLE = 4_000_000
"""System time at which the vcpus of `smp` are in the middle of their work."""


def test_what_was_restored_is_saved_as_the_same_bytes() -> None:
    data = SMP.saved(MIDDLE)
    with Machine.restore(data) as machine:
        assert machine.platform.clock.now() >= MIDDLE
        assert machine.audit() == []
        assert machine.save() == data


def test_the_saved_machine_goes_on_as_the_restored_one() -> None:
    with SMP.machine() as machine:
        assert machine.run(timeout=HOST_TIMEOUT, until=MIDDLE).reason is StopReason.TIME
        assert machine.platform.clock.now() >= MIDDLE
        restored = finish(Machine.restore(machine.save()))
        assert finish(machine) == restored


@pytest.mark.parametrize(("policy", "seed"), [(policy, 5 * (policy != "credit")) for policy in POLICIES])
def test_every_policy_goes_on_where_it_was(policy: str, seed: int) -> None:
    """With a seed, turns are of chance."""
    bench = Bench(Guest("smp"), seed=seed, policy=policy)
    whole = bench.alone()
    assert finish(Machine.restore(bench.saved(whole.now // 2))) == whole


VARIATIONS = {
    "jitter": (Guest("smp"), 5, Variation(jitter=100_000, decisions=30), (0.01, 0.1, 0.5)),
    "slow disk": (Guest("block", devices=(Disk(memory=1 << 20),)), 17, Variation(faults=("disk",)), (0.93,)),
    "faults": (Guest("shortage"), 3, Variation(faults=("memory", "grants"), most_faults=3), (0.3, 0.8)),
}


@pytest.mark.parametrize("name", VARIATIONS)
def test_what_a_seed_decides_it_goes_on_deciding(name: str) -> None:
    guest, seed, variation, places = VARIATIONS[name]
    bench = Bench(guest, seed=seed, variation=variation)
    whole = bench.alone()
    for place in places:
        with bench.machine() as machine:
            machine.run(timeout=HOST_TIMEOUT, until=int(whole.now * place))
            data = machine.save()
            restored = Machine.restore(data)
            assert restored.save() == data
            assert (restored.nr_faults, restored.decisions) == (machine.nr_faults, machine.decisions)
            assert restored.first_faults == machine.first_faults
        assert finish(restored) == whole


def test_a_run_that_traps_have_ended_is_restored_as_it_goes_on() -> None:
    bench = Bench(Guest("events"))
    with bench.machine() as machine:
        assert machine.run(max_traps=40, timeout=HOST_TIMEOUT).reason is StopReason.TRAPS
        restored = finish(Machine.restore(machine.save()), UNHINDERED)
        assert finish(machine, UNHINDERED) == restored


@pytest.mark.parametrize("first", ["python", "c"])
def test_a_snapshot_is_restored_with_another_gateway(
    first: str, native: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = ["0", str(native)] if first == "python" else [str(native), "0"]
    whole = SMP.alone()
    monkeypatch.setenv(SWITCH, ways[0])
    data = SMP.saved(MIDDLE)
    monkeypatch.setenv(SWITCH, ways[1])
    assert finish(Machine.restore(data)) == whole


def test_slices_of_time_are_saved_too() -> None:
    bench = Bench(Guest("clock"), slices=0)
    restored = finish(Machine.restore(bench.saved(1_500_000_000), trusted=True))
    assert restored.consoles == bench.alone().consoles
    assert restored.ended == ("poweroff",)


def test_a_file_is_written_whole_and_its_consoles_are_given_sinks(tmp_path: Path) -> None:
    bench, path = Bench(Guest("clock")), tmp_path / "machine.snapshot"
    told = bytearray()
    with bench.machine() as machine:
        machine.run(until=1_500_000_000, timeout=HOST_TIMEOUT)
        (domain,) = machine.domains.values()
        before = domain.console_output()
        path.write_bytes(b"what was there")
        assert machine.save(path) == b""
        assert len(path.read_bytes()) < len(machine.save()) / 2
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    finish(Machine.restore(path, sinks={domain.name: told.extend}))
    assert before + bytes(told) == bench.alone().consoles[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SnapshotError, match="^the snapshot is truncated: "):
        Machine.restore(path)


def test_a_machine_that_runs_is_saved_between_its_slices() -> None:
    bench = Bench(Guest("clock"))
    kept: list[bytes] = []
    with bench.machine() as machine:

        def ask() -> None:
            with pytest.raises(MachineBusyError, match="between_slices"):
                machine.save()
            machine.between_slices(lambda: kept.append(machine.save()))

        machine.platform.timers.timer("machine", "test", ask).arm(1_500_000_000)
        machine.run(timeout=HOST_TIMEOUT)
    assert finish(Machine.restore(kept[0])) == bench.alone()


@pytest.mark.parametrize("rounds", [3, 4])
def test_who_asks_as_all_guests_sleep_is_called_before_the_machine_does(rounds: int) -> None:
    """What comes is looked at alternately where a guest may run next and where the machine waits for more."""
    left = rounds
    here, there = socket.socketpair()

    def came() -> None:
        nonlocal left
        left -= 1
        if not left:
            here.recv(1)
            machine.between_slices(machine.interrupt)

    with here, there, Machine() as machine:
        machine.create(choose("hello", (), {}).image, DomainConfig("hello", 8 << 20), paused=True)
        machine.add_input(here.fileno(), came)
        there.send(b"!")
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED


class _OwnPolicy(RoundRobin):
    """Of somebody who has written one."""


@pytest.mark.parametrize(
    ("config", "policy", "clock", "sentence"),
    [
        ({"devices": SCREEN}, None, None, "hello has the device vfb/0, which cannot be saved yet"),
        ({"devices": (GUARDED,)}, None, None, "hello has the device vif/0, which has a firewall"),
        ({"console": parse_console("pty")}, None, None, "the console of hello is not on standard output"),
        ({"privileged": True}, None, None, "a machine with a guest as its control domain"),
        ({}, None, HostClock(), "a machine cannot be saved while its time is the host's"),
        ({}, _OwnPolicy(), None, "the state of the scheduling policy rr cannot be saved"),
    ],
)
def test_what_cannot_be_saved_is_named(
    config: dict[str, object], policy: Policy | None, clock: Clock | None, sentence: str, tmp_path: Path
) -> None:
    with Machine(clock=clock, policy=policy) as machine:
        machine.create(choose("hello", (), {}).image, DomainConfig("hello", 8 << 20, **config))  # type: ignore[arg-type]
        with pytest.raises(SnapshotError, match=f"^{sentence}"):
            machine.save(tmp_path / "none")
    assert not list(tmp_path.iterdir())


def test_a_machine_whose_network_is_written_to_a_file_is_not_saved(tmp_path: Path) -> None:
    vif = parse_vif(f"pcap={tmp_path / 'wire.pcap'}")
    sentence = "^hello has the device vif/0, which writes a file of what passes it: that cannot be saved$"
    with Machine() as machine:
        machine.create(choose("hello", (), {}).image, DomainConfig("hello", 8 << 20, devices=(vif,)))
        with pytest.raises(SnapshotError, match=sentence):
            machine.save()


def test_a_restored_machine_makes_and_takes_away_domains() -> None:
    """In frames that the other one would have given them."""
    with ExitStack() as stack:
        first = stack.enter_context(Bench(Guest("clock")).machine())
        first.run(until=1_500_000_000, timeout=HOST_TIMEOUT)
        machines = first, stack.enter_context(Machine.restore(first.save()))
        image = choose("hello", (), {}).image
        for machine in machines:
            (domain,) = machine.domains.values()
            machine.destroy(domain)
            machine.create(image, DomainConfig("another", 8 << 20))
        assert machines[0].save() == machines[1].save()
        outcomes = [finish(machine, UNHINDERED) for machine in machines]
        assert outcomes[0] == outcomes[1]


def test_grants_that_another_domain_has_mapped_are_kept() -> None:
    words = ("giver peer=2", "taker peer=1")
    with Bench(*(Guest("grants", memory=4 << 20, cmdline=one) for one in words)).machine() as machine:
        while not any(list(domain.grants.maptrack) for domain in machine.domains.values()):
            before = machine.platform.traps
            machine.run(max_traps=1, timeout=HOST_TIMEOUT)
            assert machine.platform.traps > before, "it ended without a mapping"
        until = machine.platform.clock.now() + 2_000_000
        with Machine.restore(machine.save()) as restored:
            for one in (machine, restored):
                one.run(until=until, timeout=HOST_TIMEOUT)
            assert machine.save() == restored.save()
