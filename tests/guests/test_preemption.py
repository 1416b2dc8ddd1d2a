"""Long lists: who asks for much does not hold the machine, nor can tell in how many portions it was done."""

from __future__ import annotations

import functools
import logging
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane import BootResult, DomainConfig, Machine, StopReason, guest_kernels, load_image, preemption
from paravane.abi.sched import ShutdownReason
from paravane.abi.xs_wire import XENSTORE_RING_SIZE, XSD_SOCKMSG
from paravane.asm import build
from paravane.devices.xenstore import Session
from paravane.testing.expectation import Expected
from paravane.testing.matching import difference
from paravane.trace import DomainRecord, HypercallRecord, Kind, Record
from paravane.trace.text import body, line
from tests.support.boot import HOST_TIMEOUT, finished, kernel_image, paravane
from tests.support.patience import given_longer

if TYPE_CHECKING:
    from paravane.abi.xs_wire import XsdSockmsg
    from paravane.testing.plugin import Boot

FOLDER = Path(__file__).parent
MEMORY = 8 << 20
ALIAS = 0xD0000000

ENDLESS = {
    "MMU_UPDATE": "mmu_update",
    "MMUEXT_OP": "mmuext_op",
    "DECREASE": "memory_op",
    "MULTICALL": "multicall",
    "CONSOLE_IO": "console_io.write",
    "SET_TRAP_TABLE": "set_trap_table",
    "COPY": "grant_table_op.copy",
    "SWAP_GRANT_REF": "grant_table_op.swap_grant_ref",
    "MAP_GRANT_REF": "grant_table_op.map_grant_ref",
    "UNMAP_GRANT_REF": "grant_table_op.unmap_grant_ref",
    "CACHE_FLUSH": "grant_table_op.cache_flush",
    "XENSTORE": "multicall",
}

NEIGHBOUR = """
    .include "runtime.inc"
    XEN_NOTES
main:
    movl $SCHEDOP_poll, %ebx
    movl $poll, %ecx
    HYPERCALL sched_op
    PRINT "awake\\n"
    ret
    .data
    .balign 4
poll:
    .long 0, 0
    .quad 100000000                 # system time in nanoseconds
"""

PORTIONS = """\
mmu_update: 0
done: 20000
sum of pfns: 1720064
mmu_update: -22
done: 15000
sum of pfns: 1257216
mmuext_op: -38
done: 5999
decrease_reservation: 3000
pages: 5192
populate_physmap: 3000
pages: 8192
pfns kept: 3000
exchange: 0
exchanged: 1500
pages: 8192
multicall: 0
done: 15000
long entry: 0
0x9c3e97ff
swap_grant_ref: 0
statuses: -3
console_io: 0
"""


@functools.cache
def endless(call: str) -> bytes:
    return build([FOLDER / "endless.S"], defines={call: 1})


@functools.cache
def portions() -> bytes:
    return build([FOLDER / "portions.S"])


def preempted(outcome: BootResult) -> list[HypercallRecord]:
    calls = [record for record in outcome.records if isinstance(record, HypercallRecord)]
    return [record for record in calls if record.preempted is not None]


@pytest.mark.parametrize(("call", "name"), ENDLESS.items())
def test_a_guest_that_asks_without_end_does_not_hold_the_machine(
    call: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    records: list[Record] = []
    with Machine(Machine.size_for(MEMORY)) as machine:
        machine.trace.subscribe(records.append, (Kind.HYPERCALL,))
        domain = machine.create(load_image(endless(call)), DomainConfig(memory=MEMORY))
        while not domain.console_output():
            assert machine.run(max_traps=10).reason is StopReason.TRAPS
        assert machine.run(max_traps=10).reason is StopReason.TRAPS
        assert domain.console_output() == b"asking\n"
        lines = [body(record) for record in records if "preempted" in body(record)]
    assert len(lines) > 1
    assert all(line.startswith(f"{name}(") for line in lines)
    assert len(set(lines)) == len(lines), "the arguments did not move on"
    assert all(int(count) > 0 for line in lines for count in re.findall(r"preempted after (\d+)", line))


def test_a_backend_does_no_more_at_once_than_its_portion(monkeypatch: pytest.MonkeyPatch) -> None:
    """One multicall fills the store's ring over and over; what is done for it is not done inside it."""
    served: Counter[int] = Counter()
    handle = Session.handle
    with Machine(Machine.size_for(MEMORY)) as machine:

        def counted(session: Session, request: XsdSockmsg, payload: bytes) -> int:
            served[machine.platform.traps] += 1
            return handle(session, request, payload)

        monkeypatch.setattr(Session, "handle", counted)
        machine.create(load_image(endless("XENSTORE")), DomainConfig(memory=MEMORY))
        assert machine.run(timeout=HOST_TIMEOUT, max_traps=400).reason is StopReason.TRAPS
    assert sum(served.values()) > 64, "the backend serves its guest"
    # What one ring holds, on the return to the guest and between two slices, and one more for each.
    assert max(served.values()) <= 2 * (XENSTORE_RING_SIZE // XSD_SOCKMSG.size + 1)


@pytest.mark.parametrize("options", [(), ("--deterministic",), ("--clock", "host")])
def test_the_command_gives_up_in_time_with_status_124(tmp_path: Path, options: tuple[str, ...]) -> None:
    image = tmp_path / "endless.elf"
    image.write_bytes(endless("MMU_UPDATE"))
    done = given_longer(
        lambda seconds: paravane("boot", str(image), "--memory", "8M", "--timeout", str(seconds), *options),
        lambda outcome: outcome.stdout,
    )
    assert (done.returncode, done.stdout) == (124, b"asking\n")


@pytest.mark.parametrize(
    "slices",
    ["timed", pytest.param("counted", marks=pytest.mark.paravane_machine(slice_instructions=1_000_000))],
)
@pytest.mark.parametrize("call", ["MULTICALL", "MMUEXT_OP", "XENSTORE"])
def test_a_neighbour_runs_and_its_timer_goes_off_meanwhile(machine: Machine, call: str, slices: str) -> None:
    neighbour_image = kernel_image(NEIGHBOUR)
    config = DomainConfig(memory=MEMORY)
    asking = bytearray()

    def asks(data: bytes) -> None:
        asking.extend(data)
        machine.interrupt()

    hostile = machine.create(load_image(endless(call)), replace(config, sink=asks))
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    neighbour = machine.create(load_image(neighbour_image), config)

    def ended(record: Record) -> None:
        if record.domid == neighbour.domid and isinstance(record, DomainRecord) and record.reason is not None:
            machine.interrupt()

    machine.trace.subscribe(ended, (Kind.DOMAIN,))
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.INTERRUPTED
    assert neighbour.reason is ShutdownReason.poweroff
    assert neighbour.console_output() == b"awake\n"
    assert asking == b"asking\n"
    assert hostile.alive


def test_where_a_list_is_split_is_the_same_in_every_run() -> None:
    def lines() -> list[str]:
        found: list[str] = []
        with Machine(Machine.size_for(MEMORY, MEMORY), slice_instructions=1_000_000) as machine:
            machine.trace.subscribe(lambda record: found.append(line(record)), (Kind.HYPERCALL,))
            for call in ("MMUEXT_OP", "SWAP_GRANT_REF"):
                machine.create(load_image(endless(call)), DomainConfig(memory=MEMORY))
            assert machine.run(max_traps=700).reason is StopReason.TRAPS
        return found

    first = lines()
    assert sum("preempted" in line for line in first) > 50
    assert lines() == first


@pytest.mark.parametrize("budget", [97, preemption.WORK_BUDGET, 1 << 40])
def test_answers_do_not_tell_how_many_portions_there_were(
    boot: Boot, budget: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(preemption, "WORK_BUDGET", budget)
    outcome = boot(load_image(portions()), trace=(Kind.HYPERCALL,))
    assert finished(outcome).console == PORTIONS
    printed = [line.removeprefix("(d1) ") for line in caplog.messages if line.startswith("(d1) ")]
    assert "".join(printed) == "0123456789" * 3300
    assert bool(preempted(outcome)) == (budget < 1 << 40)


def test_the_trace_shows_each_portion_once_with_what_was_left(boot: Boot) -> None:
    outcome = boot(load_image(portions()), trace=(Kind.HYPERCALL,))
    lines = [body(record) for record in preempted(outcome)]
    updates = [line for line in lines if line.startswith("mmu_update")][:4]
    assert [re.findall(r"count=([^,]*),.* = (preempted after \d+)", line)[0] for line in updates] == [
        ("20000", "preempted after 4096"),
        ("15904 more", "preempted after 4096"),
        ("11808 more", "preempted after 4096"),
        ("7712 more", "preempted after 4096"),
    ]
    memory = [line.split(",")[0] for line in lines if "decrease_reservation" in line]
    assert memory[:2] == ["memory_op(cmd=decrease_reservation", "memory_op(cmd=decrease_reservation+683"]


@pytest.mark.parametrize("name", ["attack", "balloon", "batch", "paging", "writable"])
def test_kernels_print_the_same_when_every_item_is_a_portion_of_its_own(
    boot: Boot, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preemption, "WORK_BUDGET", 1)
    kernel = guest_kernels.load(name)
    outcome = boot(kernel)
    assert outcome.ending is StopReason.DONE, outcome.console
    assert difference(Expected(kernel.expected), outcome.console) == []
    assert outcome.audit == ()


def test_upcalls_come_between_portions_and_between_entries(boot: Boot) -> None:
    outcome = boot(FOLDER / "between.S", slice_instructions=1_000_000)
    assert outcome.reason is ShutdownReason.poweroff, outcome.crash_report
    assert outcome.console.splitlines() == [
        "done: 20000",
        "upcalls: 1",
        "between two portions",
        "before int $0x82",
        "upcalls: 2",
        "1100 then 1111",
        "upcalls: 3",
        "1100 then 1111",
        "upcalls: 4",
        "1000 then 1111",
    ]
