"""Guests with consoles on terminals, sockets and files of the host, and one that lies about its rings."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from typing import TYPE_CHECKING

import pexpect
import pexpect.fdpexpect
import pytest

from paravane import DomainConfig, DomainRecord, ExtraConsole, Kind, Machine, ShutdownReason, parse_console
from paravane.abi.console import XENCONS_OUT_SIZE
from paravane.chosen import choose
from paravane.tools.status import Status
from paravane.trace import DomainEvent
from tests.support.boot import HOST_TIMEOUT
from tests.support.machines import Machines
from tests.support.patience import read_until
from tests.support.small_machines import BLOCK, MEMORY, PRINTER, image
from tests.support.work import lines_executed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from paravane import Domain, Image, Record

QUIET = 2000
"""Lines of Python that a machine takes at most for a run in which nothing happens."""

CTRL_D = b"\x04"
HOSTILE = """
    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "cmdline.inc"
    .include "ports.inc"
    .include "xenstore.inc"
    .include "xenbus.inc"
    .include "grants.inc"
    .include "consfront.inc"
    XEN_NOTES hostile
    .text
main:
    call map_shared_info
    call mask_all_events
    call store_init
    call grants_init
    movl $console_1, %eax
    call device_open
    call consfront_connect
    PRINT "connected\\n"
    movl $GNTTAB_NR_RESERVED_ENTRIES, %eax  # its page, the first that was granted
    movl $0, grant_table(,%eax,8)
    movb $'!', consfront_page + XENCONS_INTERFACE_out
    movl $1, consfront_page + XENCONS_INTERFACE_out_prod
    movl consfront_port, %eax
    call send_event
    PRINT "revoked\\n"
1:  call yield
    cmpl $1, consfront_page + XENCONS_INTERFACE_out_cons
    jne 1b
    movl $JUMP, consfront_page + XENCONS_INTERFACE_out_prod
    movl consfront_port, %eax
    call send_event
2:  call yield
    movl $error, %eax
    call back_read
    testl %eax, %eax
    jz 2b
    call print_string
    ret
    .rodata
console_1: .asciz "device/console/1"
error: .asciz "error"
"""


@pytest.fixture(scope="module")
def echo() -> Image:
    return choose("echo", (), {}).image


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        yield machine
        assert machine.audit() == []


def called(address: str) -> socket.socket:
    name, _, port = address.rpartition(":")
    client = socket.create_connection((name, int(port)))
    client.settimeout(HOST_TIMEOUT)
    return client


def console_1(domain: Domain) -> str:
    """Where the console beside the first is."""
    attachment = domain.devices.find("console", 1)
    assert attachment is not None
    address: str = attachment.device.end.address  # type: ignore[attr-defined]
    return address


class Client(threading.Thread):
    """Says something on a socket and reads until all of it has come back, after a greeting, then says `last`
    and reads all the rest.

    What comes `last` waits until all the `others` have heard theirs: it may end the guest that they talk to.
    """

    def __init__(self, address: str, told: bytes, last: bytes = b"", others: Sequence[Client] = ()) -> None:
        super().__init__()
        self.socket = called(address)
        self.told, self.last, self.others = told, last, others
        self.heard = bytearray()
        self.heard_all = threading.Event()
        self.start()

    def run(self) -> None:
        with self.socket:
            writer = threading.Thread(target=self.socket.sendall, args=(self.told,))
            writer.start()
            while not self.heard.endswith(self.told) and (data := self.socket.recv(1 << 16)):
                self.heard += data
            writer.join()
            self.heard_all.set()
            for other in self.others:
                other.heard_all.wait(HOST_TIMEOUT)
            self.socket.sendall(self.last)
            while data := self.socket.recv(1 << 16):
                self.heard += data

    def ended(self) -> bytes:
        self.join(HOST_TIMEOUT)
        assert not self.is_alive()
        return bytes(self.heard)


def test_floods_on_two_consoles_come_back_whole(machine: Machine, echo: Image, tmp_path: Path) -> None:
    """Both rings of both consoles are full all the time, and whoever is ahead waits."""
    log = tmp_path / "log"
    domain = machine.create(
        echo,
        DomainConfig(
            memory=MEMORY,
            console=parse_console(f"tcp:0,log={log}"),
            devices=(ExtraConsole(1, parse_console("tcp:0")),),
        ),
    )
    flood = bytes(byte for byte in range(256) if byte not in b"\r\x04") * 128
    assert domain.console_end is not None
    one = Client(console_1(domain), flood)
    first = Client(domain.console_end.address, flood[::-1], CTRL_D, [one])
    machine.run(timeout=HOST_TIMEOUT)
    assert domain.reason is ShutdownReason.poweroff
    machine.destroy(domain)
    greeting = b"console 0: what is typed comes back, Ctrl-D ends\nconsole 1 is there as well\n"
    assert first.ended().startswith(greeting + flood[::-1])
    assert one.ended() == b"console 1: what is typed comes back, Ctrl-D ends\r\n" + flood
    assert log.read_bytes() == bytes(first.heard)


def test_a_domain_without_an_extra_console_has_its_own(machine: Machine, echo: Image) -> None:
    domain = machine.create(echo, DomainConfig(memory=MEMORY))
    domain.console.feed(b"x" + CTRL_D)
    machine.run(timeout=HOST_TIMEOUT)
    assert domain.console_output().splitlines()[1:] == [b"xended on console 0, after 2 and 0 bytes"]


def test_a_terminal_is_where_the_store_says(machine: Machine, echo: Image) -> None:
    domain = machine.create(echo, DomainConfig(memory=MEMORY, console=parse_console("pty")))
    path = machine.store.read(f"/local/domain/{domain.domid}/console/tty").decode()
    terminal = os.open(path, os.O_RDWR | os.O_NOCTTY)
    os.write(terminal, b"\x03" + CTRL_D)
    machine.run(timeout=HOST_TIMEOUT)
    assert domain.reason is ShutdownReason.poweroff
    shown = read_until(terminal, lambda data: data.endswith(b"bytes\n"))
    assert shown.splitlines()[1] == b"\x03ended on console 0, after 2 and 0 bytes"
    os.close(terminal)
    machine.destroy(domain)
    assert not os.path.exists(path)


def test_who_does_not_read_keeps_nobody_else_waiting(machine: Machine, echo: Image) -> None:
    # In long lines, of which each is a notification: the host's kernel takes a few MiB that nobody reads.
    talker = image(PRINTER.replace("again", "again " * 200))
    printer = machine.create(talker, DomainConfig(memory=MEMORY, console=parse_console("tcp:0")))
    assert printer.console_end is not None
    other = machine.create(echo, DomainConfig(memory=MEMORY))

    def note(record: Record) -> None:
        if isinstance(record, DomainRecord) and record.event is DomainEvent.ENDED:
            machine.interrupt()

    machine.trace.subscribe(note, (Kind.DOMAIN,))
    with called(printer.console_end.address) as client:
        before = 0
        while not before == printer.console.waiting == XENCONS_OUT_SIZE:
            before = printer.console.waiting
            machine.run(timeout=0.05)
        other.console.feed(CTRL_D)
        machine.run(timeout=HOST_TIMEOUT)
        assert other.reason is ShutdownReason.poweroff
        assert printer.alive
        # Nor does it keep the machine from resting, as the guest waits in its ring.
        assert len(client.recv(100, socket.MSG_WAITALL)) == 100


def test_a_machine_rests_while_its_guest_waits_for_a_client(machine: Machine) -> None:
    extra = ExtraConsole(1, parse_console("pty"))
    machine.create(
        image(BLOCK), DomainConfig(memory=MEMORY, console=parse_console("tcp:0"), devices=(extra,))
    )
    # A busy host needs several turns to where the guest blocks. Who is woken for ever has no quiet one.
    turns = (lines_executed(lambda: machine.run(timeout=0.1)) for _ in range(100))
    assert any(lines < QUIET for lines in turns), "something wakes it again and again"


def test_a_guest_that_lies_about_its_ring_loses_that_console(machine: Machine) -> None:
    heard = bytearray()
    devices = (ExtraConsole(1, parse_console("stdio"), sink=heard.extend),)
    domain = machine.create(
        image(HOSTILE.replace("JUMP", "0x80000000")), DomainConfig(memory=MEMORY, devices=devices)
    )
    machine.run(timeout=HOST_TIMEOUT)
    assert domain.reason is ShutdownReason.poweroff, domain.crash_report
    first, second, error = domain.console_output().decode().splitlines()
    assert (first, second) == ("connected", "revoked")
    assert re.fullmatch(r"its ring is impossible: indices 0x1 and 0x80000000 are \d+ bytes apart .*", error)
    assert heard == b"!"


def test_boot_says_where_a_console_is_and_real_programs_use_it(tmp_path: Path) -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "paravane", "boot", "echo"], timeout=HOST_TIMEOUT, cwd=str(tmp_path)
    )
    child.expect(rb"paravane: console 1 of echo is at (/dev/pts/\d+)\r\n")
    assert child.match
    path = child.match[1].decode()
    child.expect_exact("console 1 is there as well")
    with open(path, "r+b", buffering=0) as stream:
        other = pexpect.fdpexpect.fdspawn(stream, timeout=HOST_TIMEOUT)
        other.expect_exact("console 1: what is typed comes back")
        other.send(b"one\r")
        other.expect_exact("one\r\n")
        child.send(b"zero\r")
        child.expect(rb"zero\r+\n")
        other.send(CTRL_D)
        child.expect_exact("ended on console 1, after 5 and 5 bytes")
        child.expect(pexpect.EOF)
    assert child.wait() == 0


def test_ctrl_c_ends_a_boot_whose_console_is_elsewhere() -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "paravane", "boot", "echo", "--console", "tcp:0"], timeout=HOST_TIMEOUT
    )
    child.expect(rb"paravane: the console of echo is at 127.0.0.1:(\d+)\r\n")
    assert child.match
    with called(f"127.0.0.1:{int(child.match[1])}") as client:
        assert client.recv(10, socket.MSG_WAITALL) == b"console 0:"
        child.sendintr()
        child.expect_exact("echo did not end: SIGINT came")
        child.expect(pexpect.EOF)
    assert child.wait() == 130


def test_consoles_are_where_the_files_of_a_machine_say(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    one = machines.domain("one", "echo", console=["tcp:0,log=one.log", "stdio"])
    two = machines.domain("two", "echo", channel=["connection=socket, name=agent, path=agent.sock"])
    with machines.running(
        one, two, lines=["one/1 | console 1: what is typed", "two   | console 1 is there"]
    ) as machine:
        machine.wait_until_told("the console of one is at 127.0.0.1:")
        machine.wait_until_told("console 1 of two is at agent.sock\n")
        found = re.search(rb"at (127.0.0.1:\d+)\n", machine.told)
        assert found
        with called(found[1].decode()) as client:
            client.sendall(b"by the port\r")
            heard = b""
            while not heard.endswith(b"port\r\n") and (data := client.recv(100)):
                heard += data
            # The same console, by another way.
            status, printed, errors = machines.do("ctl", "console", "one", "-n", "2", stdin=CTRL_D)
            assert (status, errors) == (Status.ERRORS, "paravane: one has no console 2\n")
            status, printed, _ = machines.do("ctl", "console", "one", "-n", "1", stdin=b"by ctl\n" + CTRL_D)
            assert (status, printed) == (Status.OK, "by ctl\r\n")
            while data := client.recv(100):
                heard += data
        assert heard.endswith(b"ended on console 1, after 12 and 8 bytes\n")
        assert (tmp_path / "one.log").read_bytes() == heard
        status, printed, _ = machines.do("ctl", "console", "two", stdin=CTRL_D)
        assert printed == "ended on console 0, after 1 and 0 bytes\n"
        status, printed, _ = machine.end()
    assert status == Status.OK
    assert "one/1 | by ctl\n" in printed
    assert not (tmp_path / "agent.sock").exists()
