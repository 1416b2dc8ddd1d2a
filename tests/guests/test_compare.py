"""`paravane compare twice`: what its figures have to be, whoever counts them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, guest_kernels
from paravane.abi.hypercall import Hypercall
from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from paravane.gateway import native
from paravane.place import Place
from paravane.tools.cli import main
from paravane.tools.compare import ways
from paravane.tools.compare.comparison import Comparison, compare
from paravane.tools.compare.costs import FIGURES, Phases
from paravane.tools.compare.forms import Twice, build
from paravane.tools.compare.paravirtual import XenCounter
from paravane.tools.compare.table import table
from paravane.tools.compare.ways import Modes
from paravane.tools.status import Status
from paravane.trace import HypercallRecord
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.tools.compare.costs import Costs

pytestmark = pytest.mark.slow

PHASES = ("system calls", "page faults", "fork", "exec", "context switches", "table updates", "timer")
CALLS = 2000
PAGES = 512
SWITCHES = 1000


@pytest.fixture(scope="module")
def kernel() -> Twice:
    return build(guest_kernels.load("twice"))


@pytest.fixture(scope="module")
def found(kernel: Twice) -> Comparison:
    return compare(kernel, Modes(Policy.VTLB, Sensitive.REWRITE), HOST_TIMEOUT)


def _both(found: Comparison, phase: str) -> tuple[Costs, Costs]:
    return found.xen[phase], found.pc[phase]


def test_a_system_call_goes_to_the_kernel_by_itself_on_xen_alone(found: Comparison) -> None:
    xen, pc = _both(found, "system calls")
    assert xen.nr_exits == 0
    # And one that begins the phase, half of one that ends it.
    assert pc.exits["int n"] == pc.exits["iret"] == CALLS + 1
    assert pc.nr_exits == sum(pc.exits.values()) >= 2 * CALLS


def test_a_page_is_a_fault_and_a_hypercall_on_xen_and_a_fault_twice_on_a_pc(found: Comparison) -> None:
    xen, pc = _both(found, "page faults")
    assert xen.exits["#PF"] == xen.exits["update_va_mapping"] == PAGES
    assert pc.exits["#PF"] == pc.exits["invlpg"] == pc.exits["mov from cr"] == PAGES
    assert pc.exits["page filled in"] >= PAGES
    assert xen.page_flushes == pc.page_flushes == PAGES


def test_a_context_switch_is_one_multicall_or_a_load_of_cr3_and_pages_again(found: Comparison) -> None:
    xen, pc = _both(found, "context switches")
    assert xen.exits == {"multicall": SWITCHES}
    assert pc.exits["mov to cr"] == SWITCHES
    assert pc.exits["page filled in"] >= SWITCHES
    assert xen.flushes == pc.flushes == SWITCHES


def test_table_updates_are_batched_on_xen_and_unseen_on_a_pc_until_they_are_used(found: Comparison) -> None:
    xen, pc = _both(found, "table updates")
    assert xen.entries >= 4096
    assert xen.nr_exits < 4096 // 100
    assert xen.flushes == pc.flushes == pc.exits["mov to cr"]
    assert pc.exits["page filled in"] > xen.exits["mmu_update"]


def test_the_timer_is_set_each_time_on_xen(found: Comparison) -> None:
    xen, pc = _both(found, "timer")
    assert xen.exits["set_timer_op"] == 2 * (1 + 5 + 1)
    assert xen.exits["sched_op.block"] == pc.exits["hlt"] == 5


def test_totals_are_the_sums_of_the_phases(found: Comparison) -> None:
    data = json.loads(json.dumps(found.data()))
    assert tuple(phase["name"] for phase in data["phases"]) == ("other", *PHASES)
    for way in ("xen", "pc"):
        whole = data["total"][way]
        assert set(whole) == {"exits", "reasons", *FIGURES}
        for figure in ("exits", *FIGURES):
            assert whole[figure] == sum(phase[way][figure] for phase in data["phases"])
        assert whole["exits"] == sum(whole["reasons"].values())
    assert {key: data[key] for key in ("kernel", "shadow", "sensitive")} == {
        "kernel": "twice",
        "shadow": "vtlb",
        "sensitive": "rewrite",
    }


def test_xen_is_counted_alike_with_the_gateway_in_c_and_without(
    kernel: Twice, found: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`compare` does without: here Xen's form has what this process has."""
    monkeypatch.delenv(native.SWITCH, raising=False)
    phases = Phases(kernel.phases)
    assert ways.on_xen(kernel, HOST_TIMEOUT, phases).story == ""
    assert phases.costs == found.xen


def test_nobody_who_counts_is_noticed_and_all_is_the_same_again(kernel: Twice, found: Comparison) -> None:
    again = Phases(kernel.phases)
    counted = ways.on_pc(kernel, found.modes, HOST_TIMEOUT, again)
    assert again.costs == found.pc
    assert counted == ways.on_pc(kernel, found.modes, HOST_TIMEOUT)


def test_the_table_has_a_row_for_each_phase(found: Comparison) -> None:
    lines = table(found)
    rows = [line for line in lines[4:13]]
    assert [row.split("  ")[0] for row in rows] == ["other", *PHASES, "total"]
    widest = max(map(len, lines))
    assert widest <= 110


def test_a_bundled_kernel_boots_by_name_on_a_bare_pc(
    kernel: Twice, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(("boot", "twice", "--personality", "full")) == 0
    assert capfd.readouterr().out == ways.on_xen(kernel, HOST_TIMEOUT).console


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("hello",), "hello is not for Xen and a bare PC both"),
        (("nobody",), "nobody is neither a file nor a guest kernel"),
        (("twice", "--shadow", "none"), "invalid choice: 'none'"),
        (("twice", "-o", "gone/compare.svg"), "gone/compare.svg: there is no folder"),
        (("twice", "-D", "NR_FRAMES=100"), "twice on Xen did not succeed"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("compare", *words)) != 0
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("names", ['"one", "one", ""', '"", "one"', '"a\\033[2J", ""', '"\\303\\244", ""'])
def test_names_of_phases_must_be_told_apart_and_printed_and_end(
    names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kernel.toml").write_text("[bare]\nBARE = 1\n")
    (tmp_path / "kernel.S").write_text(
        ".globl phase, phase_names, _start\n.text\n_start: nop\n.data\nphase: .long 0\n"
        f"phase_names: .asciz {names}\n"
    )
    assert main(("compare", str(tmp_path))) == 2
    assert "phase_names has to be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mebibytes", "status", "sentence"),
    [
        (8, Status.IMAGE, "there is no multiboot header"),
        (1, Status.IMAGE, "does not fit into 1 MiB of memory"),
        (4095, Status.ERRORS, "a machine has from "),
    ],
)
def test_forms_that_cannot_be_booted_end_in_a_sentence(
    mebibytes: int, status: Status, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kernel.toml").write_text(f"memory_mib = {mebibytes}\n[bare]\nBARE = 1\n")
    (tmp_path / "kernel.S").write_text('.include "runtime.inc"\nXEN_NOTES kernel\n.text\nmain: ret\n')
    assert main(("compare", str(tmp_path))) == status
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert sentence in said[0]


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        ("movb $1, %al\noutb %al, $0xf4", "it ended with 1"),
        ("movb $0xfe, %al\noutb %al, $0x64", "it reset its machine by the keyboard controller"),
        ("ud2", "it has no handler for what goes wrong in its handlers: a triple fault"),
    ],
)
def test_a_form_that_fails_on_a_bare_pc_alone_is_told_how_it_ended(
    end: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kernel.toml").write_text("[bare]\nBARE = 1\n")
    (tmp_path / "kernel.S").write_text(
        ".ifdef BARE\n.globl _start\n.align 4\n.equ HIGH, 0xC0000000\n"
        "header: .long 0x1BADB002, 0x10000, -0x1BAEB002\n"
        ".long header - HIGH, header - HIGH, 0, 0, _start - HIGH\n"
        f"_start: {end}\n.else\n"
        '.include "runtime.inc"\nXEN_NOTES kernel\n.text\nmain: ret\n.endif\n'
    )
    assert main(("compare", str(tmp_path))) == Status.CRASHED
    assert f"on a bare PC did not succeed: {sentence}" in capsys.readouterr().err


def test_a_list_of_requests_may_be_gone_when_they_are_counted(kernel: Twice) -> None:
    """As after a load of tables in which the list is not mapped."""
    phases = Phases(kernel.phases)
    with Machine(Machine.size_for(kernel.memory)) as machine:
        vcpu = machine.create(kernel.image, DomainConfig(memory=kernel.memory)).vcpus[0]
        counter = XenCounter(machine.platform, vcpu, kernel.xen.phase, phases)
        words = (0x1000, 1, 0, 0x7FF0, 0, 0)
        number = int(Hypercall.mmuext_op)
        counter.take(HypercallRecord(0, 1, 0, Place(0), number, "mmuext_op", words, (), 0))
        counter.finish()
    assert phases.costs["other"].exits == {"mmuext_op": 1}
    assert phases.costs["other"].flushes == 0
