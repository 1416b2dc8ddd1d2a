"""`ctl snapshot` and `restore`: a machine is written as it is, and goes on in another process, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import Machine
from paravane.together import Guest
from paravane.tools.status import Status
from tests.support.boot import HOST_TIMEOUT
from tests.support.machines import Machines
from tests.support.snapshots import Bench

if TYPE_CHECKING:
    from pathlib import Path

CLOCK = Bench(Guest("clock"))


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


def middle(path: Path) -> bytes:
    """A machine in the middle of `clock`'s life, in a file; what it has printed so far."""
    with CLOCK.machine() as machine:
        machine.run(until=1_500_000_000, timeout=HOST_TIMEOUT)
        machine.save(path)
        (domain,) = machine.domains.values()
        return domain.console_output()


def test_a_machine_goes_on_with_its_console_on_this_terminal(machines: Machines) -> None:
    before = middle(machines.folder / "clock.snapshot")
    status, printed, told = machines.do("restore", "clock.snapshot", "--audit", "--trace", "trace")
    assert (status, told) == (Status.OK, "audit: no difference\n")
    assert before + printed.encode() == CLOCK.alone().consoles[0]
    assert "sched_op.shutdown(arg={reason=poweroff})" in (machines.folder / "trace").read_text()


def test_a_running_machine_is_written_and_goes_on(machines: Machines) -> None:
    with machines.running(
        machines.domain("web"), machines.domain("db"), lines=("web | ready", "db  | ready")
    ) as one:
        assert machines.do("ctl", "snapshot", "two") == (Status.OK, "", "")
        assert machines.do("ctl", "destroy", "db") == (Status.OK, "", "")
        assert machines.do("ctl", "snapshot", "one") == (Status.OK, "", "")
        status, printed, told = machines.do("ctl", "snapshot", "missing/one")
        assert (status, printed) == (Status.ERRORS, "")
        assert told.endswith("missing/one: No such file or directory\n")
        assert machines.do("ctl", "shutdown", "web") == (Status.OK, "", "")
        assert one.end()[0] == Status.OK
    with Machine.restore(machines.folder / "two") as machine:
        assert [domain.name for domain in machine.domains.values()] == ["web", "db"]
        assert machine.audit() == []
    sentence = "two: the machine has 2 domains, and one can go on with its console here"
    assert machines.do("restore", "two") == (Status.USAGE, "", f"paravane: {sentence}\n")
    status, _, told = machines.do("restore", "one", "--max-traps", "100")
    assert status in (Status.STALLED, Status.TIMEOUT), told


@pytest.mark.parametrize("option", [("--deterministic",), ("--seed", "3"), ("--vif", "bridge=br0")])
def test_what_a_machine_is_cannot_be_changed(machines: Machines, option: tuple[str, ...]) -> None:
    middle(machines.folder / "file")
    sentence = f"file is of a machine, which stays what it was: {option[0]} is not for it"
    assert machines.do("restore", "file", *option) == (Status.USAGE, "", f"paravane: {sentence}\n")


def test_a_damaged_snapshot_is_refused(machines: Machines) -> None:
    path = machines.folder / "file"
    middle(path)
    path.write_bytes(path.read_bytes()[:-100] + bytes(100))
    sentence = "file: the snapshot is damaged: its checksum is wrong"
    assert machines.do("restore", "file") == (Status.IMAGE, "", f"paravane: {sentence}\n")
