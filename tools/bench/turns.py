"""The same measured of several things in turn, each in a process of its own.

A host that has other work to do, or cools down, shifts a figure by more than what is to be found out. So
those that are to be compared are measured for a moment each, one after the other, again and again: whatever
the host does meets all of them, and what is compared are neighbours in time.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection

Point = TypeVar("Point")


def in_turn(
    prepare: Callable[[Point], AbstractContextManager[Callable[[], float]]],
    points: Sequence[Point],
    rounds: int,
) -> list[list[float]]:
    """For each point its figure of every round. `prepare` is called in the point's process, and gives what
    measures it once; it must be a function that can be sent there."""
    with ExitStack() as stack:
        # All are there before anybody is measured.
        asks = [stack.enter_context(_process(prepare, point)) for point in points]
        figures = [[ask() for ask in asks] for _ in range(rounds)]
    return [list(of_point) for of_point in zip(*figures, strict=True)]


@contextmanager
def _process(
    prepare: Callable[[Point], AbstractContextManager[Callable[[], float]]], point: Point
) -> Iterator[Callable[[], float]]:
    """A process that measures `point` whenever it is asked. What it raises is raised here."""
    # A fresh interpreter: what is measured has no more behind it than a command has.
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(prepare, point, theirs))
    process.start()
    theirs.close()
    with ours:
        try:
            _received(ours)

            def ask() -> float:
                ours.send(None)
                return _received(ours)

            yield ask
        finally:
            ours.close()  # it ends, unless it is in the middle of something nobody wants any more
            process.join(timeout=5)
            process.terminate()
            process.join()


def _received(pipe: Connection) -> float:
    answer: float | BaseException = pipe.recv()
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _answer(
    prepare: Callable[[Point], AbstractContextManager[Callable[[], float]]], point: Point, pipe: Connection
) -> None:
    """A figure for each word from the other end, until that is closed. The first answer says that all is
    ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends this process
    try:
        with prepare(point) as measure:
            pipe.send(0.0)
            while True:
                pipe.recv()
                pipe.send(measure())
    except EOFError:
        return
    except Exception as error:
        pipe.send(error)
