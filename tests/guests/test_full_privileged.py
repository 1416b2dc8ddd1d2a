"""What a kernel does in ring 0, and what ring 3 must not do, against QEMU: the whole state after it is the
same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from tests.guests import edge_probes, privileged_probes
from tests.support.probes import DONE, Probe, in_monitor, in_qemu, monitored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

# Where QEMU does otherwise than the manuals say, and the monitor as they do: part of the code and the ring,
# and the right vector.
QEMU_IS_LAX = {
    ("mov $0xa0010011, %eax; mov %eax, %cr0", 0): 13,  # NW without CD
    ("mov $0x0, %eax; ltr %ax", 0): 13,  # a null selector
    ("mov $0x3, %eax; ltr %ax", 0): 13,
    ("pushl $0xe3; pushl $probe_stack", 0): 12,  # a stack that is not present is #SS, not #NP
    ("pushl $0x27; pushl $probe_stack", 0): 12,
}
SUBJECTS = (
    privileged_probes.segment_loads,
    privileged_probes.far_transfers,
    privileged_probes.call_gates,
    privileged_probes.control_registers,
    privileged_probes.tables,
    privileged_probes.others,
    privileged_probes.small_gates,
    privileged_probes.input_output,
    edge_probes.input_across_pages,
    edge_probes.last_of_a_page,
    edge_probes.small_stacks,
    edge_probes.other_tasks,
    edge_probes.small_task_state,
    edge_probes.no_memory,
)


def _right_vector(probe: Probe) -> int | None:
    """What the manuals say, where QEMU says something else."""
    known = (
        right for (code, ring), right in QEMU_IS_LAX.items() if ring == probe.ring and code in str(probe)
    )
    return next(known, None)


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.__name__)
def test_rings_0_and_3_do_what_hardware_does(subject: Callable[[], list[Probe]], tmp_path: Path) -> None:
    probes = subject()
    different = []
    for probe, there, here in zip(
        probes, in_qemu(probes, tmp_path), in_monitor(probes, Sensitive.REWRITE), strict=True
    ):
        right = _right_vector(probe)
        if right is not None:
            assert (str(probe), here.registers["vector"]) == (str(probe), right)
        elif found := there.differs(here):
            different.append((str(probe), found))
    assert different == []


@pytest.mark.parametrize("shadow", Policy, ids=lambda policy: policy.value)
@pytest.mark.parametrize("subject", [edge_probes.reserved_bits, edge_probes.reserved_bits_of_pae])
def test_entries_with_reserved_bits_reach_nothing(
    subject: Callable[[], list[Probe]], shadow: Policy, tmp_path: Path
) -> None:
    probes = subject()
    different, errors = [], set()
    for probe, there, here in zip(
        probes, in_qemu(probes, tmp_path), in_monitor(probes, Sensitive.REWRITE, shadow), strict=True
    ):
        # QEMU 7.2 leaves out that such an entry is a present one (SDM volume 3, 4.7).
        right = there.registers["ecx"] | (there.registers["ecx"] >> 3 & 1)
        errors.add(here.registers["ecx"])
        found = there.differs(here)
        for place in ("ecx", "stack"):  # where it is
            found.pop(place, None)
        if found or here.registers["ecx"] != right:
            different.append((str(probe), right, here.registers["ecx"], found))
    assert different == []
    assert errors == {0x77, 3, 9, 11}


@pytest.mark.parametrize("shadow", Policy, ids=lambda policy: policy.value)
def test_a_page_fault_has_the_processor_forget_the_page(shadow: Policy) -> None:
    (found,) = in_monitor([edge_probes.stale_after_a_fault()], Sensitive.REWRITE, shadow)
    remembered = 1 if shadow is Policy.VTLB else 2  # stores to tables are seen there
    assert (found.registers["vector"], found.registers["edx"]) == (DONE, remembered)
    assert found.registers["eax"] == 2


@pytest.mark.parametrize("sensitive", [Sensitive.IGNORE, Sensitive.STATE], ids=["ignore", "state"])
def test_what_traps_does_so_in_every_mode(sensitive: Sensitive, tmp_path: Path) -> None:
    probes = privileged_probes.input_output() + privileged_probes.tables()
    probes = [probe for probe in probes if "ltr %ax" not in probe.code or probe.ring]
    pairs = zip(probes, in_qemu(probes, tmp_path), in_monitor(probes, sensitive), strict=True)
    assert [(str(probe), found) for probe, there, here in pairs if (found := there.differs(here))] == []


# What is not there. Selector 0x40 and vector 0x65 are made over for it.
NOT_VIRTUALISED = {
    "lcall $0xa8, $0": "it goes to a task by selector 0xa8; tasks are not switched here",
    "ljmp $0x88, $0": "it goes to a task by selector 0x88; tasks are not switched here",
    "movb $0xe4, gdt + 0x6d\nlcall $0x68, $0": "selector 0x68 is a call gate of 16 bits",
    "movw $0x90, task\npushl $0x4002\npopfl\niret": "it returns to another task; tasks are not switched here",
    "pushl $0x20002\npushl $8\npushl $0\niret": "it returns to virtual-8086 mode",
    "movb $0xe5, idt + 8 * 0x65 + 5\nint $0x65": "vector 0x65 of its IDT is a task gate",
    "mov $0x11, %eax\nmov %eax, %cr0\nmov $0x10, %eax\nmov %eax, %cr0": "it leaves protected mode",
    "movb $0xbb, gdt + 0x45\npushl $0xd1\npushl $0\npushl $0x41\npushl $0\nlret": "it enters ring 1",
    "lidt no_idt\nint3": "it has no handler for what goes wrong in its handlers: a triple fault",
}
DATA = "no_idt: .word 0\n.long 0"


@pytest.mark.parametrize("code", NOT_VIRTUALISED)
def test_what_is_not_there_ends_in_a_sentence(code: str) -> None:
    _, failure = monitored([Probe(code, data=DATA)], Sensitive.REWRITE)
    assert failure is not None
    assert failure.startswith(NOT_VIRTUALISED[code])


# Where no QEMU judges: it has model-specific registers whatever CPUID says, and hangs with a reserved bit of
# CR4. The manuals say #GP(0) (SDM volume 2), for RDPMC too, which counters there are none of.
REFUSED = (
    *(f"mov ${1 << bit:#x}, %eax\nmov %eax, %cr4" for bit in (0, 1, *range(11, 32))),
    *(
        f"mov ${number:#x}, %ecx\n{name}"
        for number in (0x10, 0x1B, 0x174, 0xC0000080, 0xFFFFFFFF)
        for name in ("rdmsr", "wrmsr")
    ),
    "mov $0, %ecx\nrdpmc",
)


@pytest.mark.parametrize("sensitive", Sensitive, ids=lambda mode: mode.value)
def test_reserved_bits_and_registers_that_are_not_there_are_refused(sensitive: Sensitive) -> None:
    probes = [Probe(code, ring) for code in REFUSED for ring in (0, 3)]
    found = in_monitor(probes, sensitive)
    assert {(each.registers["vector"], each.registers["error"], each.registers["cr4"]) for each in found} == {
        (13, 0, 0)
    }
