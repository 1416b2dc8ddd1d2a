"""Cases run one after the other, or several at a time in processes of their own.

A process that dies takes the case that it ran with it, and no other.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import TYPE_CHECKING

from paravane.classes import dataclass
from paravane.testing import Finding, Outcome, Verdict, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paravane.testing import Case


@dataclass(slots=True)
class _Worker:
    """A process, our end of its pipe, and the number of the case it runs."""

    process: subprocess.Popen[bytes]
    pipe: Connection
    case: int = -1


def each(cases: Sequence[Case], jobs: int, *, update: bool) -> Iterator[tuple[int, Outcome]]:
    """The number of each case and what came of it, in the order in which they are done."""
    if jobs == 1:
        yield from ((at, run(case, update=update)) for at, case in enumerate(cases))
        return
    workers: list[_Worker] = []
    waiting = list(range(len(cases) - 1, -1, -1))
    try:
        for _ in range(min(jobs, len(cases))):
            _start(workers)
            _give(workers[-1], cases, waiting, update)
        while workers:
            for pipe in wait([worker.pipe for worker in workers]):
                (worker,) = (worker for worker in workers if worker.pipe is pipe)
                try:
                    outcome = worker.pipe.recv()
                    yield worker.case, outcome
                except (EOFError, ConnectionResetError):
                    yield worker.case, _died(worker)
                    workers.remove(worker)
                    if not waiting:
                        continue
                    worker = _start(workers)
                if not _give(worker, cases, waiting, update):
                    _end(worker)
                    workers.remove(worker)
    finally:
        with _undisturbed():
            for worker in workers:
                _end(worker)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C wait, so that no process is forgotten between its start and the list, or at the end. What is
    started meanwhile never hears of one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(workers: list[_Worker]) -> _Worker:
    """One more of them."""
    ours, theirs = Pipe()
    with theirs:
        number = theirs.fileno()
        # Isolated from the folder it is started in, whose files may be called like a module.
        command = [sys.executable, "-P", "-m", "paravane.tools.testing.workers", str(number)]
        with _undisturbed():
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(number,))
            workers.append(_Worker(process, ours))
    return workers[-1]


def _give(worker: _Worker, cases: Sequence[Case], waiting: list[int], update: bool) -> bool:
    """Give it the next case; False when there is none."""
    if not waiting:
        return False
    worker.case = waiting.pop()
    # If it has died meanwhile, that is told when its answer is waited for.
    with suppress(BrokenPipeError, ConnectionResetError):
        worker.pipe.send((cases[worker.case], update))
    return True


def _died(worker: _Worker) -> Outcome:
    worker.pipe.close()
    code = worker.process.wait()
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    return Outcome((Finding(Verdict.ERROR, f"the process that ran it ended {how}"),))


def _end(worker: _Worker) -> None:
    """Without asking: it has nothing to lose."""
    worker.pipe.close()
    worker.process.kill()
    worker.process.wait()


def _serve(pipe: Connection) -> None:
    """In a process of its own: run what comes, and answer, until whoever started it ends it or is gone."""
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            case, update = pipe.recv()
            pipe.send(run(case, update=update))


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
