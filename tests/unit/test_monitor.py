"""The monitor behind Ctrl-]: the line that is typed, and what becomes of it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, StopReason
from paravane.tools.ctl.listings import HEADERS
from paravane.tools.ctl.protocol import RequestError
from paravane.tools.monitor.commands import Commands
from paravane.tools.monitor.line import LONGEST, Line
from paravane.tools.monitor.monitor import HELD_BACK, Monitor
from tests.support.small_machines import MEMORY, PRINTER, image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def typed(keys: bytes) -> str:
    line = Line()
    for key in keys:
        line.take(key)
    return line.text


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (b"list", "list"),
        (b"lis\x08\x7ft", "lt"),
        (b"\x7f\x7fa", "a"),
        (b"pause web\x17db", "pause db"),
        (b"pause  \x17x", "x"),
        (b"all of it\x15none", "none"),
        (b"a\x1b[Db\x1b[3~c\x1bOPd\x1bxe\x1b[1;5Cf", "abcdef"),
        (b"a\x00\x01\x07\x1fb", "ab"),
        (b"ab\x1b\x08c\x1b[\x08d\x1b[1;\x15e", "e"),
        (b"ab\x1b\x1b[Cc\x1b\x08d", "abd"),
        ("gr\u00fc\u20acn".encode(), "gr\u00fc\u20acn"),
        ("\u20ac".encode() + b"\x7f!", "!"),
        ("\u20ac".encode()[:2] + b"\x7fa", "a"),
        (b"\xff\xfea", "\ufffd\ufffda"),
        ("\x9b2J\u202e".encode(), "2J"),
        (b"x" * (LONGEST + 100), "x" * LONGEST),
    ],
)
def test_keys_make_a_line(keys: bytes, text: str) -> None:
    assert typed(keys) == text


def monitor(shown: bytearray, *, erases: bool = True) -> Monitor:
    return Monitor(pytest.fail, shown.extend, erases=erases)


def test_a_line_is_dropped_edited_and_closed() -> None:
    shown = bytearray()
    opened = monitor(shown)
    opened.open()
    for key in b"pause\x03q\x7f\x04":
        opened.key(key)
    assert not opened.active
    wanted = b"\n(paravane) pause^C\n(paravane) q\r\x1b[K(paravane) \r\x1b[K"
    assert shown == wanted


def test_a_dumb_terminal_is_sent_no_sequences() -> None:
    shown = bytearray()
    opened = monitor(shown, erases=False)
    opened.open()
    for key in b"ab\x7f\x1d":
        opened.key(key)
    assert opened.above(b"x\n") == b"\nx\n(paravane) a"
    assert shown == b"\n(paravane) ab\n(paravane) a\n"


def test_a_line_that_a_guest_does_not_end_is_shown_in_parts() -> None:
    opened = monitor(bytearray())
    opened.open()
    assert opened.above(b"x" * (HELD_BACK - 1)) == b""
    assert opened.above(b"y").startswith(b"\r\x1b[K" + b"x" * (HELD_BACK - 1) + b"y\n")
    assert opened.above(b"z\n") == b"\r\x1b[Kz\n(paravane) "


class Console:
    """Whoever the monitor belongs to."""

    def __init__(self) -> None:
        self.focused = "web"
        self.left = False
        self.recorded = False

    def focus(self, name: str) -> None:
        if name == "db":
            raise RequestError("db has no console here")
        self.focused = name

    def check_steering(self) -> None:
        if self.recorded:
            raise RequestError("it is recorded")

    def leave(self) -> None:
        self.left = True


class Asked:
    """A monitor's commands about a machine with two domains."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.console = Console()
        self.lines: list[str] = []
        self.commands = Commands(self.console, self.lines.append)
        for name in ("web", "db"):
            machine.create(image(PRINTER), DomainConfig(name, MEMORY, sink=lambda data: None))

    def __call__(self, line: str) -> str:
        return self.commands.perform(line).text

    def run(self) -> None:
        assert self.machine.run(max_traps=20).reason is StopReason.TRAPS


@contextmanager
def asked() -> Iterator[Asked]:
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        made = Asked(machine)
        with made.commands.about(machine):
            yield made


@pytest.fixture
def ask() -> Iterator[Asked]:
    with asked() as made:
        yield made


@pytest.fixture(scope="module")
def asked_wrongly() -> Iterator[Asked]:
    """One machine for all that changes nothing of it."""
    with asked() as made:
        yield made


def test_commands_are_the_verbs_of_ctl(ask: Asked) -> None:
    rows = ask("list").splitlines()
    assert [row.split()[0] for row in rows] == ["Name", "web", "db"]
    assert ask("pause") == "web is paused"
    assert ask("pause 2") == "db is paused"
    assert all(domain.paused for domain in ask.machine.domains.values())
    assert ask("pause web") == "web is paused"
    assert ask("continue") == "web is still paused: it was paused more than once"
    assert ask("cont") == "web goes on"
    assert ask("continue") == "web is not paused"
    assert ask("where db").startswith("domain 2 (db) at ")
    assert ask("dump").startswith("domain 1 (web) at ")
    assert ask("block-list").split() == HEADERS["block-list"].split(), "there is none"
    assert ask("mem-set 7") == ""
    assert ask("mem-set db 6") == ""
    assert [domain.memory.target >> 8 for domain in ask.machine.domains.values()] == [7, 6]
    assert ask("shutdown db") == ""
    assert ask.machine.store.read("/local/domain/2/control/shutdown") == b"poweroff"
    assert ask("rename www") == ""
    assert ask("destroy www") == ""
    assert list(ask.machine.domains) == [2]
    assert ask("pause") == "there is no domain 'web'"


def test_in_a_recorded_run_one_may_look_and_no_more(ask: Asked) -> None:
    ask.console.recorded = True
    assert ask("dump").startswith("domain 1 (web) at ")
    assert ask("block-list").split() == HEADERS["block-list"].split()
    for line in ("pause", "shutdown db", "mem-set 7", "destroy web", "rename www"):
        assert ask(line) == "it is recorded"
    assert not any(domain.paused for domain in ask.machine.domains.values())


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("nonsense", "there is no command 'nonsense'; help lists them"),
        ("\x1b[2J", "there is no command '\\x1b[2J'; help lists them"),
        ("co", "co may be continue or console"),
        ("pause nobody", "there is no domain 'nobody'"),
        ("pause a b", "pause [DOMAIN]: let none of its vcpus run"),
        ("shutdown a b", "shutdown is for one domain at a time"),
        ("where 99999999999999999999", "there is no domain '99999999999999999999'"),
        ("pause 'web", "no closing quotation"),
        ("mem-set", "mem-set [DOMAIN] MIB: a number of MiB"),
        ("mem-set lots", "'lots' is not a number of MiB"),
        ("mem-set web 7 8", "mem-set [DOMAIN] MIB: a number of MiB"),
        ("disk-detach xvda", "web has no disk xvda"),
        ("list web", "list: the domains: number, memory, vcpus, state, processor time"),
        ("trace sideways", "trace [on [FILE [EVENTS]] | off]"),
        ("trace on - everything", "'everything' is no kind of event: "),
        ("trace on /", "/: File exists"),
        ("trace on no/where", "no/where: No such file or directory"),
        ("trace off", "nothing is traced"),
        ("console db", "db has no console here"),
    ],
)
def test_a_mistake_is_answered_by_a_sentence(asked_wrongly: Asked, line: str, sentence: str) -> None:
    assert asked_wrongly(line).startswith(sentence)
    assert not asked_wrongly.console.left


def test_what_belongs_to_the_console(ask: Asked) -> None:
    assert ask("console") == "the keys go to web"
    answer = ask.commands.perform("console 1")
    assert (answer.text, answer.closes) == ("the keys go to web", True)
    assert ask.commands.perform("send").keys == b"\x1d"
    shown = ask("?")
    assert shown == ask("help")
    assert "pause [DOMAIN]" in shown
    assert "shutdown" in shown
    assert ask.commands.perform("q").closes
    assert ask.console.left


def test_a_trace_begins_and_ends_while_the_machine_runs(ask: Asked) -> None:
    ask.run()
    assert ask("trace") == "nothing is traced"
    assert ask("trace on") == "what guests do is traced here"
    ask.run()
    assert any("hypercall" in line for line in ask.lines)
    assert ask("trace on") == "what guests do is traced here already; trace off ends that"
    assert ask("trace off") == "the trace has ended"
    lines = len(ask.lines)
    ask.run()
    assert len(ask.lines) == lines


def test_a_trace_goes_into_a_new_file_in_its_format(ask: Asked, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert ask(f"trace on '{path}' hypercall") == f"what guests do is traced into {path}"
    ask.run()
    assert ask("trace off") == "the trace has ended"
    written = path.read_text()
    assert '"hypercall"' in written
    assert written.endswith("}\n")
    ask.run()
    assert path.read_text() == written
    assert ask(f"trace on '{path}'") == f"{path}: File exists"
    assert path.read_text() == written
    assert ask("trace") == "nothing is traced"


def test_a_trace_that_its_disk_does_not_take_is_told_of(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, mode=0: opened("/dev/full", flags & ~os.O_EXCL))
    assert ask("trace on full.txt").startswith("what guests do is traced into full.txt")
    ask.run()
    assert ask("trace off") == "the trace is not whole: No space left on device"


def test_a_trace_goes_on_with_the_next_machine() -> None:
    console, lines = Console(), list[str]()
    commands = Commands(console, lines.append)
    assert commands.perform("list").text == "there is no machine just now"
    for life in (1, 2):
        with Machine(Machine.size_for(MEMORY)) as machine, commands.about(machine):
            machine.create(image(PRINTER), DomainConfig("web", MEMORY, sink=lambda data: None))
            if life == 1:
                commands.perform("trace on")
            before = len(lines)
            machine.run(max_traps=20)
            assert len(lines) > before
    assert commands.finish() is None
    assert commands.perform("trace").text == "nothing is traced"
