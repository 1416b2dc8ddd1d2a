"""mmuext_op: each operation's effect and errno."""

from __future__ import annotations

import struct

import pytest

from paravane.abi.errno import Errno
from paravane.abi.mmu import MMUEXT_OP, MmuextCmd, MmuextOp
from paravane.cpu.geometry import PAE
from paravane.memory import VcpuPaging, audit
from paravane.memory.frames import PINNED
from paravane.memory.mmuext import mmuext_op
from paravane.refusal import Refusal
from tests.support.memory_bench import DATA, TABLE, Bench, FakeCpu, Guest, make_bench
from tests.support.residents import new_domain_memory

DONE, SELF = 0x8000, 0x7FF0

SOME = {0x5000, 0x6000, 0x7000}
"""Pages that a processor still translates as it once did."""


@pytest.fixture
def bench() -> Bench:
    bench = make_bench(256, 80, max_vcpus=2)
    bench.boot(mapped=40)
    return bench


def ext(bench: Bench, *ops: tuple[int, int, int], foreign: int = SELF) -> int:
    bench.guest.put(b"".join(MMUEXT_OP.pack(MmuextOp(*op)) for op in ops))
    return mmuext_op(bench.guest, Guest.BASE, len(ops), DONE, foreign)


def errno_of(bench: Bench, *ops: tuple[int, int, int], foreign: int = SELF) -> Errno:
    with pytest.raises(Refusal) as refused:
        ext(bench, *ops, foreign=foreign)
    assert audit(bench.machine) == []
    return refused.value.errno


def test_pin_and_unpin(bench: Bench) -> None:
    mfn = bench.frame(60)
    ext(bench, (MmuextCmd.PIN_L1_TABLE, mfn, 0))
    assert bench.machine.frames.flags[mfn] & PINNED
    assert errno_of(bench, (MmuextCmd.PIN_L1_TABLE, mfn, 0)) == Errno.EINVAL
    ext(bench, (MmuextCmd.UNPIN_TABLE, mfn, 0))
    assert errno_of(bench, (MmuextCmd.UNPIN_TABLE, mfn, 0)) == Errno.EINVAL
    assert bench.machine.frames.type_count[mfn] == 0


def test_a_pinned_table_survives_the_loss_of_its_last_use(bench: Bench) -> None:
    second = list(range(60, 66))
    bench.build_tables(root=60)
    l3 = bench.frame(second[0])
    for pfn in range(40):
        bench.write_entry(65, pfn, 0)
    for pfn in range(40, 80):
        bench.write_entry(65, pfn, 0)
    ext(bench, (MmuextCmd.PIN_L3_TABLE, l3, 0), (MmuextCmd.NEW_BASEPTR, l3, 0))
    ext(bench, (MmuextCmd.UNPIN_TABLE, bench.frame(0), 0))
    assert bench.machine.frames.type_count[bench.frame(0)] == 0
    assert bench.cpu.cr3 == l3 << 12
    assert bench.guest.word(DONE) == 1
    assert audit(bench.machine) == []


def test_pinning_the_level_a_pae_guest_does_not_have_is_ignored(bench: Bench) -> None:
    assert ext(bench, (MmuextCmd.PIN_L4_TABLE, bench.frame(60), 0)) == 0
    assert not bench.machine.frames.flags[bench.frame(60)] & PINNED


@pytest.mark.parametrize("mfn", [0, 1, 256, 0xFFFFFFFF])
def test_pinning_what_is_not_ours_is_einval(bench: Bench, mfn: int) -> None:
    for cmd in (MmuextCmd.PIN_L1_TABLE, MmuextCmd.UNPIN_TABLE, MmuextCmd.NEW_BASEPTR, MmuextCmd.CLEAR_PAGE):
        assert errno_of(bench, (cmd, mfn, 0)) == Errno.EINVAL


def test_the_errno_of_a_bad_entry_comes_out_of_a_pin(bench: Bench) -> None:
    bench.write_entry(60, 0, 0x7_7777 << 12 | DATA)
    assert errno_of(bench, (MmuextCmd.PIN_L1_TABLE, bench.frame(60), 0)) == Errno.EPERM


def test_a_base_pointer_must_be_an_l3(bench: Bench) -> None:
    for pfn in (1, 4, 5, 20):
        assert errno_of(bench, (MmuextCmd.NEW_BASEPTR, bench.frame(pfn), 0)) == Errno.EINVAL
    assert bench.cpu.cr3 == bench.frame(0) << 12


def test_loading_the_same_base_again_only_flushes(bench: Bench) -> None:
    counts = bench.machine.frames.count.tolist()
    bench.cpu.cr3 = 0
    ext(bench, (MmuextCmd.NEW_BASEPTR, bench.frame(0), 0))
    assert bench.cpu.cr3 == bench.frame(0) << 12
    assert bench.machine.frames.count.tolist() == counts


@pytest.mark.parametrize(
    ("cmd", "errno"),
    [
        (MmuextCmd.NEW_USER_BASEPTR, Errno.EINVAL),
        (MmuextCmd.FLUSH_CACHE, Errno.EACCES),
        (MmuextCmd.FLUSH_CACHE_GLOBAL, Errno.EINVAL),
        (MmuextCmd.MARK_SUPER, Errno.EOPNOTSUPP),
        (MmuextCmd.UNMARK_SUPER, Errno.EOPNOTSUPP),
        (14, Errno.ENOSYS),
        (21, Errno.ENOSYS),
        (0xFFFFFFFF, Errno.ENOSYS),
    ],
)
def test_operations_a_32_bit_guest_does_not_get(bench: Bench, cmd: int, errno: Errno) -> None:
    assert errno_of(bench, (cmd, bench.frame(60), 0)) == errno


def test_flushes_reach_the_processors_they_name(bench: Bench) -> None:
    second = FakeCpu()
    VcpuPaging(bench.domain, 1, second)
    bench.guest.put(struct.pack("<I", 2), 0x9000)  # a mask that names vcpu 1 alone
    for cmd, own, others in (
        (MmuextCmd.TLB_FLUSH_LOCAL, set(), SOME),
        (MmuextCmd.INVLPG_LOCAL, SOME - {0x6000}, SOME),
        (MmuextCmd.TLB_FLUSH_MULTI, SOME, set()),
        (MmuextCmd.INVLPG_MULTI, SOME, SOME - {0x6000}),
        (MmuextCmd.TLB_FLUSH_ALL, set(), set()),
        (MmuextCmd.INVLPG_ALL, SOME - {0x6000}, SOME - {0x6000}),
    ):
        bench.cpu.tlb, second.tlb = set(SOME), set(SOME)
        ext(bench, (cmd, 0x6000, 0x9000))
        assert (bench.cpu.tlb, second.tlb) == (own, others), cmd


def test_an_unreadable_vcpu_mask_is_einval(bench: Bench) -> None:
    for cmd in (MmuextCmd.TLB_FLUSH_MULTI, MmuextCmd.INVLPG_MULTI):
        assert errno_of(bench, (cmd, 0, 0xF000_0000)) == Errno.EINVAL


def test_clear_and_copy_page(bench: Bench) -> None:
    source, target = bench.frame(60), bench.frame(61)
    bench.ram.write(source << 12, b"contents")
    ext(bench, (MmuextCmd.COPY_PAGE, target, source))
    assert bench.ram.read(target << 12, 8) == b"contents"
    ext(bench, (MmuextCmd.CLEAR_PAGE, target, 0))
    assert bench.ram.read(target << 12, 8) == bytes(8)
    table = bench.frame(5)
    assert errno_of(bench, (MmuextCmd.CLEAR_PAGE, table, 0)) == Errno.EINVAL
    assert errno_of(bench, (MmuextCmd.COPY_PAGE, table, source)) == Errno.EINVAL
    assert errno_of(bench, (MmuextCmd.COPY_PAGE, target, 0)) == Errno.EINVAL
    assert ext(bench, (MmuextCmd.COPY_PAGE, target, table)) == 0


@pytest.mark.parametrize(
    ("foreign", "errno"), [(1, Errno.ESRCH), (9, Errno.ESRCH), (2, Errno.EPERM), (0x7FF1, Errno.EPERM)]
)
def test_foreign_domains(bench: Bench, foreign: int, errno: Errno) -> None:
    new_domain_memory(bench.machine, 2, PAE, max_pages=5)
    assert errno_of(bench, (MmuextCmd.TLB_FLUSH_LOCAL, 0, 0), foreign=foreign) == errno


def test_a_privileged_domain_pins_for_others_but_flushes_only_itself(bench: Bench) -> None:
    other = new_domain_memory(bench.machine, 2, PAE, max_pages=5)
    mfn = other.populate(1)[0]
    bench.domain.privileged = True
    assert ext(bench, (MmuextCmd.PIN_L1_TABLE, mfn, 0), foreign=2) == 0
    assert errno_of(bench, (MmuextCmd.TLB_FLUSH_LOCAL, 0, 0), foreign=2) == Errno.EPERM


def test_done_counts_and_odd_counts(bench: Bench) -> None:
    flush = (int(MmuextCmd.TLB_FLUSH_LOCAL), 0, 0)
    assert errno_of(bench, flush, flush, (99, 0, 0), flush) == Errno.ENOSYS
    assert bench.guest.word(DONE) == 2
    assert mmuext_op(bench.guest, 0, 0x8000_0000, 0, 0xFFFFFFFE) == -2
    assert mmuext_op(bench.guest, Guest.BASE, 0, DONE, 99) == 0
    bench.guest.put(struct.pack("<I", 5), DONE)
    assert mmuext_op(bench.guest, Guest.BASE, 0x8000_0001, DONE, SELF) == 0
    assert bench.guest.word(DONE) == 6


def test_operations_that_cannot_be_read_are_efault(bench: Bench) -> None:
    end = Guest.BASE + len(bench.guest.buffer)
    bench.guest.put(MMUEXT_OP.pack(MmuextOp(MmuextCmd.TLB_FLUSH_LOCAL, 0, 0)), end - 12)
    with pytest.raises(Refusal) as refused:
        mmuext_op(bench.guest, end - 12, 3, DONE, SELF)
    assert refused.value.errno == Errno.EFAULT
    assert bench.guest.word(DONE) == 1


def test_linking_a_table_of_a_live_address_space_elsewhere_keeps_both_counted(bench: Bench) -> None:
    bench.write_entry(60, 0, bench.entry(5, TABLE))
    ext(bench, (MmuextCmd.PIN_L2_TABLE, bench.frame(60), 0))
    assert bench.machine.frames.type_count[bench.frame(5)] == 2
    assert audit(bench.machine) == []
