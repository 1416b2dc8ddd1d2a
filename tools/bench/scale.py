"""`bench scale`: how much many domains do together, and what an idle one takes of the host's memory."""

from __future__ import annotations

import os
import statistics
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from paravane.tools.bench import guests, trial
from paravane.tools.bench.turns import in_turn
from paravane.tools.files import check_folder
from paravane.tools.status import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from paravane import Domain, Image

DOMAINS: Final = (1, 8, 32, 128)
TURNS: Final = 16
"""How often each machine is measured, in turn with the others of its load."""

SECONDS: Final = 0.25
"""Of the host, for each turn. A turn of the machine with the most domains is a slice for some of them."""

_BALLS: Final = 2_000_000_000
"""More than come back while it is measured."""

_BEGUN: Final = 20
"""What a guest has done when it has begun its work for certain, and its code is translated."""


class Load(NamedTuple):
    """What all domains of a machine do. `done` is how much of it one has done, `cmdline` that of domain
    `number`, `least` the fewest domains that it takes."""

    image: Callable[[], Image]
    done: Callable[[Domain], int]
    cmdline: Callable[[int], str]
    least: int = 1


def _nothing(_number: int) -> str:
    return ""


def _balls(_number: int) -> str:
    return f"balls={_BALLS}"


def _ball(number: int) -> str:
    """An odd domain serves, the next one returns."""
    role = f"ping peer={number + 1}" if number % 2 else f"pong peer={number - 1}"
    return f"{role} balls={_BALLS}"


LOADS: Final = {
    "rounds": Load(partial(guests.image, guests.CALLER), trial.work, _nothing),
    "wake-ups": Load(partial(guests.image, guests.CLOCK), trial.work, _nothing),
    "own events": Load(guests.pingpong, trial.events, _balls),
    "events in pairs": Load(guests.pingpong, trial.events, _ball, least=2),
}
"""By the head of their column: rounds of work with a hypercall each; times to sleep until that a domain sets
and is woken at, as the kernel `clock` does; events that a domain sends itself and handles; events between two
domains, each of which sleeps until it has one and sends it back."""


class Idle(NamedTuple):
    """`memory`: bytes of the host that an idle domain takes, with as much of its RAM as it has touched.
    `everything`: those of the whole process. `create`, `destroy`: seconds of the processor to make one and to
    take it away."""

    memory: float
    everything: float
    create: float
    destroy: float


def measure(load: str) -> list[list[float]]:
    """For each of `DOMAINS`, how much was done in a second of the processor in each of `TURNS`."""
    return in_turn(partial(_working, load), DOMAINS, TURNS)


def idle(domains: int) -> Idle:
    """To be run in a process of its own, whose memory is nobody else's."""
    image = guests.image(guests.IDLER)
    with trial.machine(domains) as machine:
        before, began = _resident(), time.process_time()
        made = [trial.create(machine, image, f"d{number}") for number in range(domains)]
        create = time.process_time() - began
        machine.run()
        everything = _resident()
        began = time.process_time()
        for domain in made:
            machine.destroy(domain)
        destroy = time.process_time() - began
    return Idle((everything - before) / domains, everything, create / domains, destroy / domains)


def table(loads: Sequence[Sequence[Sequence[float]]], idlers: Sequence[Idle]) -> list[list[str]]:
    """A head, and a row for each number of domains. `loads` are in the order of `LOADS`."""
    rows = [["domains", *(f"{head} a second" for head in LOADS)]]
    rows[0] += ["an idle domain", "all of them", "to create one", "to destroy one"]
    for row, (domains, idler) in enumerate(zip(DOMAINS, idlers, strict=True)):
        cells = [f"{statistics.median(of[row]):.0f} ({100 * kept(of, row):.0f} %)" for of in loads]
        cells += (f"{size / 2**20:.1f} MiB" for size in (idler.memory, idler.everything))
        cells += (f"{seconds * 1000:.1f} ms" for seconds in (idler.create, idler.destroy))
        rows.append([str(domains), *cells])
    return rows


def data(loads: Sequence[Sequence[Sequence[float]]], idlers: Sequence[Idle]) -> list[dict[str, object]]:
    """The table as numbers: of each load how much in a second, and what part that is of the first row's."""
    return [
        {
            "domains": domains,
            "loads": {
                head: {"a_second": statistics.median(of[row]), "kept": kept(of, row)}
                for head, of in zip(LOADS, loads, strict=True)
            },
            **idler._asdict(),
        }
        for row, (domains, idler) in enumerate(zip(DOMAINS, idlers, strict=True))
    ]


def kept(figures: Sequence[Sequence[float]], row: int) -> float:
    """What `row` has of the first one's: the median of what it had in each turn, with both measured one
    after the other. A turn that a busy host left the first one nothing of says nothing."""
    turns = zip(figures[row], figures[0], strict=True)
    return statistics.median([own / first for own, first in turns if first] or [0.0])


def check_picture(path: Path) -> None:
    """UsageError when no picture of this name could be drawn: to be known before anything is measured."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, for who draws only
    except ImportError:
        raise UsageError("a drawing needs matplotlib: pip install 'paravane[bench]'") from None
    kinds = Figure().canvas.get_supported_filetypes()
    if path.suffix and path.suffix[1:].lower() not in kinds:
        raise UsageError(f"{path}: no picture is of this kind; there are {', '.join(kinds)}")
    check_folder(path)


def draw(loads: Sequence[Sequence[Sequence[float]]], idlers: Sequence[Idle], path: Path) -> None:
    """The curves as a picture, in the format that the name says, which `check_picture` has allowed."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, for who draws only

    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.add_subplot()
    left.set(xscale="log", xlabel="domains", ylabel="percent of what one does", ylim=(0, 130))
    left.set_xticks(DOMAINS, [str(one) for one in DOMAINS])
    for head, of in zip(LOADS, loads, strict=True):
        left.plot(DOMAINS, [100 * kept(of, row) for row in range(len(DOMAINS))], "o-", label=head)
    right = left.twinx()
    right.set(ylabel="MiB of an idle domain of 4 MiB")
    right.set_ylim(0, 1.3 * max(idler.memory for idler in idlers) / 2**20)
    memory = [idler.memory / 2**20 for idler in idlers]
    right.plot(DOMAINS, memory, "s--", color="tab:gray", label="memory")
    figure.legend(loc="outside upper right", ncols=len(LOADS) + 1, fontsize="small")
    figure.savefig(path)


@contextmanager
def _working(name: str, domains: int) -> Iterator[Callable[[], float]]:
    """A machine whose domains all have begun, and what one turn of it gives."""
    load = LOADS[name]
    domains = max(domains, load.least)
    with trial.machine(domains, deterministic=False) as machine:
        made = [
            trial.create(machine, load.image(), f"d{number}", cmdline=load.cmdline(number))
            for number in range(1, domains + 1)
        ]
        # A guest that counts in a register has the address of its start_info there before it begins.
        while not all(_BEGUN <= load.done(domain) < _BALLS for domain in made):
            machine.run(timeout=SECONDS)

        def turn() -> float:
            before, began = sum(map(load.done, made)), time.process_time()
            machine.run(timeout=SECONDS)
            took = time.process_time() - began
            return (sum(map(load.done, made)) - before) / took

        yield turn


def _resident() -> int:
    """Bytes of this process that are in the host's memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
