"""What is typed at the serial port of a bare PC reaches its kernel, however that listens."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from paravane import BareMachine, StopReason
from paravane.full.state import Sensitive
from tests.guests import serial_probes
from tests.support.bare_pc import MEMORY
from tests.support.boot import HOST_TIMEOUT, paravane
from tests.support.echo_kernel import END, READY, WAYS, image
from tests.support.patience import read_until, until
from tests.support.probes import in_monitor, in_qemu
from tests.support.qemu import POWERED_OFF, typed_on_qemu

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

LINE = b"The quick brown fox jumps over the lazy dog, 0123456789 times.".replace(END, b"k")
FLOOD = LINE * 70
"""More than waits on the line."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """How the kernel listens."""
    found: str = request.param
    return found


def _file(folder: Path, way: str) -> str:
    path = folder / "echo.elf"
    path.write_bytes(image(way))
    return str(path)


def _echoed(way: str, typed: bytes) -> bytes:
    """What a kernel prints to which so much is typed as it has room for, whenever it has."""
    written: list[bytes] = []
    left = bytearray(typed)

    def feed() -> None:
        del left[: machine.guest.console.feed(bytes(left))]
        if left:
            machine.guest.console.when_room(feed)

    with BareMachine(image(way), MEMORY, sink=written.append) as machine:
        feed()
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert machine.guest.exit_code == 0
    return b"".join(written)


@pytest.mark.parametrize("typed", [END, LINE + END, FLOOD + END], ids=["a byte", "a line", "a flood"])
def test_nothing_typed_is_lost(way: str, typed: bytes) -> None:
    """Typed before the kernel runs, too: it clears its FIFOs as it begins."""
    assert _echoed(way, typed) == READY + typed


def test_registers_are_those_of_qemus_port(tmp_path: Path) -> None:
    probes = serial_probes.sequences()
    pairs = zip(probes, in_qemu(probes, tmp_path), in_monitor(probes, Sensitive.REWRITE), strict=True)
    assert [(str(probe), found) for probe, there, here in pairs if (found := there.differs(here))] == []


def test_it_is_what_a_kernel_reads_in_qemu(way: str, tmp_path: Path) -> None:
    assert typed_on_qemu(image(way), MEMORY, tmp_path, READY, FLOOD + END) == (FLOOD + END, POWERED_OFF)


@pytest.mark.parametrize("way", ["all at an interrupt", "FIFOs"])
def test_standard_input_is_typed(way: str, tmp_path: Path) -> None:
    done = paravane("boot", "--personality", "full", _file(tmp_path, way), stdin=FLOOD + b"\n" + END)
    assert (done.returncode, done.stdout, done.stderr) == (0, READY + FLOOD + b"\r" + END, b"")


def test_end_of_input_leaves_a_kernel_that_sleeps_for_good(tmp_path: Path) -> None:
    done = paravane("boot", "--personality", "full", _file(tmp_path, "FIFOs"), stdin=LINE)
    assert (done.returncode, done.stdout) == (9, READY + LINE)
    assert done.stderr.startswith(b"paravane: echo did not end: ")
    assert done.stderr.count(b"\n") == 1


def _shows(terminal: int, words: bytes) -> None:
    read_until(terminal, lambda read: words in read)


@pytest.mark.parametrize("way", ["polls", "FIFOs"])
def test_keys_of_a_terminal_are_typed(way: str, tmp_path: Path) -> None:
    """While it runs, and while it sleeps; control characters too, which a terminal would take for itself."""
    controller, follower = os.openpty()
    try:
        command = (sys.executable, "-m", "paravane", "boot", "--personality", "full", _file(tmp_path, way))
        with subprocess.Popen(
            command, stdin=follower, stdout=follower, stderr=follower, start_new_session=True
        ) as process:
            try:
                _shows(controller, READY)
                for key in (b"a", b"\x03", b"\r", b"\xff", b"bcd"):
                    os.write(controller, key)
                    _shows(controller, key)
                os.write(controller, END)
                assert process.wait(HOST_TIMEOUT) == 0
            finally:
                process.kill()
    finally:
        os.close(controller)
        os.close(follower)


@pytest.mark.parametrize("way", ["polls", "FIFOs"])
def test_another_thread_types_while_it_runs(way: str) -> None:
    written = bytearray()
    with BareMachine(image(way), MEMORY, sink=written.extend) as machine:
        typed = machine.promise()  # a kernel that sleeps waits for it

        def type_it() -> None:
            until(lambda: written)
            typed(lambda: machine.guest.console.feed(LINE + END))

        thread = threading.Thread(target=type_it)
        thread.start()
        try:
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        finally:
            thread.join()
    assert written == READY + LINE + END
