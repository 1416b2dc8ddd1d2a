"""Commands in processes of their own that need not import Paravane first, which takes half a second each.

A server, one for each process of tests, has imported what commands need and nothing else: it has no engine,
no thread and no signal handler. For a command it forks, and what comes of that is given the streams, folder
and environment that were asked for, enters the command's front door as `python3 -m paravane` does, and ends
as any interpreter does. What is to be tested of the start itself (Ctrl-C while it imports, a limit of memory,
odd streams, a terminal) is started the long way, as is everything that a shell starts.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

from paravane.hypercalls.table import declared
from paravane.tools.cli import main
from paravane.tools.verbs import VERBS

_ROOT: Final = Path(__file__).parents[2]
_MESSAGE: Final = b"!"


def run(
    arguments: tuple[str, ...],
    *,
    stdin: bytes = b"",
    timeout: float,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """What `subprocess.run` gives of `python3 -m paravane`, all output captured. Raises TimeoutExpired."""
    ours, theirs = socket.socketpair()
    (their_in, our_in), (our_out, their_out), (our_err, their_err) = os.pipe(), os.pipe(), os.pipe()
    with ours, ThreadPoolExecutor(3) as pool:
        with theirs:
            given = [theirs.fileno(), their_in, their_out, their_err]
            socket.send_fds(server().channel, [_MESSAGE], given)
            for fd in given[1:]:
                os.close(fd)
        order = {"arguments": arguments, "cwd": str(cwd or Path.cwd()), "env": env or dict(os.environ)}
        fed = pool.submit(_feed, our_in, stdin)
        printed, said = pool.submit(_drain, our_out), pool.submit(_drain, our_err)
        ours.sendall(json.dumps(order).encode() + b"\n")
        answers = ours.makefile("r")
        pid = int(answers.readline())
        ours.settimeout(timeout)
        try:
            status = int(answers.readline())
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(arguments, timeout) from None
        fed.result()
        return subprocess.CompletedProcess(arguments, status, printed.result(), said.result())


class Server(NamedTuple):
    """The process that forks, and the way to it: it ends when that is closed."""

    process: subprocess.Popen[bytes]
    channel: socket.socket


@cache
def server() -> Server:
    """This process's own, started by the first who asks."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            # Pipes, as the commands will have: Python's own streams remember that they cannot seek.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=_ROOT,
        )
    atexit.register(_end, process, ours)
    return Server(process, ours)


def _end(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    channel.close()
    process.communicate()


def _feed(fd: int, data: bytes) -> None:
    with os.fdopen(fd, "wb", buffering=0) as stream:
        try:
            while data:
                data = data[stream.write(data) or 0 :]
        except BrokenPipeError:
            pass  # it has ended, or closed its input: as with subprocess


def _drain(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as stream:
        return stream.read()


def _serve(channel: socket.socket) -> list[str]:
    """Fork for each command. Returns, with its arguments, in the command's process only."""
    while True:
        message, fds, _, _ = socket.recv_fds(channel, len(_MESSAGE), 4)
        if not message:
            sys.exit()  # the tests are over
        if os.fork():
            for fd in fds:
                os.close(fd)
            continue
        channel.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with socket.socket(fileno=fds[0]) as asker:
            order = json.loads(asker.makefile("rb").readline())
            pid = os.fork()
            if pid == 0:
                break
            for fd in fds[1:]:
                os.close(fd)
            asker.sendall(f"{pid}\n".encode())
            _, status = os.waitpid(pid, 0)
            asker.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    for number, fd in enumerate(fds[1:]):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.path[0] = order["cwd"]
    arguments: list[str] = order["arguments"]
    return arguments


if __name__ == "__main__":
    to_tests = socket.socket(fileno=int(sys.argv[1]))
    for verb in VERBS.values():
        import_module(verb.home.partition(":")[0])
    # What commands load when they come to it, and no engine with it.
    for later in ("asm", "trace.records", "trace.entry", "trace.text", "trace.sources.observers"):
        import_module(f"paravane.{later}")
    declared()
    # Nobody waits for those who wait for the commands.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What is imported is never garbage: without this the collector would copy its pages in every command.
    gc.freeze()
    sys.argv[1:] = _serve(to_tests)
    sys.exit(main())
