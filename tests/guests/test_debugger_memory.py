"""Memory and registers of a guest under a debugger: what it may read, and what it may write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.debug.registers import NUMBERS

if TYPE_CHECKING:
    from tests.support.debugged import Remote, Served

EAX, ESP, EFLAGS, CS, ES = (NUMBERS[name] for name in ("eax", "esp", "eflags", "cs", "es"))


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
    cpu, counter = guest.domain.vcpus[0].cpu, guest.symbol("counter")
    cpu.ram.quads[cpu.walk(counter)[-1].maddr >> 3] &= ~0x60
    before = cpu.walk(counter)
    assert remote.word(counter) == 0
    assert remote.ask(f"M{counter:x},4:00000000") == "OK"
    assert cpu.walk(counter) == before


def test_memory_is_written_in_both_forms(guest: Served, remote: Remote) -> None:
    counter = guest.symbol("counter")
    assert remote.ask(f"M{counter:x},4:2a000000") == "OK"
    assert remote.word(counter) == 42
    assert remote.ask(f"X{counter:x},4:".encode() + b"\x7d\x03\x7d\x04\x7d\x5d\x01") == "OK"
    assert remote.word(counter) == 0x017D2423
    assert remote.ask(f"X{counter:x},0:") == "OK"
    assert remote.ask(f"M{counter:x},4:2a0000") == "E16"


def test_code_that_is_written_is_executed(guest: Served, remote: Remote) -> None:
    """Its old form was translated already."""
    at = guest.symbol("step")
    remote.go_to(at)
    remote.ask("vCont;s:1")
    remote.go_to(at)
    assert remote.ask(f"M{at:x},7:90909090909090") == "OK"  # what was `addl $2, counter`
    remote.go_to(guest.symbol("stepped"))
    assert remote.word(guest.symbol("counter")) == 2
    remote.finish()


def test_page_tables_and_descriptors_are_not_written(guest: Served, remote: Remote) -> None:
    """A debugger that could would lead its guest to any memory of the machine."""
    cpu = guest.domain.vcpus[0].cpu
    tables = {step.maddr >> 12 for step in cpu.walk(guest.symbol("main"))}
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
    remote.finish()
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
