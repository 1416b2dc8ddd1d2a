"""Going back in a run, as the protocol has it: each place is found again as it was."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.support.debugged import KERNEL, SPIN, TWO_VCPUS, Remote, served
from tests.support.reversing import BEGIN, reversible, visit

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.debugged import Boot, Served


class Walker:
    """Steps a guest forward, keeps its registers at each place, and compares them wherever it comes again."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self.at = 0
        self.places = [self._registers()]

    def forward(self) -> None:
        assert self._remote.ask("vCont;s:1;c").startswith("T05thread:1;")
        self.at += 1
        if self.at == len(self.places):
            self.places.append(self._registers())
        else:
            assert self._registers() == self.places[self.at], self.at

    def back(self) -> None:
        assert self._remote.ask("bs").startswith("T05thread:1;")
        self.at -= 1
        assert self._registers() == self.places[self.at], self.at

    def _registers(self) -> str:
        return self._remote.ask("g")


@pytest.mark.parametrize(
    ("guest", "vcpus", "slice_instructions", "steps"),
    [
        pytest.param(KERNEL, 1, 37, 150, id="over ends of slices"),
        pytest.param(TWO_VCPUS, 2, 50, 200, id="among two vcpus"),
        pytest.param("traps", 1, 100, 300, id="int 0x80, iret and faults"),
        pytest.param("paging", 1, 1000, 400, id="page tables"),
    ],
)
def test_a_random_walk_finds_the_registers_of_the_way_there(
    guest: str, vcpus: int, slice_instructions: int, steps: int
) -> None:
    chance = random.Random(steps)
    with reversible(guest, vcpus=vcpus, slice_instructions=slice_instructions) as (_, remote):
        walker = Walker(remote)
        for _ in range(steps):
            walker.forward()
        for _ in range(8):
            move = walker.back if chance.random() < 0.7 or walker.at == steps else walker.forward
            for _ in range(chance.randint(1, 3)):
                move()


def test_a_thread_goes_back_to_its_own_last_instruction() -> None:
    with reversible(TWO_VCPUS, vcpus=2, slice_instructions=50) as (running, remote):
        visited = running.symbol("visited")
        assert remote.ask(f"Z0,{visited:x},1") == "OK"
        threads = []
        for _ in range(6):
            threads.append(remote.ask("vCont;c").split("thread:")[1][0])
            assert remote.ask("vCont;s").startswith("T05thread:")
        assert {"1", "2"} == set(threads)
        assert remote.ask(f"z0,{visited:x},1") == "OK"
        for thread in (2, 1, 2):
            remote.select(thread)
            assert remote.ask("bs").startswith(f"T05thread:{thread};")
        for _ in range(3):
            assert remote.ask("vCont;s").startswith("T05thread:")
        assert remote.ask(f"Z0,{visited:x},1") == "OK"
        stops = [remote.ask("bc") for _ in range(3)]
        assert all(stop.startswith("T05swbreak:") for stop in stops)
        assert {stop.split("thread:")[1][0] for stop in stops} == {"1", "2"}
        assert remote.ask(f"z0,{visited:x},1") == "OK"
        remote.finish()
    assert running.console == "done\n"


def test_all_domains_of_the_machine_go_back_together() -> None:
    with reversible(KERNEL, slice_instructions=25, beside=SPIN) as (running, remote):

        def used() -> int:
            return running.machine.domains[2].vcpus[0].entity.used

        walker = Walker(remote)
        for _ in range(30):
            walker.forward()
        early = used()
        for _ in range(30):
            walker.forward()
        late = used()
        for _ in range(30):
            walker.back()
        assert used() == early < late
        for _ in range(30):
            walker.forward()
        assert used() == late


def test_breakpoints_are_met_from_the_last_to_the_first() -> None:
    with reversible(KERNEL, slice_instructions=11) as (running, remote):
        step, counter = running.symbol("step"), running.symbol("counter")
        assert remote.ask(f"Z1,{step:x},1") == "OK"
        for visit in range(5):
            assert remote.ask("vCont;c").startswith("T05hwbreak:;")
            assert remote.word(counter) == 2 * visit
            assert remote.ask("vCont;s").startswith("T05thread:1;")
        for visit in reversed(range(5)):
            assert remote.ask("bc").startswith("T05hwbreak:;")
            assert remote.word(counter) == 2 * visit
        assert remote.ask("bc").startswith(BEGIN)


@pytest.mark.parametrize(("kind", "reason"), [(2, "watch"), (3, "rwatch"), (4, "awatch")])
def test_an_access_is_shown_before_its_instruction(kind: int, reason: str) -> None:
    with reversible(KERNEL, slice_instructions=11) as (running, remote):
        step, counter = running.symbol("step"), running.symbol("counter")
        visit(running, remote, 2)
        assert remote.ask(f"Z{kind},{counter:x},4") == "OK"
        for before in (2, 0):
            assert remote.ask("bc").startswith(f"T05{reason}:{counter:x};")
            assert remote.register(8) == step
            assert remote.word(counter) == before
        assert remote.ask("bc").startswith(BEGIN)
        for after in (2, 4):
            assert remote.ask("vCont;c").startswith(f"T05{reason}:{counter:x};")
            assert remote.word(counter) == after


def _leave(_: Served, remote: Remote) -> None:
    assert remote.ask("D") == "OK"


def _step_forward_and_back(_: Served, remote: Remote) -> None:
    for number in range(200):
        remote.ask("vCont;s:1;c")
        if number % 40 == 39:
            remote.ask("bs")
    assert remote.ask("bc").startswith(BEGIN)
    assert remote.ask("D") == "OK"


def _watch_the_stack(running: Served, remote: Remote) -> None:
    remote.go_to(running.symbol("main"))
    remote.ask(f"Z4,{remote.register(4) - 8:x},8")
    for _ in range(12):
        assert remote.ask("vCont;c").startswith("T05")
    for _ in range(3):
        assert remote.ask("bc").startswith("T05awatch:")
    assert remote.ask("D") == "OK"


def _go_away_on_the_way_back(running: Served, remote: Remote) -> None:
    remote.go_to(running.symbol("main"))
    for _ in range(5):
        remote.ask("vCont;s")
    remote.raw(b"$bc#c5")
    remote.close()


@pytest.mark.parametrize("guest", ["hello", "traps"])
def test_whoever_looks_the_run_is_the_same_and_told_once(guest: str) -> None:
    runs = []
    for look in (_leave, _step_forward_and_back, _watch_the_stack, _go_away_on_the_way_back):
        with reversible(guest, slice_instructions=300) as (running, remote):
            look(running, remote)
            running.end()
        runs.append((running.records, running.console, str(running.ending)))
        assert running.audit == []
    for run in runs[1:]:
        assert run == runs[0]


def test_what_a_debugger_writes_makes_another_run_of_what_follows() -> None:
    with reversible(KERNEL) as (running, remote):
        counter, stepped = running.symbol("counter"), running.symbol("stepped")
        visit(running, remote, 3)
        assert remote.ask(f"Z0,{stepped:x},1") == "OK"
        assert remote.ask("bc").startswith("T05swbreak:;")
        assert remote.word(counter) == 4
        assert remote.ask(f"M{counter:x},4:64000000") == "OK"
        for value in (102, 104):
            remote.ask("vCont;s")
            assert remote.ask("vCont;c").startswith("T05swbreak:;")
            assert remote.word(counter) == value
        assert remote.ask("bc").startswith("T05swbreak:;")
        assert remote.ask("bc").startswith("T05swbreak:;")
        assert remote.word(counter) == 100
        assert remote.ask("bc").startswith("T05swbreak:;")
        assert remote.word(counter) == 2
        for value in (100, 102):
            remote.ask("vCont;s")
            assert remote.ask("vCont;c").startswith("T05swbreak:;")
            assert remote.word(counter) == value
        assert remote.ask(f"z0,{stepped:x},1") == "OK"
        remote.finish()
    assert running.console == "done\n"


def test_what_was_typed_comes_again_where_it_came() -> None:
    with reversible("echo") as (running, remote):
        typed = running.symbol("consoles") + 12
        running.type(b"ab\x04")
        assert remote.ask(f"Z2,{typed:x},4") == "OK"
        places = []
        while (stop := remote.ask("vCont;c")).startswith("T05watch"):
            places.append((remote.word(typed), remote.ask("g")))
            if len(places) == 2:
                for _ in range(2):
                    assert remote.ask("bc").startswith("T05watch")
                again = []
                for _ in range(2):
                    assert remote.ask("vCont;c").startswith("T05watch")
                    again.append((remote.word(typed), remote.ask("g")))
                assert again == places
        assert stop == "W00"
    assert running.console.count("what is typed comes back") == 1
    assert running.console.count("ab") == 1


def test_an_interrupt_on_the_way_back_returns_to_its_beginning() -> None:
    with reversible(SPIN, slice_instructions=100_000) as (running, remote):
        counter = running.symbol("counter")
        remote.go_to(running.symbol("main"))
        for _ in range(9):
            remote.ask("vCont;s")
        before, registers = remote.word(counter), remote.ask("g")
        remote.raw(b"$bc#c5\x03")
        assert remote.answer().startswith("T02thread:1;")
        assert before > 0
        assert (remote.word(counter), remote.ask("g")) == (before, registers)
        assert remote.ask("bs").startswith("T05thread:1;")
        assert remote.ask("D") == "OK"


def test_where_nobody_can_go_back_that_is_said() -> None:
    with served(KERNEL) as running:
        remote = Remote(running.port)
        assert "Reverse" not in remote.ask("qSupported")
        for packet in ("bc", "bs"):
            said = remote.ask(packet)
            assert bytes.fromhex(said[1:]) == b"nobody can go back in a run that cannot be repeated\n"
            assert remote.answer() == "E01"
        remote.finish()
        remote.close()


def test_a_machine_that_cannot_be_saved_is_not_gone_back_in(debugged: Callable[..., Boot]) -> None:
    guest = debugged("echo", "--deterministic", "--console", "pty")
    remote = Remote(guest.port)
    assert "Reverse" not in remote.ask("qSupported")
    assert "console" in bytes.fromhex(remote.ask("bs")[1:]).decode()
    assert remote.answer() == "E01"
    remote.send("k")
    remote.close()
