"""What a debugger asks besides registers and memory: threads, objects, files, `monitor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.debugged import Remote, served
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from tests.support.debugged import Served


def test_threads(remote: Remote) -> None:
    assert remote.ask("qfThreadInfo") == "m1"
    assert remote.ask("qsThreadInfo") == "l"
    assert remote.ask("qC") == "QC1"
    assert (remote.ask("T1"), remote.ask("T2"), remote.ask("Hg1"), remote.ask("Hg2")) == (
        "OK",
        "E16",
        "OK",
        "E16",
    )
    assert remote.ask("Hc-1") == "OK"
    assert bytes.fromhex(remote.ask("qThreadExtraInfo,1")) == b"domain 1 vcpu 0, runnable"
    assert '<thread id="1"' in remote.ask("qXfer:threads:read::0,1000")


def test_objects_come_in_pieces(guest: Served, remote: Remote) -> None:
    text, at = "", 0
    while True:
        piece = remote.ask(f"qXfer:features:read:target.xml:{at:x},123")
        text += piece[1:]
        at += len(piece) - 1
        if piece[0] == "l":
            break
    assert text.startswith("<?xml")
    assert text.endswith("</target>")
    assert remote.ask("qXfer:features:read:other.xml:0,10") == "E00"
    assert remote.ask("qXfer:features:read:target.xml:fffff,10") == "l"
    assert remote.ask("qXfer:nothing:read::0,10") == ""
    assert remote.ask("qXfer:exec-file:read::0,100") == "l/paravane/guest"


def test_the_kernels_file_and_no_other_can_be_read(guest: Served, remote: Remote) -> None:
    assert remote.ask("vFile:setfs:0") == "F0"
    for name in (b"/etc/passwd", b"/paravane/../etc/passwd", b"/paravane/guest\0", b""):
        assert remote.ask(f"vFile:open:{name.hex()},0,0") == "F-1,2"
    wanted = b"/paravane/guest".hex()
    assert remote.ask(f"vFile:open:{wanted},1,0") == "F-1,2"  # to write
    assert remote.ask("vFile:pread:3,10,0") == "F-1,9"
    assert remote.ask(f"vFile:open:{wanted},0,0") == "F3"
    assert remote.ask("vFile:pread:3,4,0") == "F4;\x7fELF"
    assert remote.ask(f"vFile:pread:3,4,{1 << 40:x}") == "F0;"
    assert remote.ask("vFile:fstat:3").startswith("F40;")
    assert remote.ask("vFile:unlink:2f") == ""
    assert remote.ask("vFile:close:3") == "F0"
    assert remote.ask("vFile:close:3") == "F-1,9"


def test_the_monitor_explains_refusals() -> None:
    kernel = (
        prelude()
        + """
    .globl main
    .type main, @function
main:
    movl $8, %ebx
    xorl %ecx, %ecx
    HYPERCALL set_debugreg
refused:
    ret
"""
    )
    with served(kernel) as guest:
        remote = Remote(guest.port)
        assert remote.monitor("explain") == "nothing has been refused since the debugger came\n"
        remote.go_to(guest.symbol("refused"))
        (line,) = remote.monitor("explain").splitlines()
        assert "set_debugreg" in line
        assert "ENODEV: there is no debug register 8" in line
        assert remote.monitor("frame 0") == "mfn 0x0 (device memory, not in use, 1 reference)\n"
        assert "beyond machine memory" in remote.monitor("frame 0xffffff")
        assert remote.monitor("store /nowhere").startswith("/nowhere: ")
        remote.finish()
        remote.close()


@pytest.mark.parametrize(("abi", "priority"), [("", ""), ("call use_fifo", ", priority 3")])
def test_the_monitor_tells_of_event_channels(abi: str, priority: str) -> None:
    """Ports have priorities by the FIFO ABI only."""
    kernel = f"""{prelude("paging", "shared", "events")}
    .globl main, there
main:
    call events_init
    {abi}
    xorl %eax, %eax
    call bind_ipi
    movl $3, %edx
    xchgl %eax, %edx
    call set_priority
    movl $3, %eax
    call send_event
there:
    ret
"""
    with served(kernel) as guest:
        remote = Remote(guest.port)
        remote.go_to(guest.symbol("there"))
        lines = remote.monitor("events").splitlines()
        assert [line.partition(":")[0] for line in lines] == ["port 1", "port 2", "port 3"]
        assert lines[2] == f"port 3: ipi, to vcpu 0{priority}, pending, masked"
        remote.finish()
        remote.close()


def test_the_monitors_trace(guest: Served, remote: Remote) -> None:
    remote.go_to(guest.symbol("main"))
    assert remote.monitor("trace on") == "the trace is on\n"
    remote.send("vCont;c")
    lines = ""
    while (answer := remote.answer()).startswith("O"):
        lines += bytes.fromhex(answer[1:]).decode()
    assert answer == "W00"
    assert "hypercall" in lines
    assert "event_channel_op.send" in lines
