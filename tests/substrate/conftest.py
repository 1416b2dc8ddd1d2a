"""Fixtures of the substrate tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from paravane.cpu import PAE, TWO_LEVEL
from paravane.cpu.engine import live
from paravane.cpu.engine.context_offsets import context_layout
from paravane.gateway.native import SWITCH
from paravane.gateway.native import find as find_native
from paravane.gateway.vcpu_tlb import VcpuTlb
from tests.support.cpu_bench import Bench
from tests.support.cpu_debugger import Recorder
from tests.support.second_run import BOTH_MODES


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Machines made now see their state through copies, as where it is not found in place."""
    found = live.find
    monkeypatch.setattr(live, "find", lambda: None)
    context_layout.cache_clear()
    yield
    monkeypatch.setattr(live, "find", found)
    context_layout.cache_clear()


@pytest.fixture(params=["in place", "copies"])
def either_state(request: pytest.FixtureRequest) -> None:
    """Once each way of seeing the processor's state."""
    if request.param == "copies":
        request.getfixturevalue("copies")


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A PAE machine."""
    machine = Bench()
    yield machine
    machine.close()


@pytest.fixture
def fill(native: Path, monkeypatch: pytest.MonkeyPatch) -> VcpuTlb:
    """A TLB fill in C, of the sources as they are."""
    monkeypatch.setenv(SWITCH, str(native))
    library = find_native()
    assert library is not None
    return VcpuTlb(library)


@pytest.fixture(params=["engine", "native"])
def either_fill(request: pytest.FixtureRequest) -> VcpuTlb | None:
    """The engine's own TLB fill (None), and that in C."""
    if request.param == "engine":
        return None
    made: VcpuTlb = request.getfixturevalue("fill")
    request.node.add_marker(BOTH_MODES)
    return made


@pytest.fixture
def filled_bench(either_fill: VcpuTlb | None) -> Iterator[Bench]:
    """A PAE machine with either."""
    machine = Bench(tlb_fill=either_fill)
    assert (machine.cpu._fill is not None) is (either_fill is not None)
    yield machine
    machine.close()


@pytest.fixture
def debugger(bench: Bench) -> Recorder:
    """One that is attached to the processor of `bench`."""
    recorder = Recorder(bench)
    bench.cpu.debuggers.attach(recorder)
    return recorder


@pytest.fixture(params=[PAE, TWO_LEVEL], ids=lambda geometry: geometry.name)
def any_bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A machine of each page-table shape."""
    machine = Bench(geometry=request.param)
    yield machine
    machine.close()
