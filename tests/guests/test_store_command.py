"""`paravane store`: xenstore of a machine that runs, from other processes."""

from __future__ import annotations

import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from paravane.tools.status import Status
from tests.support.machines import Machines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Done = tuple[int, str, str]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """One machine for all tests of the file, at two sockets; it sleeps when nobody asks it."""
    made = Machines(tmp_path_factory.mktemp("machines"))
    arguments = (made.domain("web"), "--store-socket", "own.socket")
    with made.running(*arguments, lines=("web | ready",)):
        yield made


@pytest.fixture
def do(machines: Machines) -> Callable[..., Done]:
    return lambda *words: machines.do("store", *words)


def test_nodes_are_written_read_listed_and_removed(do: Callable[..., Done]) -> None:
    assert do("write", "/tool/t/a", "one", "/tool/t/b", r"tw\x00o\\\n") == (Status.OK, "", "")
    assert do("read", "/tool/t/a", "/tool/t/b") == (Status.OK, "one\ntw\\x00o\\\\\\n\n", "")
    assert do("read", "-p", "/tool/t/a") == (Status.OK, "/tool/t/a: one\n", "")
    assert do("read", "-R", "/tool/t/b")[1] == "tw\0o\\\n"
    assert do("write", "--raw", "/tool/t/b", r"\n")[0] == Status.OK
    assert do("mkdir", "/tool/t/a/deep/down")[0] == Status.OK
    assert do("chmod", "-r", "/tool/t/a", "n0", "r1") == (Status.OK, "", "")
    assert do("ls", "-p", "/tool/t")[1].splitlines() == [
        'a = "one"  (n0,r1)',
        ' deep = ""  (n0,r1)',
        '  down = ""  (n0,r1)',
        'b = "\\\\n"  (n0)',
    ]
    assert do("ls", "-f", "/tool/t/a", "/tool")[1].splitlines()[:2] == [
        '/tool/t/a/deep = ""',
        '/tool/t/a/deep/down = ""',
    ]
    assert do("rm", "/tool/t/a", "/tool/t/b")[0] == Status.OK
    assert do("ls", "/tool/t") == (Status.OK, "", "")
    assert do("ls")[1].startswith('tool = ""\n')


def test_relative_paths_are_domain_0s(do: Callable[..., Done]) -> None:
    assert do("write", "mine", "x")[0] == Status.OK
    assert do("read", "/local/domain/0/mine")[1] == "x\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("read", "/nothing"), "/nothing: there is no such node or domain"),
        (("rm", "/tool/nothing"), "/tool/nothing: there is no such node or domain"),
        (("read", "/a//b"), "/a//b: it is malformed"),
        (("ls", "/\u20ac"), "/\u20ac: it is malformed"),
        (("write", "/tool/x", "y" * 5000), "/tool/x: that is too long"),
        (("chmod", "/tool", "q0"), "/tool for q0: it is malformed"),
        (("chmod", "/tool", "n7"), "/tool for n7: there is no such node or domain"),
    ],
)
def test_a_refusal_is_one_sentence(do: Callable[..., Done], words: tuple[str, ...], error: str) -> None:
    assert do(*words) == (Status.ERRORS, "", f"paravane: {error}\n")


def test_all_is_done_or_nothing(do: Callable[..., Done]) -> None:
    assert do("write", "/tool/all", "1", "/a//b", "2")[0] == Status.ERRORS
    assert do("mkdir", "/tool/all", "/")[0] == Status.OK
    assert do("rm", "/tool/all", "/tool/nothing")[0] == Status.ERRORS
    assert do("read", "/tool/all")[0] == Status.OK


def test_bad_usage_is_said(do: Callable[..., Done], machines: Machines) -> None:
    assert do("write", "/tool/x")[2] == "paravane: '/tool/x' has no value after it\n"
    assert do("write", "/tool/x", r"\q")[0] == Status.USAGE
    assert do("--machine", "other", "ls")[2] == "paravane: there is no machine 'other'; there are web\n"
    assert do("--machine", "web", "--socket", "x", "ls")[0] == Status.USAGE
    status, _, errors = do("--socket", "nothing", "ls")
    assert (status, errors) == (
        Status.ERRORS,
        "paravane: nothing: no xenstore answers: No such file or directory\n",
    )
    status, _, errors = machines.do("run", "web.cfg", "--store-socket", "x" * 200)
    assert status == Status.USAGE
    assert "too long" in errors
    status, _, errors = machines.do("run", "web.cfg", "--name", "two", "--store-socket", "own.socket")
    assert status == Status.ERRORS
    assert errors.endswith("own.socket: somebody listens there already\n")


def test_a_watch_tells_of_each_change(do: Callable[..., Done], machines: Machines) -> None:
    watch = machines.start("store", "watch", "-n", "3", "/tool/w")
    assert watch.stdout is not None
    assert watch.stdout.readline() == b"/tool/w\n", "at once"
    do("write", "/tool/w/x", "1")
    assert watch.stdout.readline() == b"/tool/w/x\n"
    do("rm", "/tool/w")
    assert watch.communicate()[0] == b"/tool/w\n"
    assert watch.returncode == Status.OK


def test_a_guest_hears_what_is_written_and_a_watch_ends_with_the_machine(tmp_path: Path) -> None:
    """The machine sleeps until then: it is a client that wakes it."""
    machines = Machines(tmp_path)
    with machines.running(machines.domain("mail"), lines=("mail | ready",)) as machine:
        watch = machines.start("store", "watch", "/tool")
        assert watch.stdout is not None
        assert watch.stdout.readline() == b"/tool\n"
        assert machines.do("store", "write", "/local/domain/1/control/shutdown", "poweroff")[0] == Status.OK
        machine.wait_for("mail | powers off as it is asked to")
        assert machine.end()[0] == Status.OK
        _, errors = watch.communicate()
    assert watch.returncode == Status.ERRORS
    assert errors.endswith(b"it has ended the connection\n")


def test_both_sockets_are_the_users_alone(machines: Machines) -> None:
    _, printed, _ = machines.do("ctl", "store-socket")
    for place in (printed.rstrip("\n"), machines.folder / "own.socket"):
        assert stat.S_IMODE((machines.folder / place).stat().st_mode) == 0o600
        assert machines.do("store", "--socket", str(place), "read", "/local/domain/1/name")[1] == "web\n"


def test_boot_serves_it_where_it_is_told(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    boot = machines.start("boot", machines.kernel("obedient"), "--store-socket", "s", stdin=subprocess.PIPE)
    assert boot.stdout is not None
    assert boot.stdout.readline() == b"ready\n"
    assert machines.do("store", "--socket", "s", "read", "/local/domain/1/domid")[1] == "1\n"
    words = ("store", "--socket", "s", "write", "/local/domain/1/control/shutdown", "poweroff")
    assert machines.do(*words)[0] == Status.OK
    assert boot.communicate()[0] == b"powers off as it is asked to\n"
    assert boot.returncode == Status.OK
    assert not (tmp_path / "s").exists()
