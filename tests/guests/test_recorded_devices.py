"""`boot --record` and `replay` of domains with networks and disks: what came from the host comes again."""

from __future__ import annotations

import errno
import json
import re
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, StopReason, load_image
from paravane.devices.block import Disk
from paravane.devices.console import Console
from paravane.devices.net.passt import GATEWAY, GUEST
from paravane.recording import Made, RecordingError, load
from paravane.recording.disk_log import Writer
from paravane.tools.boot import recording
from paravane.tools.boot.recording import Kept
from paravane.tools.files import OutputError
from paravane.tools.status import Status
from tests.support.boot import HOST_TIMEOUT, kernel_image
from tests.support.machines import Running
from tests.support.needs import path_with
from tests.support.recordings import Runs

if TYPE_CHECKING:
    from pathlib import Path

    from paravane import Ending
    from paravane.recording.disk_log import Answer

READING = """\
# Reads what is there, writes beside it, reads both.
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "systime.inc"
    .include "ports.inc"
    .include "xenstore.inc"
    .include "xenbus.inc"
    .include "grants.inc"
    .include "blkfront.inc"
    XEN_NOTES reading
    .text
main:
    call map_shared_info
    call mask_all_events
    call store_init
    call grants_init
    movl $xvda, %eax
    call device_open
    call blkfront_connect
    movl $BLKIF_OP_READ, %eax
    xorl %edx, %edx
    movl $8 << 16, %ecx
    call transfer
    call finish
    movl disk_pages, %eax
    PRINT_HEX %eax
    movl $0x12345678, disk_pages
    movl $BLKIF_OP_WRITE, %eax
    movl $8, %edx
    movl $8 << 16, %ecx
    call transfer
    call finish
    movl $BLKIF_OP_READ, %eax
    xorl %edx, %edx
    movl $16 << 16, %ecx
    call transfer
    call finish
    movl disk_pages, %eax
    PRINT_HEX %eax
    movl disk_pages + PAGE_SIZE, %eax
    PRINT_HEX %eax
    jmp blkfront_close
    .section .rodata
xvda:
    .asciz "device/vbd/51712"
"""

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


def test_what_was_on_a_disk_is_there_again_without_it(runs: Runs) -> None:
    kernel = runs.kernel("reading", READING)
    disk = runs.folder / "disk.img"
    disk.write_bytes(b"abcd" * 512 + b"\1" * 6144 + bytes(1 << 20))
    how = ("--disk", "disk.img,xvda", "--disk", "ram:1M,xvdb", "--trace", "one.jsonl", *ALL)
    recorded = runs.do("boot", kernel, "--record", "rec", *how)
    assert (recorded[0], recorded[1]) == (Status.OK, "0x646362610x646362610x12345678")
    assert disk.read_bytes()[4096:4100] == b"\x78\x56\x34\x12"
    disk.unlink()
    assert runs.replay("--trace", "two.jsonl", *ALL) == recorded
    assert runs.contents("two.jsonl") == runs.contents("one.jsonl")
    kept = runs.contents("rec/disk-0")
    assert 0 < len(kept) < 200
    (runs.folder / "rec" / "disk-0").write_bytes(kept[:-1])
    status, _, told = runs.replay()
    assert status == Status.USAGE
    assert told == "paravane: rec: it is damaged: disk-0 is not what was recorded\n"
    for text in (kept[:-5], b"", kept[:5] + b"x" + kept[6:]):
        runs.forge("disk-0", text)
        status, _, told = runs.replay("--timeout", "60")
        assert status == Status.ERRORS
        assert "paravane: this is not the recorded run: what its disk gave is " in told
        assert "Traceback" not in told


def test_what_a_viewer_did_comes_again_without_one(runs: Runs) -> None:
    boot = ("boot", "paint", "--record", "rec", "--trace", "one.jsonl", *ALL)
    running = Running(runs.start(*boot))
    try:
        running.wait_for("Escape ends it")
        running.wait_until_told("paint: VNC at 127.0.0.1:")
        found = re.search(rb"VNC at 127\.0\.0\.1:(\d+)", running.told)
        assert found is not None
        server, doing = f"127.0.0.1::{found[1].decode()}", ("type", "hi", "move", "100", "50", "click", "1")
        viewer = (sys.executable, "-m", "vncdotool.command", "--server", server, *doing, "key", "esc")
        subprocess.run(viewer, timeout=HOST_TIMEOUT, check=True, capture_output=True)
        recorded = running.end()
    finally:
        running.process.kill()
    assert recorded[0] == Status.OK
    assert "key 35\n" in recorded[1]
    assert "button at 100, 50\n" in recorded[1]
    assert runs.replay("--trace", "two.jsonl", *ALL) == (*recorded[:2], "")
    assert runs.contents("two.jsonl") == runs.contents("one.jsonl")


SLICE = 2_000
MADE = Made("reading", 8 << 20, 1, "", False, 0, "bvt", True, SLICE, 0, 0, -1, 0, "", -1)


def kept_run(folder: Path, device: Disk) -> tuple[Ending, str]:
    """A recorded run of `reading`, as the command has it, but in this process."""
    image = kernel_image(READING)
    kept = Kept(folder, MADE, DomainConfig("reading", 8 << 20, devices=(device,)), image)
    with Machine(Machine.size_for(8 << 20), slice_instructions=SLICE) as machine:
        kept.join(machine)
        domain = machine.create(load_image(image), kept.config)
        assert isinstance(domain.console, Console)
        kept.begin(machine, domain.console)
        return kept.ended(machine.run(timeout=HOST_TIMEOUT), "")


def test_a_run_ends_whose_disk_gives_more_than_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(1 << 20))
    monkeypatch.setattr(recording, "MOST_DATA", 4096)
    ending, why = kept_run(tmp_path / "rec", Disk(tmp_path / "disk.img"))
    assert (ending.reason, why) == (
        StopReason.INTERRUPTED,
        "0 MiB of what a disk gives are kept, and no more",
    )
    assert load(tmp_path / "rec").manifest.end.cut_short


def test_a_run_ends_that_cannot_be_written_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(writer: Writer, answer: Answer) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "disk.img").write_bytes(bytes(1 << 20))
    monkeypatch.setattr(Writer, "add", full)
    with pytest.raises(OutputError, match="No space left on device"):
        kept_run(tmp_path / "rec", Disk(tmp_path / "disk.img"))
    with pytest.raises(RecordingError, match=r"it has no manifest\.json"):
        load(tmp_path / "rec")
