"""Breakpoints on data and ports where the monitor carries the access out: as in QEMU, and as on hardware
where that is not to be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from tests.guests import debug_probes
from tests.support.bare_pc import PAGING, lines_of
from tests.support.probes import Probe, in_monitor, in_qemu

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

SUBJECTS = (
    debug_probes.stores,
    debug_probes.loads,
    debug_probes.strings,
    debug_probes.ports,
    debug_probes.resumed,
)


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.__name__)
def test_emulated_accesses_hit_breakpoints(subject: Callable[[], list[Probe]], tmp_path: Path) -> None:
    probes = subject()
    pairs = zip(probes, in_qemu(probes, tmp_path), in_monitor(probes, Sensitive.REWRITE), strict=True)
    assert [(str(probe), found) for probe, there, here in pairs if (found := there.differs(here))] == []


@pytest.mark.parametrize("shadow", Policy, ids=lambda policy: policy.value)
def test_stores_to_page_tables_hit_breakpoints(shadow: Policy) -> None:
    """Write-protected by the monitor or not."""
    body = (
        "mov $trap, %eax\nmov $1, %ecx\nmov $0x8e, %dl\ncall gate\n"
        f"{PAGING}"
        "movl $0x300003, table + 0x301 * 4\nmov 0x301000, %eax\n"  # it is a table in use
        "mov $table + 0x300 * 4, %eax\nmov %eax, %dr0\nmov $0xd0001, %eax\nmov %eax, %dr7\n"
        "movl $0x301003, table + 0x301 * 4\nmovl $0x300001, table + 0x300 * 4\nafter: nop\n"
        "movl $0x301003, table + 0x301 * 4\njmp exit\n"
        "trap: mov (%esp), %eax\nsub $after, %eax\ncall hex\nmov %dr6, %eax\ncall hex\niret\n"
    )
    assert lines_of(body, Sensitive.REWRITE, shadow=shadow) == ["00000000", "ffff0ff1"]


def test_frame_of_an_exception_hits_none() -> None:
    """What the README says: a processor's own #DB there would be one more on the stack that it watches."""
    body = (
        "mov $trap, %eax\nmov $1, %ecx\nmov $0x8e, %dl\ncall gate\n"
        "mov $back, %eax\nmov $3, %ecx\ncall gate\n"
        "mov $stack - 4, %eax\nmov %eax, %dr0\nmov $0xd0001, %eax\nmov %eax, %dr7\n"
        "int3\nxor %eax, %eax\nmov %eax, %dr7\nmov %dr6, %eax\ncall hex\njmp exit\n"
        "trap: mov $'!', %al\ncall put\njmp exit\nback: iret\n"
    )
    assert lines_of(body, Sensitive.REWRITE) == ["ffff0ff0"]


def test_single_step_of_a_jump_to_itself_does_not_set_the_resume_flag() -> None:
    """As of a repeated instruction that is not done with: this one is (SDM volume 3B, 17.3.1.1)."""
    body = (
        "mov $trap, %eax\nmov $1, %ecx\nmov $0x8e, %dl\ncall gate\n"
        "mov $3, %ecx\nmov $0x80, %edx\npushl $0x102\npopf\nrep outsb\n1: ljmp $8, $1b\n"
        "trap: mov 8(%esp), %eax\ncall hex\ndecl left\njz exit\niret\n"
        ".data\nleft: .long 5\n.text\n"
    )
    assert lines_of(body, Sensitive.REWRITE) == ["00010102"] * 2 + ["00000102"] * 3
