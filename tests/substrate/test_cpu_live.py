"""The processor's state is seen in place or, where that cannot be, through copies, with the same results."""

from __future__ import annotations

import os

import pytest

from paravane.cpu.engine import live
from paravane.cpu.engine.context_offsets import context_layout
from paravane.cpu.engine.library import GPRS, Engine
from tests.support.cpu_bench import CODE, Bench, Trap

# mov $5,%eax; int $0x82; cli; inc %eax; int $0x20
CODE_BYTES = bytes.fromhex("b805000000 cd82 fa 40 cd20")


def _story(bench: Bench) -> tuple[list[Trap], int]:
    """Change a register in one trap, skip an instruction in the next, stop in the third."""

    def on_trap(trap: Trap) -> None:
        if trap.vector == 0x82:
            bench.cpu.eax += 100
        elif trap.kind == "exception":
            bench.cpu.eip += 1
        else:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    bench.run(CODE_BYTES)
    return bench.handler.traps, bench.cpu.eax


EXPECTED = (
    [
        Trap("interrupt", 0x82, 0, CODE + 7, 1),
        Trap("exception", 13, 0, CODE + 7, 1),
        Trap("interrupt", 0x20, 0, CODE + 11, 1),
    ],
    106,
)


def test_the_state_is_found_in_this_engine(bench: Bench) -> None:
    assert live.find() is not None
    assert bench.cpu._engine.in_place
    assert _story(bench) == EXPECTED


@pytest.mark.usefixtures("copies")
def test_copies_do_where_the_state_is_not_found() -> None:
    bench = Bench()
    try:
        assert not bench.cpu._engine.in_place
        assert _story(bench) == EXPECTED
    finally:
        bench.close()


def test_a_place_that_the_api_does_not_see_is_not_believed_in() -> None:
    where = live.find()
    assert where is not None
    engine = Engine()
    assert live._works(engine, where)
    assert not live._works(engine, where._replace(state=where.state - 16384))
    engine.close()


def test_two_engines_have_two_states() -> None:
    one, other = live.open_engine(), live.open_engine()
    one.write_register(GPRS[0], 0x11111111)
    other.write_register(GPRS[0], 0x22222222)
    at = context_layout().regs
    assert (one.words[at], other.words[at]) == (0x11111111, 0x22222222)
    one.close()
    other.close()


def test_without_a_way_to_search_memory_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    assert live.find.__wrapped__() is None
