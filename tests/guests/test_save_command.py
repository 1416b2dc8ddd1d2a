"""`ctl save` and `restore`: a domain leaves one machine and goes on in another process."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from uuid import UUID

import pytest

from paravane.abi.vcpu import VCPU_GUEST_CONTEXT
from paravane.migration.settings import Settings, to_json
from paravane.migration.stream import RecordType, head, record, tail
from paravane.sched import Share
from paravane.tools.status import Status
from tests.support.boot import HOST_TIMEOUT
from tests.support.machines import Machines
from tests.support.patience import until_equal

KERNEL = Path(__file__).parents[2] / "guest_kernels" / "suspend" / "suspend.S"
ASKED = Path(__file__).with_name("asked.S")
GONE_ON = "restored: 32 of 32 frames are others, 0 frames are unknown, 0 words are wrong\n"


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


@pytest.fixture
def traveller(machines: Machines) -> str:
    """The file of a domain that suspends itself when it is asked to."""
    kernel = machines.kernel("suspend", KERNEL.read_text())
    return machines.domain("traveller", kernel, memory=4, extra="asked")


def restored(machines: Machines, *arguments: str) -> tuple[int, str, str]:
    """`restore`, until nothing can move the domain any more."""
    return machines.do("restore", *arguments, "--seed", "9", "--max-traps", "2000")


def test_a_domain_leaves_and_goes_on_elsewhere(machines: Machines, traveller: str) -> None:
    with machines.running(
        traveller, machines.domain("web"), lines=("traveller | ready", "web       | ready")
    ) as one:
        assert machines.do("ctl", "save", "traveller", "file") == (Status.OK, "", "")
        until_equal(lambda: "traveller" in machines.do("ctl", "list")[1], False)
        assert machines.do("ctl", "shutdown", "web") == (Status.OK, "", "")
        status, printed, told = one.end()
    assert status == Status.OK, told
    assert "traveller | suspending\n" in printed
    status, printed, told = restored(machines, "file")
    assert printed == GONE_ON + "ready\n"
    assert "Traceback" not in told
    assert status in (Status.STALLED, Status.TIMEOUT), told


def test_the_last_one_of_a_machine_is_saved_too(machines: Machines, traveller: str) -> None:
    with machines.running(traveller, lines=("traveller | ready",)) as one:
        assert machines.do("ctl", "save", "traveller", "file") == (Status.OK, "", "")
        assert one.end()[0] == Status.OK
    assert (machines.folder / "file").stat().st_size > 4 << 20


def test_a_checkpoint_is_taken_of_one_that_goes_on(machines: Machines, traveller: str) -> None:
    with machines.running(traveller, lines=("traveller | ready",)) as one:
        assert machines.do("ctl", "save", "-c", "traveller", "file") == (Status.OK, "", "")
        one.wait_for("traveller | resumed where it was\n")
        assert machines.do("ctl", "save", "-c", "1", "file") == (Status.OK, "", "")
        assert machines.do("ctl", "shutdown", "traveller") == (Status.OK, "", "")
        one.wait_for("traveller | that is enough\n")
        assert one.end()[0] == Status.OK
    assert restored(machines, "file")[1] == GONE_ON + "ready\n"


def test_one_can_be_left_as_it_was_saved(machines: Machines, traveller: str) -> None:
    with machines.running(traveller, machines.domain("web"), lines=("traveller | ready",)) as one:
        assert machines.do("ctl", "save", "-p", "traveller", "file") == (Status.OK, "", "")
        assert "---ss-" in machines.do("ctl", "list")[1]
        assert machines.do("ctl", "save", "traveller", "other") == (Status.OK, "", "")
        assert machines.do("ctl", "shutdown", "web") == (Status.OK, "", "")
        assert one.end()[0] == Status.OK
    assert (machines.folder / "file").read_bytes() == (machines.folder / "other").read_bytes()


def test_one_that_cannot_be_saved_goes_on(machines: Machines) -> None:
    asked = machines.kernel("asked", ASKED.read_text())
    with machines.running(machines.domain("db", asked), lines=("db | ready",)) as one:
        assert machines.do("ctl", "save", "db", "file") == (
            Status.ERRORS,
            "",
            "paravane: db cannot be saved: its kernel says that its last page is pfn 0x0\n",
        )
        one.wait_for("db | goes on: 1\n")
        assert not (machines.folder / "file").exists()
        assert machines.do("ctl", "shutdown", "db") == (Status.OK, "", "")
        assert one.end()[0] == Status.OK


def test_a_file_that_cannot_be_written_loses_nothing(machines: Machines, traveller: str) -> None:
    with machines.running(traveller, lines=("traveller | ready",)) as one:
        place = machines.folder / "no" / "file"
        assert machines.do("ctl", "save", "traveller", "no/file") == (
            Status.ERRORS,
            "",
            f"paravane: {place}: {os.strerror(errno.ENOENT)}\n",
        )
        one.wait_for("traveller | resumed where it was\n")
        pipe = machines.folder / "pipe"
        os.mkfifo(pipe)
        refused = (Status.ERRORS, "", f"paravane: {pipe}: it is no regular file\n")
        assert machines.do("ctl", "save", "traveller", "pipe") == refused
        assert pipe.is_fifo()
        assert machines.do("ctl", "shutdown", "traveller") == (Status.OK, "", "")
        assert one.end()[0] == Status.OK


def test_who_leaves_before_it_is_done_takes_his_wish_back(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`asked d` never looks at what it is asked."""
    asked = machines.kernel("asked", ASKED.read_text())
    monkeypatch.setenv("XDG_RUNTIME_DIR", machines.environment["XDG_RUNTIME_DIR"])
    with machines.running(machines.domain("db", asked, extra="d"), lines=("db | ready",)) as one:
        (path,) = [entry for entry in Path(machines.environment["XDG_RUNTIME_DIR"]).rglob("*.sock")]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b'{"verb": "save", "domain": "db", "argument": "destroy,/nowhere"}\n')
            until_equal(lambda: asked_for(machines), "suspend")
        until_equal(lambda: asked_for(machines), "")
        one.process.kill()


def test_who_waits_for_one_that_is_destroyed_is_told(machines: Machines) -> None:
    asked = machines.kernel("asked", ASKED.read_text())
    files = [machines.domain("db", asked, extra="d"), machines.domain("web")]
    with machines.running(*files, lines=("db  | ready", "web | ready")) as one:
        waiting = machines.start("ctl", "save", "db", "file")
        until_equal(lambda: asked_for(machines), "suspend")
        assert machines.do("ctl", "destroy", "db") == (Status.OK, "", "")
        assert waiting.communicate(timeout=HOST_TIMEOUT) == (b"", b"paravane: db is gone\n")
        assert machines.do("ctl", "shutdown", "web") == (Status.OK, "", "")
        assert one.end()[0] == Status.OK


def asked_for(machines: Machines) -> str:
    return machines.do("store", "read", "/local/domain/1/control/shutdown")[1].strip()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "it is no saved domain"),
        (b"hello\n", "it is no saved domain"),
        (b"Xen saved domain", "it ends too early"),
        (b"\x7fELF" * 40, "it is no saved domain"),
        (
            b"Xen saved domain, xl format\n \0 \r" + bytes(100),
            "it was saved on a machine with another order of bytes",
        ),
    ],
)
def test_what_is_no_saved_domain_is_refused(machines: Machines, data: bytes, sentence: str) -> None:
    (machines.folder / "file").write_bytes(data)
    assert machines.do("restore", "file") == (Status.IMAGE, "", f"paravane: file: {sentence}\n")


def test_one_that_fits_into_no_machine_is_refused(machines: Machines) -> None:
    settings = Settings("big", UUID(int=1), 1, 1, 4 << 20, 4 << 20, Share(), ())
    data = head(to_json(settings)) + record(RecordType.X86_PV_P2M_FRAMES, bytes(8), bytes(8))
    data += record(RecordType.SHARED_INFO, bytes(4096))
    data += record(RecordType.X86_PV_VCPU_BASIC, bytes(8), bytes(VCPU_GUEST_CONTEXT.size)) + tail()
    (machines.folder / "file").write_bytes(data)
    refused = machines.do("restore", "file")
    assert refused == (
        Status.USAGE,
        "",
        "paravane: a domain of 4096 MiB does not fit into a machine of 4 GiB\n",
    )


def test_its_devices_are_to_be_given_again(machines: Machines) -> None:
    kernel = machines.kernel("suspend", KERNEL.read_text())
    file = machines.domain("traveller", kernel, memory=4, extra="asked", disk=["ram:1M,xvda"])
    with machines.running(file, lines=("traveller | ready",)) as one:
        assert machines.do("ctl", "save", "traveller", "file") == (Status.OK, "", "")
        assert one.end()[0] == Status.OK
    refused = machines.do("restore", "file")
    assert refused == (Status.USAGE, "", "paravane: file: its kernel had vbd/51712: give it again\n")
    assert restored(machines, "file", "--disk", "ram:1M,xvda")[1] == GONE_ON + "ready\n"
