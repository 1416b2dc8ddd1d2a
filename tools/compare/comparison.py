"""One kernel both ways: what there is to say of it, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from paravane.classes import dataclass
from paravane.tools.bench.gateways import PYTHON, gateway
from paravane.tools.compare import lines, ways
from paravane.tools.compare.costs import Costs, Phases, total

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paravane.tools.compare.forms import Twice
    from paravane.tools.compare.ways import Modes, Outcome

XEN, PC = "Xen", "bare PC"
SHARED, XEN_ONLY, PC_ONLY = "both", "Xen only", "bare PC only"
TOTAL: Final = "total"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Costs by phase, of Xen and of the bare PC, in the order of the phases.

    `lines`: executed lines of the hypervisor by folder, of `SHARED`, `XEN_ONLY` and `PC_ONLY`. `seconds`: of
    the host's processor, Xen's and the bare PC's, of runs that nobody counted. Both None: not asked for.
    """

    kernel: str
    modes: Modes
    xen: Mapping[str, Costs]
    pc: Mapping[str, Costs]
    lines: Mapping[str, Mapping[str, int]] | None = None
    seconds: tuple[float, float] | None = None

    def rows(self) -> list[tuple[str, Costs, Costs]]:
        """Each phase, and all of them last."""
        phases = [(name, self.xen[name], self.pc[name]) for name in self.xen]
        return [*phases, (TOTAL, total(self.xen.values()), total(self.pc.values()))]

    def data(self) -> dict[str, Any]:
        """As `--json` has it (README)."""
        *phases, (_, xen, pc) = self.rows()
        told: dict[str, Any] = {
            "kernel": self.kernel,
            "shadow": self.modes.shadow.value,
            "sensitive": self.modes.sensitive.value,
            "slice_instructions": ways.SLICE,
            "phases": [{"name": name, "xen": one.data(), "pc": other.data()} for name, one, other in phases],
            "total": {"xen": xen.data(), "pc": pc.data()},
        }
        if self.lines is not None:
            told["lines"] = {whose: dict(folders) for whose, folders in self.lines.items()}
        if self.seconds is not None:
            told["host_seconds"] = {"xen": self.seconds[0], "pc": self.seconds[1]}
        return told


def compare(
    kernel: Twice, modes: Modes, timeout: float, *, with_lines: bool = False, with_seconds: bool = False
) -> Comparison:
    """Run both forms, each for `timeout` host seconds at most, and again for each of what is asked for.
    UsageError where they do not end well or print different things."""
    xen, pc = Phases(kernel.phases), Phases(kernel.phases)

    def both(run: Callable[[Callable[[], Outcome]], Any]) -> tuple[Any, Any]:
        return (
            run(lambda: ways.on_xen(kernel, timeout)),
            run(lambda: ways.on_pc(kernel, modes, timeout)),
        )

    with gateway(PYTHON):
        outcomes = {
            XEN: ways.on_xen(kernel, timeout, xen),
            f"a {PC}": ways.on_pc(kernel, modes, timeout, pc),
        }
        ways.check(kernel.name, outcomes)
        folders = _folders(*both(_executed)) if with_lines else None
    seconds = both(ways.seconds) if with_seconds else None
    return Comparison(kernel.name, modes, xen.costs, pc.costs, folders, seconds)


def _executed(run: Callable[[], Outcome]) -> set[lines.Line]:
    with lines.executed() as found:
        run()
    return found


def _folders(xen: set[lines.Line], pc: set[lines.Line]) -> dict[str, dict[str, int]]:
    parts = {SHARED: xen & pc, XEN_ONLY: xen - pc, PC_ONLY: pc - xen}
    told: dict[str, dict[str, int]] = {}
    for whose, found in parts.items():
        folders: dict[str, int] = {}
        for name, _ in sorted(found):
            folder = name.partition("/")[0] if "/" in name else "."
            folders[folder] = folders.get(folder, 0) + 1
        told[whose] = folders
    return told
