"""One kernel on three TLBs: what there is to say of it, and as JSON."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from paravane import DomainConfig
from paravane.abi.tlb import TlbKind
from paravane.classes import dataclass
from paravane.guest_kernels.folder import load_variations
from paravane.tlb.spec import TlbSpec
from paravane.tools import images
from paravane.tools.bench.gateways import PYTHON, gateway
from paravane.tools.compare import ways
from paravane.tools.compare.comparison import TOTAL
from paravane.tools.compare.costs import Phases
from paravane.tools.compare.forms import form
from paravane.tools.compare.tlb_costs import TlbCosts, TlbCounter, in_all

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from paravane import Domain, Image, Machine
    from paravane.guest_kernels import GuestKernel
    from paravane.tools.compare.forms import Form
    from paravane.tools.compare.ways import Outcome


@dataclass(frozen=True, slots=True)
class Built:
    """A kernel for each kind of TLB: `image` is it, loaded, and `config` the domain that it is to be."""

    image: Image
    config: DomainConfig
    form: Form


@dataclass(frozen=True, slots=True)
class TlbComparison:
    """Costs by kind of TLB, and of each kind by phase, in their order. `seconds`: of the host's processor,
    by kind, of runs that nobody counted; None: not asked for."""

    kernel: str
    entries: int
    ways: int
    costs: Mapping[TlbKind, Mapping[str, TlbCosts]]
    seconds: Mapping[TlbKind, float] | None = None

    def rows(self) -> list[tuple[str, dict[TlbKind, TlbCosts]]]:
        """Each phase, and all of them last."""
        phases = next(iter(self.costs.values()))
        return [
            *((name, {kind: costs[name] for kind, costs in self.costs.items()}) for name in phases),
            (TOTAL, {kind: in_all(costs.values()) for kind, costs in self.costs.items()}),
        ]

    def data(self) -> dict[str, Any]:
        """As `--json` has it (README)."""
        *phases, (_, whole) = [
            (name, {kind.name: costs.data() for kind, costs in of.items()}) for name, of in self.rows()
        ]
        told: dict[str, Any] = {
            "kernel": self.kernel,
            "entries": self.entries,
            "ways": self.ways,
            "slice_instructions": ways.SLICE,
            "phases": [{"name": name, **of} for name, of in phases],
            "total": whole,
        }
        if self.seconds is not None:
            told["host_seconds"] = {kind.name: seconds for kind, seconds in self.seconds.items()}
        return told


def is_for_tlbs(kernel: GuestKernel) -> bool:
    """Whether its kernel.toml, or a variation there, says what TLB it is to have."""
    return any(one.tlb is not None for one in load_variations(kernel.folder))


def find(kernel: GuestKernel, options: argparse.Namespace) -> Built:
    """Build it. UsageError for errors in it."""
    built = form(options, "xen")
    config = DomainConfig(kernel.name, kernel.memory, vcpus=kernel.vcpus, cmdline=kernel.cmdline)
    return Built(images.load(options, built.data), config, built)


def every_kind(**size: int) -> dict[TlbKind, TlbSpec]:
    """A TLB of each kind; `size` may have `entries` and `ways`. ValueError for one that cannot be."""
    return {kind: TlbSpec(kind, **size) for kind in TlbKind}


def compare_tlbs(
    kernel: Built, specs: Mapping[TlbKind, TlbSpec], timeout: float, *, with_seconds: bool = False
) -> TlbComparison:
    """Run it on each of these TLBs, for `timeout` host seconds at most, and again where seconds are asked
    for. UsageError where a run does not end well or does not say the same as the first."""
    costs: dict[TlbKind, Mapping[str, TlbCosts]] = {}
    outcomes: dict[str, Outcome] = {}
    with gateway(PYTHON):
        for kind, spec in specs.items():
            outcomes[f"a {kind.name} TLB"], costs[kind] = _counted(kernel, spec, timeout)
    ways.check(kernel.config.name, outcomes)
    seconds = None
    if with_seconds:
        seconds = {kind: ways.seconds(partial(_run, kernel, spec, timeout)) for kind, spec in specs.items()}
    size = specs[TlbKind.hardware]
    return TlbComparison(kernel.config.name, size.entries, size.ways, costs, seconds)


def _counted(kernel: Built, spec: TlbSpec, timeout: float) -> tuple[Outcome, dict[str, TlbCosts]]:
    counters: list[TlbCounter] = []

    def counted(machine: Machine, domain: Domain) -> TlbCounter:
        counters.append(TlbCounter(machine, domain, kernel.form.phase, Phases(kernel.form.names)))
        return counters[0]

    outcome = _run(kernel, spec, timeout, counted)
    return outcome, counters[0].found()


def _run(
    kernel: Built,
    spec: TlbSpec,
    timeout: float,
    counted: Callable[[Machine, Domain], TlbCounter | None] = lambda _machine, _domain: None,
) -> Outcome:
    return ways.run_on_xen(kernel.image, replace(kernel.config, tlb=spec), timeout, counted)
