"""`bench scale`: how much many domains do together, and what an idle one takes of the host's memory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from paravane.tools.bench import guests, trial
from paravane.tools.status import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane import Domain, Image

DOMAINS: Final = (1, 8, 32, 128)
SECONDS: Final = 2.0
"""Of the processor, for each point."""

_BALLS: Final = 2_000_000_000
"""More than come back while it is measured."""

_BEGUN: Final = 20_000_000
"""Nanoseconds after which a guest has begun its work, and its code is translated."""


class Figures(NamedTuple):
    """`throughput`: rounds of work and a hypercall in a second of the host's processor, of all domains
    together. `events`: as many events that the kernel `pingpong` has sent itself and handled. `memory`: bytes
    of the host that an idle domain takes, with as much of its RAM as it has touched. `create`: seconds of the
    processor to make one."""

    domains: int
    throughput: float
    events: float
    memory: float
    create: float


def measure(domains: int) -> Figures:
    """One point of the curve. To be run in a process of its own, whose memory is nobody else's."""
    throughput = _throughput(domains, guests.image(guests.CALLER), trial.work)
    events = _throughput(domains, guests.pingpong(), trial.events, f"balls={_BALLS}")
    return Figures(domains, throughput, events, *_idle(domains))


def table(figures: Sequence[Figures]) -> list[list[str]]:
    """A head, and a row for each number of domains."""
    rows = [["domains", "rounds a second", "of one domain's"]]
    rows[0] += ["events a second", "of one domain's", "an idle domain", "to create one"]
    for found in figures:
        part = 100 * found.throughput / figures[0].throughput
        of_events = 100 * found.events / figures[0].events
        rows.append(
            [
                str(found.domains),
                f"{found.throughput:.0f}",
                f"{part:.0f} %",
                f"{found.events:.0f}",
                f"{of_events:.0f} %",
                f"{found.memory / 2**20:.1f} MiB",
                f"{found.create * 1000:.1f} ms",
            ]
        )
    return rows


def check_picture(path: Path) -> None:
    """UsageError when no picture of this name could be drawn: to be known before anything is measured."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, for who draws only
    except ImportError:
        raise UsageError("a drawing needs matplotlib: pip install 'paravane[bench]'") from None
    kinds = Figure().canvas.get_supported_filetypes()
    if path.suffix and path.suffix[1:].lower() not in kinds:
        raise UsageError(f"{path}: no picture is of this kind; there are {', '.join(kinds)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: there is no folder to write it into")


def draw(figures: Sequence[Figures], path: Path) -> None:
    """The two curves as a picture, in the format that the name says, which `check_picture` has allowed."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, for who draws only

    number = [found.domains for found in figures]
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.add_subplot()
    left.set(xscale="log", xlabel="domains", ylabel="rounds in a second of the processor", ylim=(0, None))
    left.set_ylim(0, 1.1 * max(found.throughput for found in figures))
    left.set_xticks(number, [str(one) for one in number])
    left.plot(number, [found.throughput for found in figures], "o-", color="tab:blue", label="throughput")
    right = left.twinx()
    right.set(ylabel="MiB of an idle domain of 4 MiB")
    right.set_ylim(0, 1.3 * max(found.memory for found in figures) / 2**20)
    right.plot(number, [found.memory / 2**20 for found in figures], "s--", color="tab:orange", label="memory")
    figure.legend(loc="outside upper right")
    figure.savefig(path)


def _throughput(domains: int, image: Image, work: Callable[[Domain], int], cmdline: str = "") -> float:
    """What all domains do together, as `work` counts it, in a second of the processor."""
    with trial.machine(domains, deterministic=False) as machine:
        made = [trial.create(machine, image, f"d{number}", cmdline=cmdline) for number in range(domains)]
        while min(domain.processor_time for domain in made) < _BEGUN:
            machine.run(timeout=SECONDS / 4)
        before, began = sum(map(work, made)), time.process_time()
        while time.process_time() - began < SECONDS:
            machine.run(timeout=SECONDS / 4)
        return (sum(map(work, made)) - before) / (time.process_time() - began)


def _idle(domains: int) -> tuple[float, float]:
    image = guests.image(guests.IDLER)
    with trial.machine(domains) as machine:
        before, began = _resident(), time.process_time()
        for number in range(domains):
            trial.create(machine, image, f"d{number}")
        create = (time.process_time() - began) / domains
        machine.run()
        return (_resident() - before) / domains, create


def _resident() -> int:
    """Bytes of this process that are in the host's memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
