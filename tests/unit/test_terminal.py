"""The process's terminal as a console: keys, lines, ends of input and output, and the terminal left whole."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from typing import TYPE_CHECKING, Any

import pytest

from paravane.tools.lines import Lines
from paravane.tools.monitor.commands import Answer
from paravane.tools.monitor.monitor import Monitor
from paravane.tools.raw_mode import RawMode
from paravane.tools.terminal import Terminal
from tests.support.boot import HOST_TIMEOUT
from tests.support.holdable import HeldMachine
from tests.support.patience import read_until, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class FakeMachine(HeldMachine):
    def __init__(self) -> None:
        super().__init__()
        self.inputs: dict[int, Callable[[], None]] = {}
        self.interrupted = False

    def add_input(self, fileno: int, ready: Callable[[], None]) -> None:
        assert fileno not in self.inputs
        self.inputs[fileno] = ready

    def remove_input(self, fileno: int) -> None:
        del self.inputs[fileno]

    def interrupt(self) -> None:
        self.interrupted = True

    def run(self) -> None:
        """Call whoever listens once, as the machine does when there is input."""
        for ready in list(self.inputs.values()):
            ready()


class FakeConsole:
    def __init__(self, room: int = 1 << 16) -> None:
        self.room = room
        self.fed = bytearray()
        self.waiting: Callable[[], None] | None = None

    def feed(self, data: bytes) -> int:
        assert len(data) <= self.room
        self.fed += data
        self.room -= len(data)
        return len(data)

    def when_room(self, callback: Callable[[], None]) -> None:
        self.waiting = callback


class Pipes:
    """A terminal on two pipes."""

    def __init__(self) -> None:
        self.their_input, self.input = os.pipe()
        self.output, self.their_output = os.pipe()
        self.terminal = Terminal(self.their_input, self.their_output)
        self.machine, self.console = FakeMachine(), FakeConsole()

    def close(self) -> None:
        for fileno in (self.their_input, self.input, self.output, self.their_output):
            try:
                os.close(fileno)
            except OSError:
                continue


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    made.close()


@pytest.fixture
def tty_pair() -> Iterator[tuple[int, int]]:
    controller, follower = pty.openpty()
    yield controller, follower
    os.close(controller)
    os.close(follower)


def mode(fileno: int) -> list[Any]:
    return termios.tcgetattr(fileno)


def is_raw(fileno: int) -> bool:
    return not mode(fileno)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ([b"one\ntwo\n"], b"one\rtwo\r"),
        ([b"one\r\ntwo\r\n"], b"one\rtwo\r"),
        ([b"one\r", b"\ntwo\r", b"\n", b"\n"], b"one\rtwo\r\r"),
        ([b"\r\r\n\n"], b"\r\r\r"),
        ([bytes(range(11, 256))], bytes(range(11, 256))),
    ],
)
def test_lines_from_a_pipe_end_with_the_enter_key(pipes: Pipes, typed: list[bytes], sent: bytes) -> None:
    with pipes.terminal.joined(pipes.machine, pipes.console):
        for data in typed:
            os.write(pipes.input, data)
            pipes.machine.run()
    assert pipes.console.fed == sent
    assert not pipes.terminal.detached


def test_the_end_of_input_is_remembered_and_asking_again_changes_nothing(pipes: Pipes) -> None:
    os.write(pipes.input, b"last")
    os.close(pipes.input)
    with pipes.terminal.joined(pipes.machine, pipes.console):
        pipes.machine.run()
        assert not pipes.terminal.eof
        pipes.machine.run()
        assert pipes.terminal.eof
        assert pipes.machine.inputs == {}
    assert pipes.console.fed == b"last"
    with pipes.terminal.joined(pipes.machine, pipes.console):
        assert pipes.machine.inputs == {}, "nobody waits for what has ended"
    assert not pipes.machine.interrupted


def test_input_that_was_never_open_is_at_its_end(pipes: Pipes) -> None:
    os.close(pipes.their_input)
    with pipes.terminal.joined(pipes.machine, pipes.console):
        pipes.machine.run()
        assert pipes.terminal.eof


def test_a_wake_up_without_input_does_not_block(pipes: Pipes) -> None:
    with pipes.terminal.joined(pipes.machine, pipes.console):
        pipes.machine.run()
    assert pipes.console.fed == b""
    assert not pipes.terminal.eof


def test_a_full_console_is_fed_later(pipes: Pipes) -> None:
    pipes.console.room = 4
    os.write(pipes.input, b"123456")
    with pipes.terminal.joined(pipes.machine, pipes.console):
        pipes.machine.run()
        pipes.machine.run()
        assert pipes.machine.inputs == {}, "ready input must not keep an idle machine busy"
        pipes.console.room = 10
        assert pipes.console.waiting is not None
        pipes.console.waiting()
        pipes.machine.run()
        assert pipes.console.fed == b"123456"
        pipes.console.room = 0
        pipes.machine.run()
    pipes.console.waiting()
    assert pipes.machine.inputs == {}, "the console is no longer joined"


def test_output_is_unaltered_and_at_once(pipes: Pipes) -> None:
    pipes.terminal.write(b"a\nb\r\n\0\xff")
    assert os.read(pipes.output, 100) == b"a\nb\r\n\0\xff"


def test_output_waits_for_a_slow_reader(pipes: Pipes) -> None:
    os.set_blocking(pipes.their_output, False)
    data = os.urandom(300_000)
    received = bytearray()

    written = threading.Event()

    def read() -> None:
        assert written.wait(HOST_TIMEOUT)
        while len(received) < len(data):
            received.extend(os.read(pipes.output, 50_000))

    reader = threading.Thread(target=read)
    reader.start()
    pipes.terminal.write(data)
    written.set()
    pipes.terminal.drain(None)
    reader.join(HOST_TIMEOUT)
    assert received == data


def test_output_that_nobody_reads_ends_the_run_quietly(pipes: Pipes) -> None:
    os.close(pipes.output)
    with pipes.terminal.joined(pipes.machine, pipes.console):
        pipes.terminal.write(b"x")
        pipes.terminal.drain(None)
        pipes.terminal.write(b"y")
    assert pipes.terminal.broken
    assert pipes.machine.interrupted


def test_every_key_of_a_terminal_is_sent_but_the_escape_key(tty_pair: tuple[int, int]) -> None:
    controller, follower = tty_pair
    machine, console = FakeMachine(), FakeConsole()
    terminal = with_monitor(follower)
    with terminal.joined(machine, console):
        os.write(controller, b"\x03\x1a\x04\r\n")
        machine.run()
        assert console.fed == b"\x03\x1a\x04\r\n"
        os.write(controller, b"last\x1dquit\rnot this")
        machine.run()
        assert machine.inputs == {}
    assert console.fed.endswith(b"last")
    assert terminal.detached
    assert machine.interrupted


def with_monitor(fileno: int, asked: list[str] | None = None) -> Terminal:
    """A terminal whose monitor notes what it is asked, and obeys `quit` and `send`."""
    terminal = Terminal(fileno, fileno)

    def perform(line: str) -> Answer:
        if asked is not None:
            asked.append(line)
        if line == "quit":
            terminal.leave()
        return Answer(f"{line}!", closes=line == "quit", keys=b"\x1d" if line == "send" else b"")

    terminal.monitor = Monitor(perform, terminal.speak)
    return terminal


def test_the_escape_key_opens_a_monitor_and_closes_it(tty_pair: tuple[int, int]) -> None:
    controller, follower = tty_pair
    machine, console, asked = FakeMachine(), FakeConsole(), list[str]()
    terminal = with_monitor(follower, asked)
    with terminal.joined(machine, console):
        for keys in (b"a\x1dwhe", b"re\rlist\r\rb", b"\x1d\x1dc", b"\x1d \x1dd", b"\x1dsend\r\re"):
            os.write(controller, keys)
            machine.run()
    assert asked == ["where", "list", "send"]
    assert console.fed == b"ab\x1dcd\x1de"
    assert not terminal.detached
    assert not machine.interrupted


def test_output_appears_above_what_is_typed(tty_pair: tuple[int, int]) -> None:
    controller, follower = tty_pair
    terminal, machine = with_monitor(follower), FakeMachine()
    erase, prompt = b"\r\x1b[K", b"(paravane) "
    wanted = (
        b"\r\n" + prompt + b"wh"
        + erase + b"one\r\n" + prompt + b"wh"
        + erase + b"told\r\n" + prompt + b"wh"
        + b"\r\nwh!\r\n" + prompt + erase + b"two!\r\n"
    )  # fmt: skip
    with terminal.joined(machine, FakeConsole()):
        os.write(controller, b"\x1dwh")
        machine.run()
        terminal.write(b"one\ntw")
        terminal.tell("told")
        terminal.write(b"o")
        os.write(controller, b"\r\r")
        machine.run()
        terminal.write(b"!\n")
        terminal.drain(None)
        assert read_until(controller, lambda shown: len(shown) >= len(wanted)) == wanted


def test_the_monitor_speaks_elsewhere_where_output_is_no_terminal(
    tty_pair: tuple[int, int], tmp_path: Path
) -> None:
    controller, follower = tty_pair
    machine, output, errors = FakeMachine(), tmp_path / "output", tmp_path / "errors"
    with output.open("wb") as out, errors.open("wb") as err:
        terminal = Terminal(follower, out.fileno(), errors=Lines(err.fileno()))
        terminal.monitor = Monitor(lambda line: Answer(f"{line}!"), terminal.speak)
        with terminal.joined(machine, FakeConsole()):
            os.write(controller, b"\x1dwhere\r")
            machine.run()
            terminal.write(b"half a line")
            terminal.drain(None)
    assert output.read_bytes() == b"half a line"
    assert b"(paravane) where\nwhere!\n" in errors.read_bytes()


def test_a_guest_that_takes_no_input_can_be_left(tty_pair: tuple[int, int]) -> None:
    controller, follower = tty_pair
    machine, console = FakeMachine(), FakeConsole(room=3)
    terminal = with_monitor(follower)
    with terminal.joined(machine, console):
        os.write(controller, b"too much")
        machine.run()
        os.write(controller, b"\x1dquit\r")
        machine.run()
    assert console.fed == b"too"
    assert terminal.detached


def test_a_terminal_is_raw_while_joined_and_only_then(tty_pair: tuple[int, int]) -> None:
    _, follower = tty_pair
    before = mode(follower)
    with Terminal(follower, follower).joined(FakeMachine(), FakeConsole()):
        assert is_raw(follower)
    assert mode(follower) == before
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_terminal_is_restored_after_an_exception(tty_pair: tuple[int, int]) -> None:
    _, follower = tty_pair
    before = mode(follower)
    machine = FakeMachine()
    with pytest.raises(ZeroDivisionError), Terminal(follower, follower).joined(machine, FakeConsole()):
        raise ZeroDivisionError
    assert mode(follower) == before
    assert machine.inputs == {}


@pytest.mark.parametrize("changed", ["raw", "back"])
def test_a_signal_in_the_middle_of_a_change_finds_it_to_be_restored(
    tty_pair: tuple[int, int], monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """Its handler, called before what follows the change, restores the terminal and ends the process."""
    _, follower = tty_pair
    before, change = mode(follower), termios.tcsetattr
    raw = RawMode(follower)

    def interrupted(*arguments: Any) -> None:
        monkeypatch.undo()
        if changed == "raw":
            change(*arguments)
        raw.restore()
        raise KeyboardInterrupt

    if changed == "raw":
        monkeypatch.setattr(termios, "tcsetattr", interrupted)
    with pytest.raises(KeyboardInterrupt), raw:
        monkeypatch.setattr(termios, "tcsetattr", interrupted)
    assert mode(follower) == before
    raw.__exit__(None, None, None)


def test_raw_mode_works_outside_the_main_thread(tty_pair: tuple[int, int]) -> None:
    _, follower = tty_pair
    seen: list[bool] = []

    def enter() -> None:
        with RawMode(follower):
            seen.append(is_raw(follower))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [True]
    assert not is_raw(follower)


SLEEP = f"time.sleep({HOST_TIMEOUT})"
CHILD = """
import sys, time
from paravane.tools.raw_mode import RawMode
from paravane.tools.signals import Signals
raw = RawMode(0)
with Signals(raw.restore) as signals:
    signals.interrupt = lambda: (raw.restore(), signals.die(), sys.exit(130))
    with raw:
        {body}
"""


class Child:
    """A process with a terminal of its own in raw mode."""

    def __init__(self, pair: tuple[int, int], body: str) -> None:
        self.follower = pair[1]
        self.before = mode(self.follower)
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD.format(body=body)],
            stdin=self.follower,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # In a group without a parent in its session, as ours may be, SIGTSTP stops nobody.
            process_group=0,
        )

    def wait_raw(self) -> None:
        until(lambda: is_raw(self.follower))

    def wait_stopped(self) -> None:
        """It has put the terminal back by then. SIGCONT before it has stopped would be lost."""
        _, status = os.waitpid(self.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), status

    def kill(self) -> None:
        """At the end of a test, however it ended."""
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        status = self.process.wait(HOST_TIMEOUT)
        assert mode(self.follower) == self.before
        return status


@pytest.fixture
def start(tty_pair: tuple[int, int]) -> Iterator[Callable[[str], Child]]:
    """Starts a child that does this."""
    started: list[Child] = []

    def child(body: str) -> Child:
        started.append(Child(tty_pair, body))
        return started[-1]

    yield child
    for one in started:
        one.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_killed_process_leaves_its_terminal_whole(start: Callable[[str], Child], number: int) -> None:
    child = start(SLEEP)
    child.wait_raw()
    child.process.send_signal(number)
    assert child.end() == (130 if number == signal.SIGINT else -number)


def test_an_exiting_process_leaves_its_terminal_whole(start: Callable[[str], Child]) -> None:
    assert start("sys.exit(7)").end() == 7


def test_a_stopped_process_lends_its_terminal_back(start: Callable[[str], Child]) -> None:
    child = start(SLEEP)
    child.wait_raw()
    for _ in range(2):
        child.process.send_signal(signal.SIGTSTP)
        child.wait_stopped()
        assert not is_raw(child.follower)
        child.process.send_signal(signal.SIGCONT)
        child.wait_raw()
    child.process.terminate()
    assert child.end() == -signal.SIGTERM
