"""Commands in processes of their own that need not import Paravane first, which takes half a second each.

A server, one for each process of tests, has imported what commands need and nothing else: it has no engine,
no thread and no signal handler. For a command it forks, and what comes of that is given the streams, folder
and environment that were asked for, enters the command's front door as `python3 -m paravane` does, and ends
as any interpreter does. A shell that types commands finds a `paravane` that asks for them (`programs`). What
is to be tested of the start itself (Ctrl-C while it imports, a limit of memory, odd streams, a terminal) is
started the long way.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Final, NamedTuple, Self

from paravane.hypercalls.table import declared
from paravane.tools.cli import main
from paravane.tools.verbs import VERBS
from tests.support.native_use import note

_ROOT: Final = Path(__file__).parents[2]
SERVER: Final = (sys.executable, "-m", "tests.support.forked")
_CLIENT: Final = Path(__file__).with_name("forked_client.py")
_MESSAGE: Final = b"!"
_LINE: Final = 64
"""More than a number takes."""

note_in: Path | None = None
"""Where commands note that they use the native gateway (tests.support.native_use)."""

Files = tuple[IO[bytes] | None, IO[bytes] | None, IO[bytes] | None]
"""Our ends of standard input, output and error, where there are any."""


class Process:
    """A command that runs: as much of `subprocess.Popen` as tests use."""

    def __init__(self, arguments: tuple[str, ...], pid: int, end: socket.socket, files: Files) -> None:
        self.args = arguments
        self.pid = pid
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = files
        self._end = end
        _RUNNING.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream:
                stream.close()
        self.wait()

    def poll(self) -> int | None:
        """Its status, if it has ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its status. Raises TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._end], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._end.recv(_LINE))
            self._end.close()
            _RUNNING.discard(self)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing comes of it if the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, stdin: bytes = b"", timeout: float | None = None) -> tuple[bytes, bytes]:
        """Give it its input, and wait for its end: what else comes on its streams, which are closed then. One
        that has not ended in time is killed, and TimeoutExpired raised."""
        with ThreadPoolExecutor(3) as pool:
            fed = pool.submit(_feed, self.stdin, stdin)
            printed, said = pool.submit(_drain, self.stdout), pool.submit(_drain, self.stderr)
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            fed.result()
            return printed.result(), said.result()


_RUNNING: set[Process] = set()


def kill_all() -> None:
    """End what still runs. A guest that a failed test has left would take the processor from all after it."""
    for process in tuple(_RUNNING):
        process.kill()
        with process:
            pass


def start(
    arguments: tuple[str, ...],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> Process:
    """Start `python3 -m paravane`. A stream is a descriptor, or PIPE or DEVNULL of `subprocess`."""
    ours, theirs = socket.socketpair()
    streams = [_stream(*how) for how in ((stdin, "wb"), (stdout, "rb"), (stderr, "rb"))]
    with theirs:
        socket.send_fds(server().channel, [_MESSAGE], [theirs.fileno(), *(fd for fd, _, _ in streams)])
    for fd, ours_to_close, _ in streams:
        if ours_to_close:
            os.close(fd)
    order = {
        "arguments": arguments,
        "cwd": str(cwd or Path.cwd()),
        "env": env or dict(os.environ),
        "note_in": note_in and str(note_in),
    }
    ours.sendall(json.dumps(order).encode() + b"\n")
    pid = b""
    while not pid.endswith(b"\n"):
        byte = ours.recv(1)
        assert byte, f"the server could not start {arguments}"
        pid += byte
    their_input, printed, said = (file for _, _, file in streams)
    return Process(arguments, int(pid), ours, (their_input, printed, said))


def run(
    arguments: tuple[str, ...],
    *,
    stdin: bytes = b"",
    timeout: float,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """What `subprocess.run` gives of `python3 -m paravane`, all output captured. Raises TimeoutExpired."""
    with start(arguments, stdin=subprocess.PIPE, cwd=cwd, env=env) as process:
        printed, said = process.communicate(stdin, timeout)
        return subprocess.CompletedProcess(arguments, process.wait(), printed, said)


def programs() -> Path:
    """A folder for the path of a shell, whose `paravane` is a command in a process that is forked for it."""
    script = server().address.with_name("paravane")
    if not script.exists():
        words = (sys.executable, "-I", "-S", str(_CLIENT), str(server().address))
        script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        script.chmod(0o755)
    return script.parent


def _stream(asked: int, mode: str) -> tuple[int, bool, IO[bytes] | None]:
    """The command's end of a stream, whether it is to be closed here, and our end if there is one."""
    if asked == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), True, None
    if asked != subprocess.PIPE:
        return asked, False, None
    reading, writing = os.pipe()
    ours, theirs = (writing, reading) if mode == "wb" else (reading, writing)
    return theirs, True, os.fdopen(ours, mode)


class Server(NamedTuple):
    """The process that forks, and the way to it: it ends when that is closed. Others ask at its address."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    address: Path


@cache
def server() -> Server:
    """This process's own, started by the first who asks."""
    ours, theirs = socket.socketpair()
    address = Path(tempfile.mkdtemp(prefix="paravane-"), "commands")
    with theirs, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(address))
        listening.listen()
        process = subprocess.Popen(
            [*SERVER, str(theirs.fileno()), str(listening.fileno())],
            pass_fds=[theirs.fileno(), listening.fileno()],
            # Pipes, as the commands will have: Python's own streams remember that they cannot seek.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=_ROOT,
        )
    started = Server(process, ours, address)
    atexit.register(_end, started)
    return started


def _end(started: Server) -> None:
    kill_all()
    started.channel.close()
    started.process.communicate()
    shutil.rmtree(started.address.parent)


def _feed(stream: IO[bytes] | None, data: bytes) -> None:
    if stream and not stream.closed:
        try:
            with stream:
                stream.write(data)
        except BrokenPipeError:
            pass  # it has ended, or closed its input: as with subprocess


def _drain(stream: IO[bytes] | None) -> bytes:
    if not stream or stream.closed:
        return b""
    with stream:
        return stream.read()


def _asked(channel: socket.socket, listening: socket.socket) -> list[int]:
    """Descriptors of the next who asks for a command: one to talk to them, and the command's streams."""
    if channel in select.select([channel, listening], [], [])[0]:
        message, fds, _, _ = socket.recv_fds(channel, len(_MESSAGE), 4)
        if not message:
            sys.exit()  # the tests are over
        return fds
    asker, _ = listening.accept()
    _, fds, _, _ = socket.recv_fds(asker, len(_MESSAGE), 3)
    return [asker.detach(), *fds]


def _serve(channel: socket.socket, listening: socket.socket) -> list[str]:
    """Fork for each command. Returns, with its arguments, in the command's process only."""
    while True:
        fds = _asked(channel, listening)
        if os.fork():
            for fd in fds:
                os.close(fd)
            continue
        channel.close()
        listening.close()
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
    if order["note_in"]:
        note(Path(order["note_in"]))
    arguments: list[str] = order["arguments"]
    return arguments


if __name__ == "__main__":
    to_tests, to_others = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
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
    sys.argv[1:] = _serve(to_tests, to_others)
    sys.exit(main())
