"""Processors that are closed, dropped, or run where they may not be."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

from paravane.cpu import Cpu, EngineError, Ram
from tests.support.cpu_bench import CODE, Bench, Trap

if TYPE_CHECKING:
    from collections.abc import Callable

INT20 = b"\x90\xcd\x20"


@pytest.mark.parametrize("what", ["close", "run"])
def test_it_is_refused_inside_a_trap(bench: Bench, what: str) -> None:
    sentences = {"close": "cannot be closed while its guest runs", "run": "runs already"}
    action: Callable[[], object] = getattr(bench.cpu, what)

    def on_trap(_trap: Trap) -> None:
        action()

    bench.handler.on_trap = on_trap
    with pytest.raises(EngineError, match=sentences[what]):
        bench.run(INT20)
    bench.handler.on_trap = lambda trap: bench.cpu.stop()
    bench.kernel()
    assert bench.run(INT20) == [Trap("interrupt", 0x20, 0, CODE + 3, 1)]


@pytest.mark.parametrize("what", ["close", "run"])
def test_it_is_refused_from_another_thread(bench: Bench, what: str) -> None:
    refused: list[EngineError] = []
    action: Callable[[], object] = getattr(bench.cpu, what)

    def interfere() -> None:
        try:
            action()
        except EngineError as error:
            refused.append(error)

    def on_trap(trap: Trap) -> None:
        thread = threading.Thread(target=interfere)
        thread.start()
        thread.join()
        bench.cpu.stop()

    bench.handler.on_trap = on_trap
    assert bench.run(INT20) == [Trap("interrupt", 0x20, 0, CODE + 3, 1)]
    assert len(refused) == 1


def test_a_processor_that_is_dropped_is_freed_with_a_warning() -> None:
    bench = Bench()
    bench.run(INT20)
    gone = weakref.ref(bench.cpu)
    del bench
    with pytest.warns(ResourceWarning, match="a Cpu was dropped without being closed"):
        gc.collect()
    assert gone() is None


def test_a_processor_that_could_not_be_made_leaves_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Cpu) -> None:
        raise EngineError("an engine of another kind")

    monkeypatch.setattr(Cpu, "_prepare_engine", refuse)
    ram = Ram(16)
    with pytest.raises(EngineError, match="of another kind"):
        Bench(ram=ram)
    gc.collect()
    ram.close()
