"""A comparison as a picture: the exits of each phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.tools.compare.comparison import PC, XEN

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.tools.compare.comparison import Comparison

_HEIGHT: Final = 0.38
_INK: Final = "#808080"
"""Lines and letters: to be seen on a white page and on a black one."""
_COLORS: Final = {XEN: "#3b82c4", PC: "#d9822b"}


def draw(comparison: Comparison, path: Path) -> None:
    """Bars, in the format that the name says, which `paravane.tools.bench.scale.check_picture` has allowed.
    The ground is transparent. No exits are no bar."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, for who draws only

    rows = comparison.rows()[:-1]
    figure = Figure(figsize=(7, 0.6 * len(rows) + 1), layout="constrained")
    axes = figure.add_subplot()
    for shift, where in ((-_HEIGHT / 2, XEN), (_HEIGHT / 2, PC)):
        exits = [(xen if where == XEN else pc).nr_exits for _, xen, pc in rows]
        at = [row + shift for row in range(len(rows))]
        bars = axes.barh(at, exits, height=_HEIGHT, color=_COLORS[where], label=where)
        axes.bar_label(bars, list(map(str, exits)), padding=3, color=_INK, fontsize="small")
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(0, 10 * max(1, *(costs.nr_exits for _, *both in rows for costs in both)))
    axes.set_xlabel("exits to the hypervisor", color=_INK)
    axes.tick_params(colors=_INK)
    axes.spines[:].set_color(_INK)
    axes.legend(frameon=False, labelcolor=_INK, loc="lower right")
    figure.savefig(path, transparent=True)
