"""`paravane ctl`: a machine that runs, steered from other processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paravane.tools.status import Status
from tests.support.machines import Machines
from tests.support.patience import until_equal
from tests.support.small_machines import PRINTER, SPIN

ASKED = Path(__file__).with_name("asked.S")
HEAD = "Name                                        ID   Mem VCPUs\tState\tTime(s)"


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


def states(machines: Machines) -> dict[str, str]:
    status, printed, errors = machines.do("ctl", "list")
    assert status == Status.OK, errors
    head, *rows = printed.splitlines()
    assert head == HEAD
    return {row.split()[0]: row.split()[4] for row in rows}


def come_to(machines: Machines, wanted: dict[str, str]) -> None:
    """Wait for states that domains come to by themselves: what one has printed may be read before it goes
    on."""
    until_equal(lambda: states(machines), wanted)


def test_domains_are_listed_as_xl_lists_them(machines: Machines) -> None:
    files = [machines.domain("web"), machines.domain("database-of-all", memory=9, vcpus=2)]
    with machines.running(*files, lines=("web             | ready", "database-of-all | ready")):
        come_to(machines, {"web": "-b----", "database-of-all": "-b----"})
        status, printed, _ = machines.do("ctl", "list")
    assert status == Status.OK
    head, *rows = printed.splitlines()
    assert head == HEAD
    # How long they have run is a matter of what else the host does.
    assert [re.sub(r" +\d+\.\d$", "", row) for row in rows] == [
        "web                                          1     8     1     -b----",
        "database-of-all                              2     9     1     -b----",
    ]
    assert {len(row) for row in rows} == {len(head.expandtabs())}


def test_domains_are_paused_and_go_on(machines: Machines) -> None:
    files = [machines.domain("web"), machines.domain("printer", machines.kernel("p", PRINTER))]
    with machines.running(*files, lines=("web     | ready", "printer | again")) as machine:
        until_equal(lambda: states(machines)["web"], "-b----")
        assert machines.do("ctl", "pause", "printer", "1") == (Status.OK, "", "")
        assert states(machines) == {"web": "-bp---", "printer": "--p---"}
        assert machines.do("ctl", "shutdown", "web") == (Status.OK, "", "")
        assert states(machines) == {"web": "--p---", "printer": "--p---"}, "what it slept for has come"
        assert machines.do("ctl", "unpause", "web") == (Status.OK, "", "")
        machine.wait_for("web     | powers off as it is asked to")
        assert machines.do("ctl", "destroy", "printer") == (Status.OK, "", "")
        assert machine.end()[0] == Status.OK


def test_a_domain_reboots_and_is_found_by_its_name_again(machines: Machines) -> None:
    with machines.running(machines.domain("web"), lines=("web | ready",)) as machine:
        assert machines.do("ctl", "reboot", "web") == (Status.OK, "", "")
        machine.wait_for("web | reboots as it is asked to\nweb | ready\n")
        assert "\nweb                                          2 " in machines.do("ctl", "list")[1]
        assert machines.do("ctl", "shutdown", "2") == (Status.OK, "", "")
        assert machine.end()[0] == Status.OK


def test_a_domain_is_dumped_alive_and_crashed(machines: Machines) -> None:
    files = [machines.domain("web"), machines.domain("bad", "crash", on_crash="preserve")]
    with machines.running(*files, lines=("web | ready",)):
        come_to(machines, {"web": "-b----", "bad": "---sc-"})
        status, printed, _ = machines.do("ctl", "dump", "web", "bad")
    assert status == Status.OK
    assert "domain 1 (web) at " in printed
    assert "vcpu 0 polls" in printed
    assert "domain 2 (bad) crashed: #PF" in printed


def test_a_domain_gets_a_key_is_suspended_and_goes_on(machines: Machines) -> None:
    asked = machines.kernel("asked", ASKED.read_text())
    files = [machines.domain("web"), machines.domain("db", asked)]
    with machines.running(*files, lines=("web | ready", "db  | ready")) as machine:
        assert machines.do("ctl", "sysrq", "db", "t") == (Status.OK, "", "")
        machine.wait_for("db  | sysrq: t\n")
        refused = machines.do("ctl", "sysrq", "db", "top")
        assert refused == (
            Status.ERRORS,
            "",
            "paravane: a SysRq key is one letter or digit, and 'top' is not\n",
        )
        assert machines.do("ctl", "resume", "db") == (Status.ERRORS, "", "paravane: db is not suspended\n")
        assert machines.do("ctl", "suspend", "db") == (Status.OK, "", "")
        machine.wait_until_told("db (domain 2) has ended: suspend")
        come_to(machines, {"web": "-b----", "db": "---ss-"})
        assert machines.do("ctl", "resume", "db") == (Status.OK, "", "")
        machine.wait_until_told("db (domain 2) goes on")
        machine.wait_for("db  | goes on: 1\n")
        assert machines.do("ctl", "shutdown", "db", "web") == (Status.OK, "", "")
        assert machine.end()[0] == Status.OK


def test_a_domain_is_resized(machines: Machines) -> None:
    with machines.running(machines.domain("web", maxmem=16), lines=("web | ready",)):
        assert machines.do("ctl", "mem-set", "web", "12") == (Status.OK, "", "")
        assert machines.do("ctl", "mem-max", "web", "12") == (Status.OK, "", "")
        status, _, errors = machines.do("ctl", "mem-set", "web", "13")
        assert status == Status.ERRORS
        assert errors == "paravane: 13312 KiB are more than the 12288 KiB that web may have\n"
        assert machines.do("ctl", "mem-set", "web", "lots")[2] == "paravane: 'lots' is not a number of MiB\n"


def test_a_domain_is_told_how_many_vcpus_to_use(machines: Machines) -> None:
    with machines.running(machines.domain("web", vcpus=2), lines=("web | ready",)):
        assert machines.do("ctl", "vcpu-set", "web", "1") == (Status.OK, "", "")
        refused = machines.do("ctl", "vcpu-set", "web", "3")
        assert refused == (Status.ERRORS, "", "paravane: web has 2 vcpus: 3 cannot be online\n")
        wrong = machines.do("ctl", "vcpu-set", "web", "all")
        assert wrong == (Status.ERRORS, "", "paravane: 'all' is not a number of vcpus\n")


def test_a_domain_gets_another_share_and_another_name(machines: Machines) -> None:
    files = [machines.domain("web", cpu_weight=300), machines.domain("db")]
    with machines.running(*files, "--sched", "credit", lines=("web | ready", "db  | ready")):
        assert machines.do("ctl", "sched-credit", "-d", "web", "-w", "512", "-c", "50") == (Status.OK, "", "")
        assert machines.do("ctl", "rename", "web", "www") == (Status.OK, "", "")
        assert machines.do("ctl", "rename", "db", "www")[0] == Status.ERRORS
        status, printed, _ = machines.do("ctl", "sched-credit")
        assert (status, printed.splitlines()) == (
            Status.OK,
            [
                "Name                                ID Weight  Cap",
                "www                                  1    512   50",
                "db                                   2    256    0",
            ],
        )
        assert machines.do("ctl", "sched-credit", "-d", "db")[1].splitlines()[1:] == printed.splitlines()[2:]
        _, _, errors = machines.do("ctl", "sched-credit", "-d", "db", "-w", "0")
        assert errors == "paravane: a weight is from 1 to 65535, not 0\n"
        status, _, errors = machines.do("ctl", "sched-credit", "-w", "1")
        assert status == Status.USAGE
        assert "say with -d whose weight or cap it is to be" in errors


def test_one_domain_that_is_not_there_hinders_no_other(machines: Machines) -> None:
    with machines.running(machines.domain("web"), lines=("web | ready",)) as machine:
        status, _, errors = machines.do("ctl", "shutdown", "nobody", "7", "web")
        assert status == Status.ERRORS
        assert errors == "paravane: there is no domain 'nobody'\nparavane: there is no domain '7'\n"
        assert machine.end()[0] == Status.OK


def test_a_spinning_domain_runs(machines: Machines) -> None:
    files = [machines.domain("spin", machines.kernel("s", SPIN)), machines.domain("web")]
    with machines.running(*files, lines=("web  | ready",)):
        come_to(machines, {"spin": "r-----", "web": "-b----"})


def test_a_console_is_joined_from_another_process(machines: Machines) -> None:
    with machines.running(machines.domain("web"), lines=("web | ready",)) as machine:
        client = machines.start("ctl", "console", "web", stdin=subprocess.PIPE)
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"one\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"one^\n"
        machine.wait_for("web | one^\n")
        assert machines.do("ctl", "reboot", "web")[0] == Status.OK
        assert client.stdout.readline() == b"reboots as it is asked to\n"
        assert client.stdout.readline() == b"ready\n"
        client.stdin.write(b"two\n")
        client.stdin.close()
        assert client.stdout.readline() == b"two^\n"
        assert machines.do("ctl", "shutdown", "web")[0] == Status.OK
        assert client.stdout.read() == b"powers off as it is asked to\n"
        assert client.wait() == Status.OK, "the console has ended"
        client.stdout.close()
        assert client.stderr is not None
        assert client.stderr.read() == b""
        client.stderr.close()
        assert machine.end()[0] == Status.OK


def test_a_joined_console_is_left_by_its_key(machines: Machines) -> None:
    with machines.running(machines.domain("web"), lines=("web | ready",)):
        controller, follower = os.openpty()
        client = subprocess.Popen(
            [sys.executable, "-m", "paravane", "ctl", "console", "web"],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=machines.environment,
            start_new_session=True,
        )
        os.close(follower)
        shown = b""
        os.write(controller, b"x")  # before it is raw or after: it is there when it is read
        while b"x" not in shown:
            shown += os.read(controller, 100)
        os.write(controller, b"y\x1d")
        assert client.wait() == Status.OK
        os.close(controller)
        come_to(machines, {"web": "-b----"})


def test_several_machines_are_told_apart(machines: Machines) -> None:
    web, db = machines.domain("web"), machines.domain("db")
    with (
        machines.running(web, lines=("web | ready",)) as first,
        machines.running(web, lines=("web | ready",)),
        machines.running(db, "--name", "of the db!", lines=("db | ready",)),
    ):
        assert machines.do("ctl", "machines")[1] == "of-the-db-\nweb\nweb-2\n"
        status, _, errors = machines.do("ctl", "list")
        assert status == Status.USAGE
        assert "say which with --machine: of-the-db-, web, web-2" in errors
        assert machines.do("ctl", "--machine", "web", "destroy", "web")[0] == Status.OK
        assert first.end()[0] == Status.OK
        assert machines.do("ctl", "machines")[1] == "of-the-db-\nweb-2\n"
        assert "there is no machine 'web'" in machines.do("ctl", "--machine", "web", "list")[2]
    assert machines.do("ctl", "machines")[1] == "", "those that were killed left sockets, which are removed"
    assert machines.do("ctl", "list")[2] == "paravane: no machine is running; `paravane run` starts one\n"
