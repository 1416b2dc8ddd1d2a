"""Arrows point one way: tools -> machine -> hypercalls -> subsystems -> memory -> cpu -> abi."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.support import imports

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(row.split())
    for row in (
        "__main__",
        "tools/explore",
        "tools/boot tools/docs tools/report_page tools/run tools/store tools/tour",
        "tools/compare tools/monitor",
        "tools/config tools/ctl tools/bench tools/testing tools/trace",
        "tools",
        "testing",
        "paravane",
        "together",
        "quick",
        "boot_result chosen",
        "compiler",
        "asm guest_kernels",
        "asm/directives asm/opcodes",
        "debug",
        "history",
        "recording",
        "machine",
        "full rewindable savable",
        "snapshot",
        "machine_control machine_size outside",
        "run_loop",
        "idle scheduler",
        "administration ending follow inbox lives",
        "toolstack",
        "contents",
        "migration",
        "domain_ends",
        "domain_config",
        "hypercalls",
        "control_plane",
        "domain",
        "vcpu_context",
        "vcpu",
        "gateway report vcpu_trace",
        "vcpu_host run_state",
        "call_site faults watchdog",
        "trace/sources",
        "personality",
        "platform",
        "devices/block devices/console devices/framebuffer devices/net",
        "devices/xenbus",
        "builder devices/vnc devices/xenstore events sched time traps",
        "devices traps/emulate",
        "trace",
        "grants hypervisor_console place tlb",
        "memory",
        "image",
        "guest_copy",
        "cpu",
        "cpu/engine",
        "log_limit on_end registry variation",
        "arguments local_socket preemption random_state refusal text vcpu_info whole_file",
        "abi",
        "classes late x86",
    )
)
"""Folders, and the files that lie right in hypervisor/. Each may import from the rows below its own."""

FULL = {
    *("run_loop", "outside", "ending", "inbox", "personality", "platform", "sched", "time", "place"),
    *("registry", "memory", "image", "cpu", "gateway", "arguments", "classes", "x86"),
}
"""What a bare PC has in common with Xen's guests: turns, time and ends, machine memory, files, the
processor and what fills its TLB in C."""

APART = {
    "full": FULL,
    "compiler": {"asm", "abi"},
    "asm": {"asm/directives", "asm/opcodes", "abi"},
    "asm/directives": {"abi"},
    "asm/opcodes": set[str](),
    "guest_kernels": {"classes", "text"},
}
"""These stand beside the hypervisor and import no more than this of what is below them."""

ROW = {name: at for at, row in enumerate(LAYERS) for name in row}


def _allowed(source: str, target: str) -> bool:
    if source.startswith(f"{target}/"):
        # A folder takes its subjects apart into folders inside it, which stand on what they share with it
        # (the assembler's unit, the state of traps). It is one house; within it no files go round.
        return True
    return ROW[source] < ROW[target] and target in APART.get(source, {target})


@pytest.fixture(scope="module")
def units() -> imports.Graph:
    return imports.unit_graph()


def test_every_folder_has_its_place(units: imports.Graph) -> None:
    """A new folder, or a new file right in hypervisor/, belongs in LAYERS; what is gone leaves it."""
    assert units.keys() == ROW.keys()


def test_imports_point_downward(units: imports.Graph) -> None:
    upward = {
        (source, target)
        for source, targets in units.items()
        for target in targets
        if not _allowed(source, target)
    }
    assert upward == set()


def test_files_import_each_other_in_no_circle() -> None:
    assert [sorted(circle) for circle in imports.circles(imports.module_graph())] == []


def test_a_circle_is_found_whichever_way_it_is_entered() -> None:
    names = ["a", "b", "c", "d"]
    graph = {one: {other} for one, other in pairwise([*names, "b"])}
    assert imports.circles(graph) == [frozenset("bcd")]
