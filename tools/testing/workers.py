"""Cases run one after the other, or several at a time in processes of their own.

A process that dies takes the case that it ran with it, and no other.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import TYPE_CHECKING

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
            workers.append(_started())
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
                    if waiting:
                        workers.append(worker := _started())
                    else:
                        continue
                if not _give(worker, cases, waiting, update):
                    _end(worker)
                    workers.remove(worker)
    finally:
        for worker in workers:
            _end(worker)


def _started() -> _Worker:
    ours, theirs = Pipe()
    with theirs:
        number = theirs.fileno()
        # Isolated from the folder it is started in, whose files may be called like a module.
        command = [sys.executable, "-P", "-m", "paravane.tools.testing.workers", str(number)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(number,))
    return _Worker(process, ours)


def _give(worker: _Worker, cases: Sequence[Case], waiting: list[int], update: bool) -> bool:
    """Give it the next case; False when there is none."""
    if not waiting:
        return False
    worker.case = waiting.pop()
    worker.pipe.send((cases[worker.case], update))
    return True


def _died(worker: _Worker) -> Outcome:
    code = worker.process.wait()
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    return Outcome((Finding(Verdict.ERROR, f"the process that ran it ended {how}"),))


def _end(worker: _Worker) -> None:
    """Without asking: it has nothing to lose."""
    worker.pipe.close()
    worker.process.kill()
    worker.process.wait()


def _serve(pipe: Connection) -> None:
    """In a process of its own: run what comes, and answer. Whoever started it ends it, also after Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            case, update = pipe.recv()
        except EOFError:
            return  # whoever started it is gone
        pipe.send(run(case, update=update))


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
