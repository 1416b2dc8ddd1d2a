"""`paravane explore --dask`: the same on the workers of a real Dask cluster."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from distributed import LocalCluster

from paravane.tools import cluster
from paravane.tools.cli import main
from paravane.tools.cluster import Cluster
from paravane.tools.status import UsageError
from tests.support import errands
from tests.support.patience import until_equal

if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parents[2]
ELSEWHERE = """
import signal
from distributed import LocalCluster
settings = {"dashboard_address": "127.0.0.1:0", "protocol": "tcp://"}
with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **settings) as cluster:
    print(cluster.scheduler_address, flush=True)
    signal.pause()
"""
"""A scheduler with a worker, all in one process, which says where it is."""


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """A scheduler in this process, and two processes that work for it."""
    with LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0", protocol="tcp://"
    ) as found:
        yield found


@pytest.fixture
def address(workers: Any) -> str:
    until_equal(lambda: len(workers.scheduler.workers), 2)
    return str(workers.scheduler_address)


def test_the_outcome_is_that_of_one_machine(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("explore", "lostwakeup", "--seed", "41", "--runs", "4")
    assert main((*words, "--jobs", "1")) == 1
    alone = capsys.readouterr().out
    assert "fails with seed 42, run 2 of 4" in alone
    assert main((*words, "--dask", address)) == 1
    assert capsys.readouterr().out == alone


def test_each_thing_is_done_with_what_all_have_in_common(address: str) -> None:
    with Cluster(address) as found:
        trials = dict(found.each(errands.squared, 3, range(8), str))
    assert trials == {at: 3 * at * at for at in range(8)}


def test_what_a_dead_worker_had_is_done_by_another(address: str, tmp_path: Path) -> None:
    with Cluster(address) as found:
        done = dict(found.each(errands.dying_once, str(tmp_path), range(4), str))
    assert done == {at: at for at in range(4)}
    assert len(list(tmp_path.iterdir())) == 1


def test_who_takes_every_worker_along_is_told(
    address: str, workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.scheduler, "allowed_failures", 0)
    with Cluster(address) as found:
        done = dict(found.each(errands.dying, "", range(1), str))
    assert done == {0: "the worker that tried it died"}


def test_nothing_is_left_behind_when_it_is_over_early(address: str, workers: Any) -> None:
    with Cluster(address) as found:
        with closing(found.each(errands.squared, 1, range(100), str)) as some:
            next(some)
        until_equal(lambda: len(workers.scheduler.tasks), 0)


def test_ctrl_c_cancels_what_is_outstanding(address: str, workers: Any) -> None:
    words = ["explore", "lostwakeup", "-D", "MENDED", "--runs", "100000000", "--dask", address]
    with subprocess.Popen(
        [sys.executable, "-m", "paravane", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until_equal(lambda: len(workers.scheduler.tasks) > 1, True)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate()
    assert (process.returncode, out) == (130, ""), said
    assert "Traceback" not in said
    until_equal(lambda: len(workers.scheduler.tasks), 0)


def test_a_worker_of_another_version_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = metadata.version("paravane"), metadata.version("unicorn")
    monkeypatch.setattr(cluster, "_versions", lambda: ("0.0.0", own[1]))
    with Cluster(address) as found, pytest.raises(UsageError, match=f"has paravane {own[0]}, not 0.0.0$"):
        next(found.each(errands.squared, 1, range(3), str))


def test_a_worker_without_it_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot import what it is to call."""
    monkeypatch.setattr(errands.squared, "__module__", "paravane.elsewhere")
    monkeypatch.setitem(sys.modules, "paravane.elsewhere", errands)
    with Cluster(address) as found, pytest.raises(UsageError, match="has no Paravane, or another one"):
        next(found.each(errands.squared, 1, range(3), str))


def test_a_scheduler_without_workers_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 0.1)
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", protocol="tcp://") as empty,
        pytest.raises(UsageError, match="has no workers"),
    ):
        Cluster(str(empty.scheduler_address))


@pytest.fixture
def one() -> Iterator[Any]:
    """A cluster of one worker, in this process."""
    errands.RELEASED.clear()
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp://"
    ) as found:
        yield found
        errands.RELEASED.set()


def test_workers_that_go_away_are_told(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 0.1)
    with Cluster(str(one.scheduler_address)) as found:
        some = found.each(errands.waiting, 0, range(3), str)
        assert next(some) == (0, 0)
        one.scale(0)
        errands.RELEASED.set()
        until_equal(lambda: len(one.scheduler.workers), 0)
        with pytest.raises(UsageError, match="has no workers any more"):
            list(some)


def test_a_scheduler_that_goes_away_is_told() -> None:
    words = [sys.executable, "-c", ELSEWHERE]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with Cluster(process.stdout.readline().strip()) as found:
                some = found.each(errands.waiting, 0, range(3), str)
                assert next(some) == (0, 0)
                process.kill()
                with pytest.raises(UsageError, match="is gone$"):
                    list(some)
        finally:
            process.kill()


def test_who_does_not_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither where somebody listens and says nothing, nor where nobody does."""
    monkeypatch.setattr(cluster, "CONNECT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        assert main(("explore", "hello", "--runs", "1", "--dask", address)) == 2
        assert capsys.readouterr().err.endswith(f"no Dask scheduler answers at {address}: not within 0.2 s\n")
    assert main(("explore", "hello", "--runs", "1", "--dask", address)) == 2
    assert f"no Dask scheduler answers at {address}: " in capsys.readouterr().err


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", (1 << 62).to_bytes(8, "little") * 2])
def test_what_is_no_scheduler_is_told_in_a_sentence(
    answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody else listens there: what Dask makes of that is of any kind."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = other.accept()
                    with connection, suppress(OSError):
                        connection.sendall(answer)
                        while connection.recv(4096):
                            pass

        threading.Thread(target=serve, daemon=True).start()
        assert main(("explore", "hello", "--runs", "1", "--dask", address)) == 2
        other.shutdown(socket.SHUT_RDWR)  # who waits in `accept` goes
    said = capsys.readouterr().err
    assert said.startswith(f"paravane: no Dask scheduler answers at {address}: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    ["10.0.0.1:8786", "tcp://host", "tcp://host:0", "tcp://host:65536", "tcp://:1", "http://host:1", ""],
)
def test_what_is_no_address_is_said(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("explore", "hello", "--dask", text)) == 2
    assert "write tcp://HOST:PORT" in capsys.readouterr().err


def test_without_dask_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(("explore", "hello", "--runs", "1", "--dask", "tcp://127.0.0.1:1")) == 2
    assert "pip install 'paravane[dask]'" in capsys.readouterr().err
