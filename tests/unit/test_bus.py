"""The bus: whose backend works when, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.devices.bus import BACKEND_PORTION, Budget, Bus

if TYPE_CHECKING:
    from collections.abc import Callable


class Worker:
    """A backend with so many items to do, each of so many units; `log` says who did one."""

    def __init__(self, domid: int, name: str, log: list[str], items: int, units: int = 10) -> None:
        self.domid = domid
        self.name = name
        self.log = log
        self.items = items
        self.units = units
        self.also: Callable[[], None] | None = None

    def serve(self, budget: Budget) -> bool:
        while self.items and not budget.exhausted:
            self.items -= 1
            self.log.append(self.name)
            budget.spend(self.units)
            if self.also is not None:
                self.also()
        return self.items > 0


def test_a_portion_ends_with_the_item_that_exhausts_it() -> None:
    bus, log = Bus(), list[str]()
    worker = Worker(1, "a", log, items=10)
    bus.call(worker)
    bus.call(worker)
    assert bus.serve(1, 25) == 1 + 30
    assert len(log) == 3
    assert 1 in bus.due
    assert bus.serve(1, 1000) == 1 + 70
    assert bus.due == {}
    assert bus.serve(1) == 0


def test_a_domains_backends_take_turns_and_others_are_not_served_for_it() -> None:
    bus, log = Bus(), list[str]()
    for domid, name in ((1, "a"), (1, "b"), (2, "c")):
        bus.call(Worker(domid, name, log, items=3))
    for _ in range(3):
        bus.serve(1, 5)
    assert log == ["a", "b", "a"]
    assert set(bus.due) == {1, 2}


def test_a_turn_gives_every_domain_one_portion() -> None:
    bus, log = Bus(), list[str]()
    bus.call(Worker(1, "greedy", log, items=1 << 20, units=1))
    bus.call(Worker(2, "modest", log, items=1))
    assert bus.turn() <= 2 * (BACKEND_PORTION + 10)
    assert log.count("modest") == 1
    assert set(bus.due) == {1}


def test_backends_that_call_each_other_do_not_go_on_for_ever() -> None:
    bus, log = Bus(), list[str]()
    one, other = Worker(1, "one", log, 0), Worker(1, "other", log, 0)

    class Restless(Worker):
        def serve(self, budget: Budget) -> bool:
            bus.call(other if self is one else one)
            return False

    one, other = Restless(1, "one", log, 0), Restless(1, "other", log, 0)
    bus.call(one)
    assert bus.serve(1, 100) == 100
    assert 1 in bus.due


def test_a_backend_may_be_removed_and_called_while_it_works() -> None:
    bus, log = Bus(), list[str]()
    worker, neighbour = Worker(1, "a", log, items=1), Worker(2, "b", log, items=1)
    worker.also = lambda: bus.call(neighbour)
    bus.call(worker)
    bus.serve(1)
    assert set(bus.due) == {2}
    bus.remove(neighbour)
    bus.remove(neighbour)
    assert bus.due == {}
    assert bus.turn() == 0
    assert log == ["a"]
