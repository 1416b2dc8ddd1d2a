"""The stub, packet by packet: what gdb asks for, and what nobody should."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from paravane import ShutdownReason
from paravane.debug.packets import MAX_PAYLOAD, packet
from paravane.debug.registers import NUMBERS
from tests.support.debugged import Remote, Served, served
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from collections.abc import Iterator

EAX, ESP, EIP, EFLAGS, CS, ES = (NUMBERS[name] for name in ("eax", "esp", "eip", "eflags", "cs", "es"))

KERNEL = (
    prelude("memory")
    + """
    .globl main
    .type main, @function
main:
    movl $5, %ecx
1:  call step
    loop 1b
    PRINT "done\\n"
    ret

    .type step, @function
step:
    addl $2, counter
stepped:
    ret

    .data
    .balign 4
counter:
    .long 0
"""
)

SPIN = (
    prelude()
    + """
    .globl main
    .type main, @function
main:
1:  incl counter
    jmp 1b

    .data
counter:
    .long 0
"""
)


@pytest.fixture
def guest() -> Iterator[Served]:
    """`KERNEL`, which waits for a debugger."""
    with served(KERNEL) as running:
        yield running


@pytest.fixture
def remote(guest: Served) -> Iterator[Remote]:
    """A debugger that has come."""
    client = Remote(guest.port)
    yield client
    client.close()


def symbol(guest: Served, name: str) -> int:
    address = guest.domain.image.symbols.address_of(name)
    assert address is not None
    return address


def go_to(remote: Remote, address: int) -> None:
    """Run to a breakpoint, and remove it."""
    assert remote.ask(f"Z0,{address:x},1") == "OK"
    assert remote.ask("vCont;c").startswith("T05swbreak:;")
    assert remote.ask(f"z0,{address:x},1") == "OK"
    assert remote.register(EIP) == address


def finish(remote: Remote) -> None:
    assert remote.ask("vCont;c") == "W00"


def test_the_first_stop_is_before_the_first_instruction(guest: Served, remote: Remote) -> None:
    assert remote.ask("?").startswith("T05thread:1;")
    assert remote.register(EIP) == guest.domain.image.entry
    assert guest.machine.platform.traps == 0
    finish(remote)
    guest.end()
    assert guest.console == "done\n"


def test_breakpoints_are_hit_each_time_and_not_in_memory(guest: Served, remote: Remote) -> None:
    at, counter = symbol(guest, "step"), symbol(guest, "counter")
    before = remote.ask(f"m{at:x},8")
    assert remote.ask(f"Z0,{at:x},1") == "OK"
    for times in range(5):
        assert remote.ask("vCont;c").startswith("T05swbreak:;thread:1;")
        assert remote.word(counter) == 2 * times
        assert remote.ask(f"m{at:x},8") == before
        assert remote.ask("vCont;s:1").startswith("T05thread:1;")
        assert remote.word(counter) == 2 * times + 2
    finish(remote)


def test_hardware_breakpoints_say_so_and_leave_the_debug_registers(guest: Served, remote: Remote) -> None:
    assert remote.ask(f"Z1,{symbol(guest, 'step'):x},1") == "OK"
    assert remote.ask("c").startswith("T05hwbreak:;")
    assert [remote.register(NUMBERS[f"dr{number}"]) for number in (0, 1, 2, 3, 7)] == [0, 0, 0, 0, 0x400]


@pytest.mark.parametrize(("kind", "name"), [(2, "watch"), (3, "rwatch"), (4, "awatch")])
def test_watched_memory(guest: Served, remote: Remote, kind: int, name: str) -> None:
    counter = symbol(guest, "counter")
    assert remote.ask(f"Z{kind},{counter:x},4") == "OK"
    assert remote.ask("vCont;c").startswith(f"T05{name}:{counter:x};thread:1;")
    assert remote.register(EIP) == symbol(guest, "stepped")
    assert remote.ask(f"z{kind},{counter:x},4") == "OK"
    finish(remote)


def test_memory_that_a_hypercall_writes() -> None:
    kernel = (
        prelude()
        + """
    .globl main
    .type main, @function
main:
    movl $XENVER_extraversion, %ebx
    movl $buffer, %ecx
    HYPERCALL xen_version
    ret
    .bss
buffer:
    .skip 16
"""
    )
    with served(kernel) as guest:
        remote, buffer = Remote(guest.port), symbol(guest, "buffer")
        assert remote.ask(f"Z2,{buffer:x},10") == "OK"
        assert remote.ask("vCont;c").startswith(f"T05watch:{buffer:x};thread:1;")
        assert remote.word(buffer)
        finish(remote)
        remote.close()


def test_going_on_elsewhere(guest: Served, remote: Remote) -> None:
    go_to(remote, symbol(guest, "step"))
    after = symbol(guest, "stepped")
    assert remote.ask(f"S05;{after:x}").startswith("T05thread:1;")
    assert remote.word(symbol(guest, "counter")) == 0
    assert remote.ask("sx") == "E16"
    assert remote.ask("c") == "W00"


def test_a_range_is_stepped_through_at_once(guest: Served, remote: Remote) -> None:
    main, at = symbol(guest, "main"), symbol(guest, "step")
    go_to(remote, main)
    # main, its loop and what it calls, up to the runtime's routines
    assert remote.ask(f"vCont;r{main:x},{at + 8:x}:1").startswith("T05thread:1;")
    assert remote.word(symbol(guest, "counter")) == 10
    assert not main <= remote.register(EIP) < at + 8
    finish(remote)


def test_memory_is_read_as_far_as_there_is_any(remote: Remote) -> None:
    top = remote.register(ESP)
    page_end = (top | 0xFFF) + 1
    while remote.ask(f"m{page_end:x},1") != "E0e":
        page_end += 0x1000
    assert len(remote.ask(f"m{page_end - 6:x},40")) == 12
    assert remote.ask("m0,4") == "E0e"
    assert remote.ask(f"m{page_end:x},0") == ""
    assert remote.ask("mffffffff,10") in {"E0e", remote.ask("mffffffff,1")}


def test_reading_disturbs_nothing(guest: Served, remote: Remote) -> None:
    """Not even the accessed and dirty bits of the page tables."""
    cpu, counter = guest.domain.vcpus[0].cpu, symbol(guest, "counter")
    cpu.ram.quads[cpu.walk(counter)[-1].maddr >> 3] &= ~0x60
    before = cpu.walk(counter)
    assert remote.word(counter) == 0
    assert remote.ask(f"M{counter:x},4:00000000") == "OK"
    assert cpu.walk(counter) == before


def test_memory_is_written_in_both_forms(guest: Served, remote: Remote) -> None:
    counter = symbol(guest, "counter")
    assert remote.ask(f"M{counter:x},4:2a000000") == "OK"
    assert remote.word(counter) == 42
    assert remote.ask(f"X{counter:x},4:".encode() + b"\x7d\x03\x7d\x04\x7d\x5d\x01") == "OK"
    assert remote.word(counter) == 0x017D2423
    assert remote.ask(f"X{counter:x},0:") == "OK"
    assert remote.ask(f"M{counter:x},4:2a0000") == "E16"


def test_code_that_is_written_is_executed(guest: Served, remote: Remote) -> None:
    """Its old form was translated already."""
    at = symbol(guest, "step")
    go_to(remote, at)
    remote.ask("vCont;s:1")
    go_to(remote, at)
    assert remote.ask(f"M{at:x},7:90909090909090") == "OK"  # what was `addl $2, counter`
    go_to(remote, symbol(guest, "stepped"))
    assert remote.word(symbol(guest, "counter")) == 2
    finish(remote)


def test_page_tables_and_descriptors_are_not_written(guest: Served, remote: Remote) -> None:
    """A debugger that could would lead its guest to any memory of the machine."""
    cpu = guest.domain.vcpus[0].cpu
    tables = {step.maddr >> 12 for step in cpu.walk(symbol(guest, "main"))}
    seen = 0
    for page in range(0xC0000000, 0xC0400000, 0x1000):
        if cpu.frame_at(page) in tables:
            seen += 1
            assert remote.ask(f"M{page:x},4:00000000") == "E0d"
            # not even behind what may be written
            assert remote.ask(f"M{page - 2:x},4:00000000") == "E0d"
    assert seen
    assert remote.ask("Mf5800000,4:00000000") == "E0d"  # the machine-to-phys table
    assert remote.ask("Mffc0e000,4:00000000") == "E0d"  # the hypervisor's descriptors
    finish(remote)
    guest.end()
    assert guest.audit == []


def test_registers_are_written_one_by_one_and_all_together(guest: Served, remote: Remote) -> None:
    assert remote.ask(f"P{EAX:x}=78563412") == "OK"
    assert remote.register(EAX) == 0x12345678
    before = remote.ask("g")
    assert before.startswith("78563412")
    assert remote.ask("G01000000" + before[8:]) == "OK"
    assert remote.register(EAX) == 1
    assert remote.ask("G" + before[:-2]) == "E16"
    assert remote.ask("P7f=00000000") == "E16"
    assert remote.ask(f"P{EAX:x}=00") == "E16"


def test_a_debugger_cannot_change_rings_or_mask_the_hypervisor(guest: Served, remote: Remote) -> None:
    before = remote.register(CS)
    assert remote.ask(f"P{CS:x}=08000000") == "E16"
    assert remote.ask(f"P{ES:x}=08000000") == "E16"  # a segment of the hypervisor's own
    assert remote.ask(f"P{NUMBERS['cr3']:x}=00000000") == "E16"
    flags = remote.register(EFLAGS)
    assert remote.ask(f"P{EFLAGS:x}=ff7f2600") == "OK"
    # IF stays set, IOPL and VM clear
    assert remote.register(EFLAGS) & 0x23300 == flags & 0x23200 | 0x100
    assert remote.ask(f"P{EFLAGS:x}=02020000") == "OK"
    assert remote.register(CS) == before


def test_floating_point_registers(remote: Remote) -> None:
    one = "00000000000000" + "80ff3f"
    assert remote.ask(f"P{NUMBERS['ftag']:x}=fcff0000") == "OK"
    assert remote.ask(f"P{NUMBERS['st0']:x}={one}") == "OK"
    assert remote.ask(f"p{NUMBERS['st0']:x}") == one
    assert remote.register(NUMBERS["ftag"]) == 0xFFFC
    assert remote.ask(f"P{NUMBERS['xmm1']:x}=" + "11" * 16) == "OK"
    assert remote.ask(f"p{NUMBERS['xmm1']:x}") == "11" * 16
    assert remote.ask(f"P{NUMBERS['mxcsr']:x}=ffffffff") == "E16"
    assert remote.register(NUMBERS["mxcsr"]) == 0x1F80


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


def test_limits_of_what_is_watched_and_broken_at(remote: Remote) -> None:
    assert [remote.ask(f"Z0,{0x1000 + at:x},1") for at in range(257)] == ["OK"] * 256 + ["E16"]
    assert [remote.ask(f"Z2,{0x1000 + at:x},4") for at in range(33)] == ["OK"] * 32 + ["E16"]
    assert remote.ask("Z2,1000,100000") == "E16"
    assert remote.ask("Z2,1000,0") == "E16"
    assert remote.ask("Z2,ffffffff,2") == "E16"
    assert remote.ask("Z5,1000,1") == "E16"
    finish(remote)


def test_an_interrupt_stops_a_guest_that_spins() -> None:
    with served(SPIN, wait=False) as guest:
        remote = Remote(guest.port)
        assert remote.ask("?").startswith("T05")
        counter = symbol(guest, "counter")
        for _ in range(3):
            before = remote.word(counter)
            remote.send("vCont;c")
            remote.raw(b"\x03")
            assert remote.answer().startswith("T02thread:1;")
            assert remote.word(counter) >= before
        remote.send("k")
        with pytest.raises(EOFError):
            remote.answer()
        remote.close()
        guest.end()
        assert guest.domain.reason is ShutdownReason.crash
        assert "its debugger killed it" in guest.crash_report


def test_a_vcpu_that_no_action_names_stays_where_it_is(guest: Served, remote: Remote) -> None:
    before = remote.ask("g")
    remote.send("vCont;c:2")
    remote.raw(b"\x03")
    assert remote.answer().startswith("T02thread:1;")
    assert remote.ask("g") == before
    assert not guest.domain.vcpus[0].run_state.runnable
    finish(remote)


def test_virtual_time_stands_still_while_the_guest_is_stopped(guest: Served, remote: Remote) -> None:
    go_to(remote, symbol(guest, "main"))
    clock = guest.machine.platform.clock
    before = clock.now()
    for _ in range(50):
        remote.ask("g")
    assert clock.now() == before
    remote.ask("vCont;s:1")
    assert clock.now() == before


def test_a_debugger_that_goes_lets_the_guest_go_on(guest: Served, remote: Remote) -> None:
    assert remote.ask(f"Z0,{symbol(guest, 'step'):x},1") == "OK"
    assert remote.ask("vCont;c").startswith("T05")
    remote.close()
    guest.end()
    assert (guest.console, guest.domain.reason) == ("done\n", ShutdownReason.poweroff)


def test_detaching_says_so_and_another_debugger_may_come() -> None:
    with served(SPIN) as guest:
        for _ in range(3):
            remote = Remote(guest.port)
            assert remote.ask("?").startswith("T05")
            assert remote.ask("D") == "OK"
            with pytest.raises(EOFError):
                remote.answer()
            remote.close()


def test_the_second_of_two_debuggers_is_sent_away(guest: Served, remote: Remote) -> None:
    assert remote.ask("?").startswith("T05")
    second = Remote(guest.port)
    with pytest.raises((EOFError, OSError)):
        second.ask("?")
    second.close()
    finish(remote)


def test_packets_while_the_guest_runs_are_dropped_but_for_an_interrupt() -> None:
    with served(SPIN) as guest:
        remote = Remote(guest.port)
        remote.send("vCont;c")
        for payload in ("g", "m0,4", "vCont;c", "D", "Mc0100000,1:00"):
            remote.send(payload)
        remote.raw(b"\x03")
        assert remote.answer().startswith("T02")
        assert remote.ask("D") == "OK"
        remote.close()


def test_going_on_after_a_range_was_left_by_a_breakpoint(guest: Served, remote: Remote) -> None:
    main, at = symbol(guest, "main"), symbol(guest, "step")
    go_to(remote, main)
    assert remote.ask(f"Z0,{at:x},1") == "OK"
    assert remote.ask(f"vCont;r{main:x},{at + 8:x}:1").startswith("T05swbreak:;")
    assert remote.ask(f"z0,{at:x},1") == "OK"
    finish(remote)


def test_a_debugger_that_takes_no_answers_is_left() -> None:
    with served(KERNEL) as guest:
        remote = Remote(guest.port)
        remote.socket.settimeout(0.5)
        with pytest.raises(OSError, match="timed out|reset|Broken pipe"):  # noqa: PT012 - as much as it takes
            while True:
                remote.raw(packet(b"g") * 500)
        guest.end()  # the guest goes on by itself
        assert guest.console == "done\n"
        remote.close()


def test_requests_that_are_sent_all_at_once_are_answered_in_order(guest: Served, remote: Remote) -> None:
    remote.raw(packet(b"QStartNoAckMode"))
    assert remote.answer() == "OK"
    remote.raw(b"".join(packet(b"T%x" % (1 + number % 2)) for number in range(200)))
    assert [remote.answer() for _ in range(200)] == ["OK", "E16"] * 100
    remote.raw(packet(b"vCont;c") + packet(b"g") + packet(b"m0,1"))
    assert remote.answer() == "W00"


def test_a_domain_that_is_taken_away_is_told_of(guest: Served, remote: Remote) -> None:
    assert remote.ask("?").startswith("T05")
    guest.machine.post(lambda: guest.machine.destroy(guest.domain))
    assert remote.answer() == "X06"
    with pytest.raises((EOFError, OSError)):
        remote.answer()


def test_acknowledgements(guest: Served, remote: Remote) -> None:
    remote.raw(b"$?#00")
    assert remote.byte() == b"-"
    remote.raw(packet(b"?"))
    assert remote.byte() == b"+"
    first = remote.answer()
    remote.raw(b"-")
    assert remote.answer() == first
    for _ in range(20):
        remote.raw(b"-")
    remote.raw(packet(b"qC"))
    assert [remote.answer() for _ in range(7)] == [first] * 7
    assert remote.answer() == "QC1"
    assert remote.ask("QStartNoAckMode") == "OK"
    remote.raw(b"+" + packet(b"?"))
    assert remote.byte() == b"$"


def test_a_crash_is_looked_at_before_it_happens() -> None:
    with served(
        prelude() + ".globl main\n.type main, @function\nmain:\n    movl %eax, 0xd0000000\n"
    ) as guest:
        remote = Remote(guest.port)
        remote.send("vCont;c")
        said = bytes.fromhex(remote.answer()[1:]).decode()
        assert said.startswith("#PF with error code 0x2")
        assert remote.answer().startswith("T0bthread:1;")
        assert guest.domain.alive
        assert remote.register(EIP) == symbol(guest, "main")
        assert remote.register(NUMBERS["cr2"]) == 0xD0000000
        # going on, or stepping, ends it
        assert remote.ask("vCont;s:1") == "X06"
        remote.close()
        guest.end()
        assert guest.domain.reason is ShutdownReason.crash
        assert "#PF with error code 0x2" in guest.crash_report


def test_a_crash_that_nobody_waits_for_happens(guest: Served) -> None:
    with served(
        prelude() + ".globl main\n.type main, @function\nmain:\n    movl %eax, 0xd0000000\n"
    ) as crashing:
        remote = Remote(crashing.port)
        remote.send("vCont;c")
        remote.answer()
        remote.close()
        crashing.end()
        assert crashing.domain.reason is ShutdownReason.crash


def test_a_reboot_is_told() -> None:
    reboot = prelude() + ".globl main\n.type main, @function\nmain:\n    movl $1, %eax\n    jmp shutdown\n"
    with served(reboot) as guest:
        remote = Remote(guest.port)
        remote.send("vCont;c")
        assert bytes.fromhex(remote.answer()[1:]) == b"the guest has ended: reboot\n"
        assert remote.answer() == "W01"
        remote.close()


def test_the_machine_may_end_while_a_debugger_looks(guest: Served, remote: Remote) -> None:
    assert remote.ask("?").startswith("T05")
    guest.machine.interrupt()
    with pytest.raises((EOFError, ConnectionResetError)):
        remote.answer()
    guest.end()


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
        go_to(remote, symbol(guest, "refused"))
        (line,) = remote.monitor("explain").splitlines()
        assert "set_debugreg" in line
        assert "ENODEV: there is no debug register 8" in line
        assert remote.monitor("frame 0") == "mfn 0x0 (device memory, not in use, 1 reference)\n"
        assert "beyond machine memory" in remote.monitor("frame 0xffffff")
        assert remote.monitor("store /nowhere").startswith("/nowhere: ")
        finish(remote)
        remote.close()


def test_the_monitors_trace(guest: Served, remote: Remote) -> None:
    go_to(remote, symbol(guest, "main"))
    assert remote.monitor("trace on") == "the trace is on\n"
    remote.send("vCont;c")
    lines = ""
    while (answer := remote.answer()).startswith("O"):
        lines += bytes.fromhex(answer[1:]).decode()
    assert answer == "W00"
    assert "hypercall" in lines
    assert "event_channel_op.send" in lines


def test_no_packet_upsets_the_stub(guest: Served, remote: Remote) -> None:
    """Ten thousand of them, most nearly right."""
    chance = random.Random(8)
    heads = [b"?", b"g", b"G", b"p", b"P", b"m", b"M", b"X", b"Z0", b"Z2", b"z0", b"z4", b"H", b"Hg", b"T"]
    heads += [
        b"qSupported",
        b"qXfer:features:read:",
        b"qXfer:threads:read",
        b"qXfer:exec-file:read:",
        b"qRcmd,",
    ]
    heads += [
        b"qC",
        b"qfThreadInfo",
        b"qThreadExtraInfo",
        b"qOffsets",
        b"vCont?",
        b"vFile:open:",
        b"vFile:pread:",
    ]
    heads += [
        b"vFile:fstat",
        b"vMustReplyEmpty",
        b"QStartNoAckMode"[:3],
        b"qRcmd,%x" % 7,
        b"!",
        b"",
        b"R",
        b"vFile",
    ]
    monitors = [
        "store",
        "store /",
        "frame",
        "frame -1",
        "frame 99999999999",
        "pagetable x",
        "pagetable 0x1ffffffff",
    ]
    monitors += ["events x", "trace maybe", "", " ", "store " + "/x" * 200, "frame 0", "domains 7", "help me"]
    heads += [b"qRcmd," + command.encode().hex().encode() for command in monitors]
    tails = [
        b"",
        b"0",
        b"1",
        b",",
        b":",
        b";",
        b"ffffffff",
        b"ffffffffffffffffffffffff",
        b"-1",
        b"=",
        b"00",
        b"zz",
    ]
    tails += [
        b"c0100000,4",
        b"c0100000,ffffffff",
        b"0,0",
        b"\xff\xfe",
        b"\x7d",
        b"target.xml:0,10",
        b"%c" % 0,
    ]
    for _ in range(10_000):
        payload = chance.choice(heads) + b"".join(chance.choices(tails, k=chance.randrange(4)))
        if payload.startswith((b"H", b"Z", b"z")) and chance.random() < 0.9:
            continue
        remote.ask(payload.replace(b"#", b"").replace(b"$", b""))
        while remote._unread.startswith(b"$O") or b"$" in remote._unread:
            remote.answer()
    remote.raw(bytes(chance.randrange(256) for _ in range(5 * MAX_PAYLOAD)).replace(b"\x03", b""))
    remote.raw(b"#00$qC#b4")
    while remote.answer() != "QC1":
        pass
    remote.ask("z0,c0100000,4")
    remote.close()
    guest.end()
    assert guest.failure is None
