"""One function of many things: one after the other, or several at a time in processes of their own.

A process that dies takes the thing that it had with it, and no other.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import TYPE_CHECKING, TypeVar

from paravane.classes import dataclass
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

_Thing = TypeVar("_Thing")
_Result = TypeVar("_Result")


@dataclass(slots=True)
class _Worker:
    """A process, our end of its pipe, and the number of the thing it has."""

    process: subprocess.Popen[bytes]
    pipe: Connection
    at: int = -1


def each(
    call: Callable[[_Thing], _Result],
    things: Sequence[_Thing],
    jobs: int,
    died: Callable[[str], _Result],
) -> Generator[tuple[int, _Result]]:
    """The number of each thing and what `call` made of it, in the order in which they are done. `call`,
    things and results go through pipes. `died` makes a result of the sentence that says how a process
    ended. Fewer than `jobs` processes do where no more can be started. Raises what `call` raises, and
    UsageError where there can be no process at all."""
    if jobs == 1:
        yield from ((at, call(thing)) for at, thing in enumerate(things))
        return
    workers: list[_Worker] = []
    waiting = iter(range(len(things)))

    def give(worker: _Worker) -> bool:
        """Give it the next thing; False when there is none."""
        at = next(waiting, None)
        if at is None:
            return False
        worker.at = at
        # If it has died meanwhile, that is told when its answer is waited for.
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send((call, things[at]))
        return True

    try:
        for _ in range(min(jobs, len(things))):
            try:
                started = _start(workers)
            except OSError as none:
                # More processes or files than there may be: those that are there do.
                if not workers:
                    sentence = f"no process can be started: {none.strerror}"
                    raise UsageError(sentence, Status.ERRORS) from None
                break
            give(started)
        while workers:
            for pipe in wait([worker.pipe for worker in workers]):
                (worker,) = (worker for worker in workers if worker.pipe is pipe)
                try:
                    result, error = worker.pipe.recv()
                except (EOFError, ConnectionResetError):
                    result, error = died(_how_it_ended(worker)), None
                    at = worker.at
                    workers.remove(worker)
                    worker = _start(workers)
                    worker.at = at
                if error is not None:
                    raise error
                yield worker.at, result
                if not give(worker):
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
        command = [sys.executable, "-P", "-m", "paravane.tools.workers", str(number), str(os.getpid())]
        with _undisturbed():
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(number,))
            workers.append(_Worker(process, ours))
    return workers[-1]


def _how_it_ended(worker: _Worker) -> str:
    worker.pipe.close()
    code = worker.process.wait()
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    return f"the process that ran it ended {how}"


def _end(worker: _Worker) -> None:
    """Without asking: it has nothing to lose."""
    worker.pipe.close()
    worker.process.kill()
    worker.process.wait()


def _serve(pipe: Connection, parent: int) -> None:
    """In a process of its own: run what comes, and answer, until whoever started it ends it or is gone."""
    threading.Thread(target=_leave_after, args=(parent,), daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            call, thing = pipe.recv()
            pipe.send(_answer(call, thing))


def _answer(call: Callable[[_Thing], _Result], thing: _Thing) -> tuple[_Result | None, Exception | None]:
    """What `call` made of it, or raised."""
    try:
        return call(thing), None
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # of some that is all that goes through a pipe
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error


def _leave_after(parent: int) -> None:
    """End this process, whatever it is doing, once the one that started it is gone: it may have been killed,
    and what it has given us may take for ever."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
