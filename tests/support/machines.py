"""Machines of `paravane run` as processes, for tests that look at them from outside."""

from __future__ import annotations

import os
import select
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from paravane import asm
from tests.support import forked
from tests.support.boot import HOST_TIMEOUT, kernel_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

OBEDIENT = Path(__file__).parents[1] / "guests" / "obedient.S"


class Machines:
    """A folder with domains' files, and the commands that run there with a runtime folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runtime = folder / "runtime"
        self._runtime.mkdir(mode=0o700)

    def kernel(self, name: str, source: str | None = None) -> str:
        """Build a kernel (None: the obedient one) into an image, once; its file's name."""
        path = self.folder / f"{name}.elf"
        if not path.exists():
            path.write_bytes(asm.build([OBEDIENT]) if source is None else kernel_image(source))
        return path.name

    def domain(self, name: str, kernel: str = "", **settings: str | int | list[str]) -> str:
        """Write the file of a domain; its name."""
        lines = {"name": name, "kernel": kernel or self.kernel("obedient"), "memory": 8, **settings}
        text = "".join(f"{key} = {value!r}\n" for key, value in lines.items())
        (self.folder / f"{name}.cfg").write_text(text)
        return f"{name}.cfg"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "XDG_RUNTIME_DIR": str(self._runtime)}

    def start(
        self, *arguments: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.PIPE
    ) -> forked.Process:
        """Start a command."""
        return forked.start(arguments, stdin=stdin, stdout=stdout, cwd=self.folder, env=self.environment)

    def do(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Run a command to its end: status, stdout, stderr."""
        done = forked.run(arguments, stdin=stdin, timeout=HOST_TIMEOUT, cwd=self.folder, env=self.environment)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    @contextmanager
    def running(self, *arguments: str, lines: Sequence[str] = ()) -> Iterator[Running]:
        """A machine, once it has printed all these lines; it is killed at the end if it still runs."""
        process = self.start("run", *arguments)
        machine = Running(process)
        try:
            for line in lines:
                machine.wait_for(line)
            yield machine
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


class Running:
    """A machine that runs, and what it has printed so far."""

    def __init__(self, process: forked.Process) -> None:
        self.process = process
        self.printed = b""
        self.told = b""

    def wait_for(self, line: str) -> None:
        """Wait until this has been printed on stdout."""
        assert self.process.stdout is not None
        while line.encode() not in self.printed:
            data = _more(self.process.stdout)
            assert data, (self.printed, self.told, self.process.stderr and self.process.stderr.read())
            self.printed += data

    def wait_until_told(self, sentence: str) -> None:
        """Wait until this has been said on stderr."""
        assert self.process.stderr is not None
        while sentence.encode() not in self.told:
            data = _more(self.process.stderr)
            assert data, self.told
            self.told += data

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: status, stdout, stderr."""
        rest, errors = self.process.communicate(timeout=HOST_TIMEOUT)
        return self.process.wait(), (self.printed + rest).decode(), (self.told + errors).decode()


def _more(stream: IO[bytes]) -> bytes:
    """What has come next; empty at its end."""
    ready, _, _ = select.select([stream], [], [], HOST_TIMEOUT)
    assert ready
    return os.read(stream.fileno(), 1 << 16)
