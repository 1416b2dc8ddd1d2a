"""Programs that others wrote, at the socket of xenstore: Debian's xenstore-utils, Xen's own test, pyxs."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import pyxs

from tests.support.boot import HOST_TIMEOUT
from tests.support.machines import Machines
from tests.support.needs import TEST_XENSTORE, XENSTORE_CONTROL, require, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A machine that sleeps; its xenstore listens at the file `s`."""
    made = Machines(tmp_path_factory.mktemp("machines"))
    with made.running(made.domain("web"), "--store-socket", "s", lines=("web | ready",)):
        yield made


@pytest.fixture
def place(machines: Machines) -> Path:
    return machines.folder / "s"


@pytest.fixture
def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "XENSTORED_PATH": str(place)}


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., str]:
    """Runs one of the tools; its output."""

    def ran(*command: str, status: int = 0) -> str:
        done = subprocess.run(
            [tool(command[0]), *command[1:]],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=HOST_TIMEOUT,
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    return ran


def test_xenstore_utils(run: Callable[..., str], environment: dict[str, str]) -> None:
    run("xenstore-write", "/tool/u/a", "one", "/tool/u/b", r"two\n")
    assert run("xenstore-read", "-p", "/tool/u/a", "/tool/u/b") == "/tool/u/a: one\n/tool/u/b: two\\n\n"
    run("xenstore-chmod", "/tool/u/a", "n0", "r1", "b2")
    assert run("xenstore-ls", "-f", "-p", "/tool/u").replace(" . ", "").split() == [
        *("/tool/u/a", "=", '"one"', "(n0,r1,b2)"),
        *("/tool/u/b", "=", '"two\\n"', "(n0)"),
    ]
    assert run("xenstore-list", "-p", "/tool/u") == "/tool/u/a\n/tool/u/b\n"
    run("xenstore-exists", "/tool/u/a")
    run("xenstore-rm", "-t", "/tool/u/b")
    run("xenstore-exists", "/tool/u/b", status=1)
    assert "couldn't read path" in run("xenstore-read", "/tool/u/b", status=1)
    watch = subprocess.Popen(
        [tool("xenstore-watch"), "-n", "2", "/tool/u"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert watch.stdout is not None
    assert watch.stdout.readline() == "/tool/u\n"
    run("xenstore-rm", "/tool/u")
    assert watch.communicate(timeout=HOST_TIMEOUT)[0] == "/tool/u\n"
    assert watch.returncode == 0


def lib(program: Path) -> dict[str, str]:
    """The libraries of a program of usr/lib/xen-4.17/bin, which were unpacked beside it."""
    return {"LD_LIBRARY_PATH": str(program.parents[2] / "x86_64-linux-gnu")}


def test_xenstore_control(environment: dict[str, str]) -> None:
    program = require(XENSTORE_CONTROL)
    done = subprocess.run(
        [program, "quota"],
        env=environment | lib(program),
        capture_output=True,
        text=True,
        check=True,
        timeout=HOST_TIMEOUT,
    )
    assert done.stdout.startswith("Quota settings:\n")


def test_xens_own_test(environment: dict[str, str]) -> None:
    """Reads, writes, directories, transactions and their conflicts, a few times each."""
    program = require(TEST_XENSTORE)
    done = subprocess.run(
        [program, "-i", "3"],
        env=environment | lib(program),
        capture_output=True,
        text=True,
        check=False,
        timeout=HOST_TIMEOUT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 12, "it has so many tests, and says more only when transactions never succeed"
    assert all(" avg: " in line for line in lines)


def test_pyxs(place: Path) -> None:
    with pyxs.Client(unix_socket_path=str(place)) as client:
        client.write(b"/tool/p/a", b"1")
        client.mkdir(b"/tool/p/b")
        assert client.list(b"/tool/p") == [b"a", b"b"]
        assert client.exists(b"/tool/p/b")
        client.set_perms(b"/tool/p/a", [b"n0", b"r1"])
        assert client.get_perms(b"/tool/p/a") == [b"n0", b"r1"]
        assert client.get_domain_path(1) == b"/local/domain/1"
        assert client.is_domain_introduced(1)
        assert not client.is_domain_introduced(7)
        with pytest.raises(pyxs.PyXSError):
            client.read(b"/tool/p/nothing")
        monitor = client.monitor()
        monitor.watch(b"/tool/p", b"token")
        events = monitor.wait()
        assert next(events) == (b"/tool/p", b"token")
        client.transaction()
        client.write(b"/tool/p/a", b"2")
        with pyxs.Client(unix_socket_path=str(place)) as other:
            assert other.read(b"/tool/p/a") == b"1"
            other.write(b"/tool/p/a", b"3")
        assert not client.commit(), "the other one has come in between"
        assert next(events) == (b"/tool/p/a", b"token")
        client.transaction()
        client.write(b"/tool/p/a", b"4")
        assert client.commit()
        assert next(events) == (b"/tool/p/a", b"token")
        client.delete(b"/tool/p")
