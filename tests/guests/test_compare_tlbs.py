"""`paravane compare tlb`: what its figures have to be, whoever counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, guest_kernels
from paravane.abi.tlb import TlbKind
from paravane.gateway import native
from paravane.tlb import TlbSpec
from paravane.tlb.report import counts_of
from paravane.tools.cli import main
from paravane.tools.compare import tlbs
from paravane.tools.compare.forms import sources_of
from paravane.tools.compare.tlb_costs import COUNTS
from paravane.tools.compare.tlb_table import tlb_table
from paravane.tools.compare.tlbs import Built, TlbComparison, compare_tlbs, every_kind
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.tools.compare.tlb_costs import TlbCosts

pytestmark = pytest.mark.slow

TURNS = 700
"""More than these switches there are, from process to process."""
COPIED, OPENED = 9, 9


@pytest.fixture(scope="module")
def kernel() -> Built:
    known = guest_kernels.load("tlb")
    return tlbs.find(known, sources_of(known))


@pytest.fixture(scope="module")
def found(kernel: Built) -> TlbComparison:
    return compare_tlbs(kernel, every_kind(), HOST_TIMEOUT)


def _of(found: TlbComparison, phase: str) -> tuple[TlbCosts, TlbCosts, TlbCosts]:
    rows = dict(found.rows())
    return rows[phase][TlbKind.hardware], rows[phase][TlbKind.software], rows[phase][TlbKind.tagged]


def test_a_switch_is_one_exit_and_empties_a_tlb_without_tags(found: TlbComparison) -> None:
    hardware, software, tagged = _of(found, "switches")
    assert hardware.nr_exits == software.nr_exits == tagged.nr_exits > TURNS
    assert hardware.costs.exits == software.costs.exits == {"mmuext_op": hardware.nr_exits}
    assert tagged.costs.exits == {"multicall": tagged.nr_exits}
    assert hardware.tlb["flushes"] == software.tlb["flushes"] > TURNS
    assert tagged.tlb["flushes"] == 0
    assert tagged.tlb["switches"] > TURNS


def test_misses_come_with_touches_and_are_two_exits_where_the_kernel_serves_them(
    found: TlbComparison,
) -> None:
    hardware, software, tagged = _of(found, "touches")
    assert tagged.tlb["misses"] < hardware.tlb["misses"] // 50
    # Both others store to a page that two processes have as often.
    assert hardware.costs.exits == tagged.costs.exits == {"#PF": COPIED + OPENED}
    refills = software.tlb["refills"]
    assert software.costs.exits == {"#PF": refills + COPIED + OPENED, "arch_7.refill": refills}
    assert refills == software.tlb["misses"] == software.hypercalls > TURNS


def test_a_kernel_that_refills_has_no_tables_to_change(found: TlbComparison) -> None:
    hardware, software, tagged = _of(found, "fork and copies")
    assert hardware.costs.exits["mmu_update"] == tagged.costs.exits["mmu_update"] > COPIED + OPENED
    assert software.costs.exits["mmu_update"] == 0
    assert tagged.costs.exits["arch_7.flush_asn"] == tagged.tlb["asn_flushes"] == 1


def test_what_is_counted_is_what_a_run_that_nobody_compares_counts(
    kernel: Built, found: TlbComparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exits as well, which are counted another way there; and whether anything is served in C or not."""
    monkeypatch.delenv(native.SWITCH, raising=False)
    _, whole = found.rows()[-1]
    for kind in TlbKind:
        with Machine(Machine.size_for(kernel.config.memory)) as machine:
            config = DomainConfig(memory=kernel.config.memory, tlb=TlbSpec(kind))
            domain = machine.create(kernel.image, config)
            machine.run(timeout=HOST_TIMEOUT)
            counts = counts_of([vcpu.cpu for vcpu in domain.vcpus])
        assert counts == {name: whole[kind].tlb[name] for name in COUNTS} | {"exits": whole[kind].nr_exits}


def test_totals_are_the_sums_of_the_phases(found: TlbComparison) -> None:
    data = found.data()
    for kind in TlbKind:
        whole = data["total"][kind.name]
        for figure in ("exits", "hypercalls", "nanoseconds", *COUNTS):
            assert whole[figure] == sum(phase[kind.name][figure] for phase in data["phases"])
        assert whole["exits"] == sum(whole["reasons"].values())


def test_it_is_the_same_each_time_and_fits_the_page(kernel: Built, found: TlbComparison) -> None:
    lines = tlb_table(compare_tlbs(kernel, every_kind(), HOST_TIMEOUT))
    assert lines == tlb_table(found)
    assert max(map(len, lines)) <= 110


def test_small_ones_evict(kernel: Built) -> None:
    _, whole = compare_tlbs(kernel, every_kind(entries=4, ways=2), HOST_TIMEOUT).rows()[-1]
    assert all(costs.tlb["evictions"] > 0 for costs in whole.values())


KERNEL = """
    .include "runtime.inc"
    XEN_NOTES kernel
    .bss
    .balign 4
which: .skip TLB_DESCRIPTION_sizeof
    .text
main:
    movl $TLBOP_describe, %ebx
    movl $which, %ecx
    HYPERCALL arch_7
    {then}
    ret
"""


def _folder(tmp_path: Path, then: str, toml: str) -> str:
    (tmp_path / "kernel.toml").write_text(toml)
    (tmp_path / "kernel.S").write_text(KERNEL.format(then=then))
    return str(tmp_path)


def test_a_kernel_without_phases_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("compare", _folder(tmp_path, "", 'memory_mib = 8\ntlb = "tagged"\n'))) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[3:8:3]] == ["all", "total"]


@pytest.mark.parametrize(
    ("then", "toml", "status", "sentence"),
    [
        (
            "PRINT_DEC which",
            'memory_mib = 8\n[variations.tagged]\ntlb = "tagged"\n',
            1,
            "says other things on a software TLB than on a hardware TLB: that is no comparison",
        ),
        (
            "ud2",
            'memory_mib = 8\ntlb = "tagged"\n',
            3,
            " on a hardware TLB did not succeed: it ended by crash",
        ),
        ("", 'memory_mib = 1\ntlb = "tagged"\n', 5, "memory"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(
    then: str, toml: str, status: int, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("compare", _folder(tmp_path, then, toml))) == status
    (said,) = capsys.readouterr().err.splitlines()
    assert sentence in said
