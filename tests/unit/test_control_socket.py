"""The control socket of a machine, and clients that nobody would want: slow, rude, many, gone."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, StopReason
from paravane.tools.consoles import DomainConsole
from paravane.tools.ctl import endpoint as places
from paravane.tools.ctl import server
from paravane.tools.ctl.endpoint import Endpoint, NameTaken, connect, endpoint
from paravane.tools.ctl.protocol import LONGEST, Request, RequestError, outcome, request_of
from paravane.tools.ctl.server import MOST_CLIENTS, Control
from paravane.tools.status import UsageError
from tests.support.boot import HOST_TIMEOUT
from tests.support.small_machines import MEMORY, PRINTER, SPIN, image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

LIST = Request("list").line()
MORE_THAN_A_SOCKET_TAKES = 1 << 20


@pytest.fixture(autouse=True)
def _runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@contextmanager
def served(visit: Callable[[], None], source: str, show: Callable[[bytes], None]) -> Iterator[Machine]:
    """A machine with one domain, `it`, which runs until `visit` has come to its end in a thread. What `visit`
    raises is raised at the end."""
    raised: list[BaseException] = []
    with Machine(Machine.size_for(MEMORY)) as machine:

        def go() -> None:
            try:
                visit()
            except BaseException as error:  # noqa: BLE001 - raised again below
                raised.append(error)
            machine.interrupt()

        consoles = {"it": DomainConsole(machine, "it", show)}
        control = Control(machine, "box", consoles)
        machine.create(image(source), DomainConfig(name="it", memory=MEMORY, sink=consoles["it"].write))
        visitor = threading.Thread(target=go)
        visitor.start()
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
        control.close()
        visitor.join()
        yield machine
    for error in raised:
        raise error


def visit(
    visitor: Callable[[], None], source: str = SPIN, show: Callable[[bytes], None] = lambda data: None
) -> None:
    with served(visitor, source, show):
        pass


def come() -> socket.socket:
    connection = connect("box")
    connection.settimeout(HOST_TIMEOUT)
    return connection


def answers(connection: socket.socket, count: int) -> list[dict[str, object]]:
    with connection.makefile("rb") as stream:
        return [json.loads(stream.readline()) for _ in range(count)]


def ask(request: bytes = LIST) -> dict[str, object]:
    with come() as connection:
        connection.sendall(request)
        return answers(connection, 1)[0]


def is_listed() -> None:
    rows = ask()["ok"]
    assert isinstance(rows, list)
    assert [row["name"] for row in rows] == ["it"]


def test_a_request_is_answered_beside_a_guest_that_spins() -> None:
    visit(is_listed)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"\n", "a request is a line of JSON"),
        (b"list\n", "a request is a line of JSON"),
        (b"\xff\xfe\n", "a request is a line of JSON"),
        (b"[" * 4000 + b"\n", "a request is a line of JSON"),
        (b"[]\n", "a request is an object"),
        (b'{"verb": 1}\n', "verb, domain and argument are texts"),
        (b"{}\n", "there is no verb ''"),
        (b'{"verb": "explode"}\n', "there is no verb 'explode'"),
        (b'{"verb": "pause"}\n', "there is no domain ''"),
        (b'{"verb": "console", "domain": "no\\u001b"}\n', "there is no domain 'no\\\\x1b'"),
        (b'{"verb": "unpause", "domain": "it"}\n', "it is not paused"),
        (b"x" * (LONGEST + 1), f"a request has {LONGEST} bytes at most"),
        (b"x" * (1 << 20) + b"\n", f"a request has {LONGEST} bytes at most"),
    ],
)
def test_what_is_no_request_is_refused_in_a_sentence(line: bytes, sentence: str) -> None:
    def rude() -> None:
        assert ask(line) == {"error": sentence}
        is_listed()

    visit(rude)


def test_requests_in_one_go_are_all_answered_in_their_order() -> None:
    def hasty() -> None:
        with come() as connection:
            connection.sendall(b"".join(Request("pause", f"{number}").line() for number in range(2, 300)))
            connection.shutdown(socket.SHUT_WR)
            assert [answer["error"] for answer in answers(connection, 298)] == [
                f"there is no domain '{number}'" for number in range(2, 300)
            ]
            assert connection.recv(1) == b""

    visit(hasty)


def test_half_a_request_and_half_a_connection_cost_nothing() -> None:
    def strange() -> None:
        with come() as half:
            half.sendall(LIST[:5])
            half.shutdown(socket.SHUT_WR)
            assert half.recv(1) == b""
        with come() as gone:
            gone.sendall(LIST * 50)
        with come() as slow:
            for at in range(len(LIST)):
                slow.sendall(LIST[at : at + 1])
            assert "ok" in answers(slow, 1)[0]
        is_listed()

    visit(strange)


def test_hundreds_who_say_nothing_keep_nobody_out() -> None:
    def crowd() -> None:
        silent = [come() for _ in range(10 * MOST_CLIENTS)]
        is_listed()
        for connection in silent:
            connection.close()

    visit(crowd)


def test_who_does_not_read_is_not_listened_to() -> None:
    def greedy() -> None:
        with come() as connection:
            connection.setblocking(False)
            sent = 0
            dump = Request("dump", "it").line()
            while sent < 10_000 * len(dump):
                try:
                    sent += connection.send(dump)
                except BlockingIOError:
                    break
            else:
                pytest.fail("ten thousand requests were taken from who reads none of the answers")
            is_listed()

    visit(greedy)


def test_a_console_waits_for_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that prints for ever goes on while a client reads nothing, who is told what he missed."""
    monkeypatch.setattr(server, "MOST_UNREAD", 1 << 12)
    printed = 0

    def show(data: bytes) -> None:
        nonlocal printed
        printed += len(data)

    def idle() -> None:
        with come() as connection, connection.makefile("rb") as stream:
            connection.sendall(Request("console", "it").line())
            assert json.loads(stream.readline()) == {"ok": "it"}
            before = printed
            while printed < before + MORE_THAN_A_SOCKET_TAKES:
                is_listed()
            while b"bytes were lost" not in stream.readline():
                pass

    visit(idle, PRINTER.replace("again", "again" * 200), show)


def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "paravane").mkdir()
    (tmp_path / "paravane").chmod(0o755)
    with pytest.raises(UsageError, match="is not a folder of yours that nobody else can enter"):
        endpoint("box")
    (tmp_path / "paravane").rmdir()
    (tmp_path / "paravane").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is not a folder of yours that nobody else can enter"):
        endpoint("box")


def test_only_the_user_can_reach_it(tmp_path: Path) -> None:
    place = endpoint("box")
    assert stat.S_IMODE((tmp_path / "paravane").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "paravane" / "box.sock").stat().st_mode) == 0o600
    place.close()
    assert list((tmp_path / "paravane").iterdir()) == []


def test_without_a_runtime_folder_there_is_one_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    place = endpoint("box")
    assert (tmp_path / f"paravane-{os.getuid()}" / "box.sock").exists()
    place.close()


def test_names_are_taken_once_and_freed() -> None:
    first, second = endpoint("box"), endpoint("box")
    assert (first.name, second.name) == ("box", "box-2")
    with pytest.raises(NameTaken):
        Endpoint("box")
    assert places.machines() == ["box", "box-2"]
    first.close()
    assert places.machines() == ["box-2"]
    third = endpoint("box")
    assert third.name == "box"
    second.close()
    third.close()


def test_what_a_dead_machine_left_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "paravane"
    folder.mkdir(mode=0o700)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(folder / "box.sock"))
    left.close()
    (folder / "box.lock").touch()
    assert places.machines() == []
    assert list(folder.iterdir()) == []


def test_a_folder_with_a_long_name_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    place = endpoint("z" * 80)
    assert place.name == "z" * 60
    connect(place.name).close()
    place.close()


@pytest.mark.parametrize("name", ["../up", "", "..", "a/b", "ü", ".hidden"])
def test_any_name_becomes_a_file_in_the_folder(tmp_path: Path, name: str) -> None:
    place = endpoint(name)
    assert (tmp_path / "paravane" / f"{place.name}.sock").exists()
    place.close()


def test_requests_and_answers_are_lines() -> None:
    assert request_of(Request("pause", "it", "x").line()) == Request("pause", "it", "x")
    with pytest.raises(RequestError, match="cannot be understood"):
        outcome(b"nonsense")
