"""INS and OUTS, which are done a page at a time, do what QEMU's do one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import BareMachine, StopReason
from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from tests.guests import string_probes
from tests.support.bare_pc import MEMORY, PAGING, kernel, lines_of
from tests.support.boot import HOST_TIMEOUT
from tests.support.probes import Probe, in_monitor, in_qemu

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("subject", [string_probes.edges, string_probes.interrupts])
def test_elements_are_moved_as_on_hardware(subject: Callable[[], list[Probe]], tmp_path: Path) -> None:
    probes = subject()
    pairs = zip(probes, in_qemu(probes, tmp_path), in_monitor(probes, Sensitive.REWRITE), strict=True)
    assert [(str(probe), found) for probe, there, here in pairs if (found := there.differs(here))] == []


def test_timer_interrupts_between_elements() -> None:
    """At the rate of 1 kHz, and an element takes as long as an instruction: some come before the end."""
    body = (
        "mov $tick, %eax\nmov $0x20, %ecx\nmov $0x8e, %dl\ncall gate\n"
        + "".join(
            f"mov ${value}, %al\noutb %al, ${port:#x}\n"
            for port, value in (
                *((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 3), (0x21, 0xFE)),
                *((0x43, 0x34), (0x40, 0xA9), (0x40, 4)),
            )
        )
        + "mov $0x1f0, %edx\nmov $0x200000, %edi\nmov $0x100000, %ecx\nsti\nrep insb\ncli\n"
        "cmp $0x300000, %edi\njne bad\ncmp $2, %ebp\njb bad\njmp exit\nbad: mov $1, %al\noutb %al, $0xf4\n"
        "tick: test %ecx, %ecx\njz 1f\ninc %ebp\n1: iret\n"
    )
    with BareMachine(kernel(body), MEMORY, sink=lambda data: None, slice_instructions=50_000) as machine:
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert machine.guest.exit_code == 0


def test_sequence_ends_with_the_machine() -> None:
    """What ends it leaves the elements that come after undone."""
    body = "mov $0xf4, %edx\nmov $codes, %esi\nmov $3, %ecx\nrep outsb\n.data\ncodes: .byte 5, 6, 7\n.text\n"
    with BareMachine(kernel(body), MEMORY, sink=lambda data: None) as machine:
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert (machine.guest.exit_code, machine.guest.vcpus[0].cpu.ecx) == (5, 2)


@pytest.mark.parametrize("shadow", Policy, ids=lambda policy: policy.value)
def test_elements_fill_a_page_table(shadow: Policy) -> None:
    """Which is in use: from nobody come ones, entries that are present and map no memory."""
    body = (
        f"{PAGING}movl $0x300003, table + 0x301 * 4\nmov 0x301000, %eax\ncall hex\n"
        "mov $0x1f0, %edx\nmov $table + 0x301 * 4, %edi\nmov $2, %ecx\nrep insl\n"
        "mov %cr3, %eax\nmov %eax, %cr3\nmov 0x301000, %eax\ncall hex\njmp exit\n"
    )
    assert lines_of(body, Sensitive.REWRITE, shadow=shadow) == ["00000000", "ffffffff"]


def test_elements_are_new_code() -> None:
    """Over code that has run: a function that says 1 says 2."""
    body = (
        "call code\ncall hex\nmov $0x3f8, %edx\nmov $code, %edi\nmov $6, %ecx\nrep insb\n"
        "call code\ncall hex\njmp exit\ncode: mov $1, %eax\nret\n"
    )
    written = bytearray()
    with BareMachine(kernel(body), MEMORY, sink=written.extend) as machine:
        machine.guest.console.feed(b"\xb8\x02\0\0\0\xc3")
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    assert written == b"00000001\n00000002\n"
