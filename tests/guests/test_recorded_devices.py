"""`boot --record` and `replay` of domains with networks and disks: what came from the host comes again."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from paravane.devices.net.passt import GATEWAY, GUEST
from paravane.tools.status import Status
from tests.support.boot import HOST_TIMEOUT
from tests.support.needs import path_with
from tests.support.recordings import Runs

if TYPE_CHECKING:
    from pathlib import Path

ALL = ("--trace-events", "all")


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def test_what_came_by_the_network_comes_again_without_one(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(HOST_TIMEOUT)

        def answer() -> None:
            while not heard or heard[-1] != b"bye":
                data, address = server.recvfrom(2048)
                heard.append(data)
                server.sendto(b"the host heard you", address)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        patience = round(HOST_TIMEOUT * 1000 / 20)
        words = f"ip={GUEST} peer={GATEWAY} port={server.getsockname()[1]} pings=0 patience={patience}"
        trace = ("--trace", "one.jsonl", *ALL)
        boot = ("boot", "net", "--vif", "passt,rate=10Mb/s", "--record", "rec", *trace, "--", *words.split())
        with monkeypatch.context() as patch:
            patch.setenv("PATH", path_with("passt"))
            recorded = runs.do(*boot)
        thread.join(HOST_TIMEOUT)
    assert recorded[0] == Status.OK, recorded
    assert recorded[1].endswith(f"is {GATEWAY}\nthe server says: the host heard you\n")
    monkeypatch.setenv("PATH", "/nowhere")
    assert runs.replay("--trace", "two.jsonl", *ALL) == recorded
    assert runs.contents("two.jsonl") == runs.contents("one.jsonl")
    manifest = json.loads(runs.contents("rec/manifest.json"))
    assert manifest["end"]["sent_count"] >= 3
    manifest["devices"][0]["mac"] = "00:16:3e:00:00:07"
    (runs.folder / "rec" / "manifest.json").write_text(json.dumps(manifest))
    status, _, told = runs.replay("--timeout", "60")
    assert status == Status.ERRORS
    assert "paravane: this is not the recorded run: " in told
