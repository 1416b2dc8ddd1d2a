"""A comparison as a picture: the exits of each phase, and the misses where TLBs are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.abi.tlb import TlbKind
from paravane.tools.compare.comparison import PC, XEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from paravane.tools.compare.comparison import Comparison
    from paravane.tools.compare.tlbs import TlbComparison

_FILLED: Final = 0.76
"""How much of a phase's room its bars take."""
_INK: Final = "#808080"
"""Lines and letters: to be seen on a white page and on a black one."""
_COLORS: Final = {
    **{XEN: "#3b82c4", PC: "#d9822b"},
    **{TlbKind.hardware.name: "#d9822b", TlbKind.software.name: "#5aa469", TlbKind.tagged.name: "#3b82c4"},
}


def draw(comparison: Comparison, path: Path) -> None:
    """Bars, in the format that the name says, which `paravane.tools.bench.scale.check_picture` has allowed.
    The ground is transparent. No exits are no bar."""
    rows = comparison.rows()[:-1]
    exits = {
        XEN: [xen.nr_exits for _, xen, _ in rows],
        PC: [pc.nr_exits for _, _, pc in rows],
    }
    _draw(path, [name for name, _, _ in rows], {"exits to the hypervisor": exits})


def draw_tlbs(comparison: TlbComparison, path: Path) -> None:
    """As `draw`, and the misses beside."""
    rows = comparison.rows()[:-1]
    names = [name for name, _ in rows]
    misses = {kind.name: [costs[kind].tlb["misses"] for _, costs in rows] for kind in TlbKind}
    exits = {kind.name: [costs[kind].nr_exits for _, costs in rows] for kind in TlbKind}
    _draw(path, names, {"misses": misses, "exits to the hypervisor": exits})


def _draw(path: Path, phases: Sequence[str], panels: Mapping[str, Mapping[str, Sequence[int]]]) -> None:
    """A panel for each figure, each with a bar for each of what is compared."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, for who draws only

    bars = len(next(iter(panels.values())))
    figure = Figure(figsize=(1 + 6 * len(panels), 0.3 * bars * len(phases) + 1), layout="constrained")
    for axes, (figured, series) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        _bars(axes, phases, series)
        axes.set_xlabel(figured, color=_INK)
    figure.savefig(path, transparent=True)


def _bars(axes: Axes, phases: Sequence[str], series: Mapping[str, Sequence[int]]) -> None:
    height = _FILLED / len(series)
    for at, (name, counts) in enumerate(series.items()):
        shift = height * (at + 0.5) - _FILLED / 2
        bars = axes.barh(
            [row + shift for row in range(len(phases))],
            counts,
            height=height,
            color=_COLORS[name],
            label=name,
        )
        axes.bar_label(bars, list(map(str, counts)), padding=3, color=_INK, fontsize="small")
    axes.set_yticks(range(len(phases)), phases, parse_math=False)  # a $ in a name is one
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(0, 10 * max(1, *(count for counts in series.values() for count in counts)))
    axes.tick_params(colors=_INK)
    axes.spines[:].set_color(_INK)
    axes.legend(frameon=False, labelcolor=_INK, loc="lower right")
