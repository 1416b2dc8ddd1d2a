"""What `import paravane` offers: the names, the README's example, and a trace of one's own."""

from __future__ import annotations

import paravane
from paravane import (
    DomainConfig,
    HypercallRecord,
    Kind,
    Machine,
    Record,
    ShutdownReason,
    StopReason,
    asm,
    guest_kernels,
    load_image,
    trace_line,
)
from tests.support.boot import HOST_TIMEOUT

MEMORY = 8 << 20


def hello() -> bytes:
    return asm.build(guest_kernels.load("hello").sources)


def test_every_name_is_there() -> None:
    assert sorted(paravane.__all__) == paravane.__all__
    assert [name for name in paravane.__all__ if not hasattr(paravane, name)] == []


def test_how_a_domain_ended_has_a_name() -> None:
    names = [str(reason) for reason in ShutdownReason]
    assert names == ["poweroff", "reboot", "suspend", "crash", "watchdog", "soft_reset"]


def test_records_can_be_collected_and_read() -> None:
    records: list[Record] = []
    with Machine(Machine.size_for(MEMORY)) as machine:
        machine.create(load_image(hello()), DomainConfig(memory=MEMORY))
        machine.trace.subscribe(records.append, (Kind.HYPERCALL,))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    calls = [record for record in records if isinstance(record, HypercallRecord)]
    assert len(calls) == len(records) > 2
    assert all(f"d1v0 hypercall {call.name}" in trace_line(call) for call in calls)
    assert calls[-1].name == "sched_op.shutdown"
    assert calls[-1].arguments[0].value.reason == ShutdownReason.poweroff
