"""Memory under a real processor: what the hypervisor maps, descriptor loads, stale translations."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from paravane.abi.errno import Errno
from paravane.abi.memory import XEN_MEMORY_EXCHANGE, MemoryOp, XenMemoryExchange, XenMemoryReservation
from paravane.abi.mmu import MMU_UPDATE, MMUEXT_OP, MmuextCmd, MmuextOp, MmuUpdate
from paravane.cpu import PAE, TWO_LEVEL
from paravane.memory import VcpuPaging, audit
from paravane.memory.address_space import ldt_address
from paravane.memory.descriptors import check_descriptor
from paravane.memory.memory_queries import memory_op
from paravane.memory.mmu_update import mmu_update
from paravane.memory.mmuext import mmuext_op
from paravane.refusal import Refusal
from paravane.x86 import Eflags
from tests.support.memory_bench import DATA, READ_ONLY, FakeCpu, Guest, make_bench
from tests.support.memory_live import CODE, DONE, Live

if TYPE_CHECKING:
    from collections.abc import Iterator

SELF = 0x7FF0
GP, NP, TS, PF = 13, 11, 10, 14
CODE_RING1, DATA_RING1 = 0x00CFBA00_0000FFFF, 0x00CFB200_0000FFFF
ACCESSED = 1 << 40


@pytest.fixture(params=[PAE, TWO_LEVEL], ids=lambda geometry: geometry.name)
def live(request: pytest.FixtureRequest) -> Iterator[Live]:
    live = Live(request.param)
    yield live
    live.close()


def load(address: int) -> bytes:
    """movl address, %eax"""
    return b"\xa1" + struct.pack("<I", address)


def save(address: int) -> bytes:
    """movl %eax, address"""
    return b"\xa3" + struct.pack("<I", address)


def far_jump(selector: int, offset: int) -> bytes:
    """ljmp $selector, $offset"""
    return b"\xea" + struct.pack("<IH", offset, selector)


def far_call(selector: int) -> bytes:
    """lcall $selector, $0"""
    return b"\x9a" + struct.pack("<IH", 0, selector)


def far_jump_on(selector: int) -> bytes:
    """The same, to what follows it."""
    return far_jump(selector, CODE + 7)


def far_return(selector: int) -> bytes:
    """push $selector; push $next; lret; next:"""
    return b"\x68" + struct.pack("<I", selector) + b"\x68" + struct.pack("<I", CODE + 11) + b"\xcb"


def load_es(selector: int) -> bytes:
    """mov $selector, %eax; mov %eax, %es"""
    return b"\xb8" + struct.pack("<I", selector) + b"\x8e\xc0"


def as_application(live: Live) -> None:
    live.cpu.enter(cs=0xE02B, eip=CODE, eflags=0x202, cpl=3, ss=0xE033, esp=0xA000)
    live.cpu.load_segment("ds", 0xE033)


def make_read_only(live: Live, pfn: int) -> None:
    index = (live.bench.frame(5) << live.domain.space.table_shift) + pfn
    live.machine.tables.l1.put_entry(live.domain.entries[index], live.domain)
    entry = live.bench.entry(pfn, READ_ONLY)
    live.domain.entries[index] = live.machine.tables.l1.get_entry(entry, live.domain, 1)
    live.cpu.flush_tlb()


def install(live: Live, descriptors: dict[int, int]) -> None:
    """Make pfn 20 the first page of the GDT with these entries."""
    make_read_only(live, 20)
    for slot, raw in descriptors.items():
        live.ram.write((live.bench.frame(20) << 12) + 8 * slot, struct.pack("<Q", raw))
    live.paging.set_gdt([live.bench.frame(20)], 512)


def test_a_kernel_reads_its_pseudo_physical_numbers_from_the_table(live: Live) -> None:
    address = live.domain.space.m2p_start + 4 * live.bench.frame(33)
    assert live.run(load(address)) == DONE
    assert live.cpu.eax == 33


def test_nobody_writes_the_machine_to_phys_table_or_descriptor_tables(live: Live) -> None:
    for address in (live.domain.space.m2p_start, 0xFFC00000, 0xFFC0E018):
        assert live.run(save(address)) == ("exception", PF, 3)
    as_application(live)
    for address in (live.domain.space.m2p_start, 0xFFC00000, 0xFFC0E018):
        assert live.run(load(address)) == ("exception", PF, 5)


def test_segments_of_the_guests_own_table_load_and_the_load_marks_them(live: Live) -> None:
    install(live, {1: CODE_RING1, 2: DATA_RING1, 3: DATA_RING1})
    assert live.run(load_es(0x11) + far_jump(0x09, CODE + 14)) == DONE
    assert (live.cpu.es, live.cpu.cs) == (0x11, 0x09)
    assert [descriptor(live, slot) for slot in (2, 3)] == [DATA_RING1 | ACCESSED, DATA_RING1]
    assert live.faults.mended == 1
    assert live.run(load_es(0x11)) == DONE
    assert live.faults.mended == 1, "it is marked, so nothing faults any more"


@pytest.mark.parametrize("instruction", [b"\x0f\x02\xd8", b"\x0f\x03\xd8", b"\x0f\x00\xe0", b"\x0f\x00\xe8"])
def test_who_only_looks_at_a_descriptor_does_not_mark_it(live: Live, instruction: bytes) -> None:
    """LAR, LSL, VERR and VERW of an unused segment; LAR shows that it is unused."""
    install(live, {2: DATA_RING1})
    assert live.run(b"\xb8\x11\0\0\0" + instruction) == DONE
    assert live.cpu.eflags & Eflags.ZF
    if instruction[1] == 2:
        assert live.cpu.ebx & 0xFF00 == DATA_RING1 >> 32 & 0xFF00
    assert descriptor(live, 2) == DATA_RING1
    assert live.faults.mended == 0


def test_an_application_marks_what_it_loads(live: Live) -> None:
    install(live, {2: DATA_RING1 | 3 << 45})
    as_application(live)
    assert live.run(load_es(0x13)) == DONE
    assert descriptor(live, 2) == DATA_RING1 | 3 << 45 | ACCESSED


def test_a_guests_own_store_to_an_unused_descriptor_faults(live: Live) -> None:
    install(live, {2: DATA_RING1})
    assert live.run(save(0xFFC00014)) == ("exception", PF, 3)
    assert descriptor(live, 2) & ~ACCESSED == DATA_RING1


def descriptor(live: Live, slot: int) -> int:
    """A descriptor of the table that `install` made."""
    raw: int = live.ram.quads[(live.bench.frame(20) << 9) + slot]
    return raw


def test_unused_entries_of_the_table_are_null_descriptors(live: Live) -> None:
    for selector in (0x09, 0xDFF9, 0xE009, 0xE039, 0xE061):
        assert live.run(load_es(selector)) == ("exception", GP, selector & 0xFFFC)


def test_a_call_gate_is_a_protection_fault_with_its_selector(live: Live) -> None:
    install(live, {3: 0x0000EC00_E0190000})
    for code in (far_call(0x1B), far_jump(0x1B, 0)):
        assert live.run(code) == ("exception", GP, 0x18)
    as_application(live)
    assert live.run(far_call(0x1B)) == ("exception", GP, 0x18)


def test_a_nested_task_return_finds_no_task(live: Live) -> None:
    live.cpu.eflags = live.cpu.eflags | 0x4000
    kind, vector, _ = live.run(b"\xcf")
    assert kind == "exception"
    assert vector in (TS, GP)
    assert live.cpu.cpl == 1


def test_local_descriptors_are_mapped_when_a_selector_needs_them(live: Live) -> None:
    live.ram.write((live.bench.frame(31) << 12) + 8, struct.pack("<Q", DATA_RING1))
    make_read_only(live, 30)
    make_read_only(live, 31)
    live.paging.set_ldt(30 * 4096, 1024)
    assert live.run(load_es(4096 | 8 | 4 | 1)) == DONE
    assert live.cpu.es == 4096 | 8 | 4 | 1
    assert live.faults.mended == 2, "the page, then the Accessed bit"
    assert audit(live.machine) == []


def test_a_local_table_that_is_writable_faults_at_the_guests_own_address(live: Live) -> None:
    live.paging.set_ldt(30 * 4096, 512)
    assert live.run(load_es(8 | 4 | 1)) == ("exception", PF, 0)
    assert live.cpu.cr2 == 30 * 4096 + 8


def test_a_selector_beyond_the_local_table_is_a_protection_fault(live: Live) -> None:
    live.paging.set_ldt(30 * 4096, 1)
    assert live.run(load_es(8 | 4 | 1)) == ("exception", GP, 8 | 4)
    live.paging.set_ldt(0, 0)
    assert live.run(load_es(8 | 4 | 1)) == ("exception", GP, 8 | 4)


def update(live: Live, slot: int, entry: int) -> None:
    guest = live.bench.guest
    guest.put(MMU_UPDATE.pack(MmuUpdate(live.bench.maddr(5, slot), entry)))
    mmu_update(guest, Guest.BASE, 1, 0, SELF)


def test_a_stale_writable_translation_does_not_reach_a_new_page_table(live: Live) -> None:
    live.cpu.eax = 0
    assert live.run(save(30 * 4096)) == DONE
    update(live, 30, live.bench.entry(30, READ_ONLY))
    live.bench.guest.put(MMUEXT_OP.pack(MmuextOp(MmuextCmd.PIN_L1_TABLE, live.bench.frame(30), 0)))
    mmuext_op(live.bench.guest, Guest.BASE, 1, 0, SELF)
    live.cpu.eax = live.bench.entry(5, DATA)
    assert live.run_again() == ("exception", PF, 3)
    assert audit(live.machine) == []


def test_a_refused_exchange_does_not_hide_a_stale_translation_of_a_new_page_table(live: Live) -> None:
    live.cpu.eax = 0
    assert live.run(save(30 * 4096)) == DONE
    update(live, 30, 0)
    guest, lists = live.bench.guest, Guest.BASE + 0x1000
    guest.put(struct.pack("<4I", live.bench.frame(30), live.bench.frame(31), 100, 101), lists)
    give = XenMemoryReservation(lists, 2, 0, 0, SELF)
    get = XenMemoryReservation(lists + 8, 1, 1, 0, SELF)
    guest.put(XEN_MEMORY_EXCHANGE.pack(XenMemoryExchange(give, get, 0)))
    with pytest.raises(Refusal) as refused:
        memory_op(guest, MemoryOp.exchange, Guest.BASE, 0)
    assert refused.value.errno == Errno.EINVAL
    guest.put(MMUEXT_OP.pack(MmuextOp(MmuextCmd.PIN_L1_TABLE, live.bench.frame(30), 0)))
    mmuext_op(guest, Guest.BASE, 1, 0, SELF)
    live.cpu.eax = live.bench.entry(5, DATA)
    assert live.run_again() == ("exception", PF, 2)
    assert audit(live.machine) == []


def test_loading_a_base_pointer_flushes_every_processor_that_could_write_the_new_tables() -> None:
    bench = make_bench(256, 80, max_vcpus=2)
    second = FakeCpu()
    VcpuPaging(bench.domain, 1, second)
    bench.boot(mapped=40)
    bench.build_tables(root=60, mapped=0)
    for pfn in range(60, 66):
        bench.machine.hold(bench.frame(pfn), 1, writable=True)
        bench.machine.let_go(bench.frame(pfn), writable=True)
    second.tlb = {0x5000}
    bench.paging.load_base(bench.frame(60))
    assert second.tlb == set()


def test_a_stale_translation_does_not_reach_a_frame_given_back(live: Live) -> None:
    assert live.run(load(30 * 4096)) == DONE
    update(live, 30, 0)
    live.machine.free([live.bench.frame(30)])
    assert live.run_again() == ("exception", PF, 0)


def test_code_translated_from_a_frame_is_gone_when_the_frame_is_given_back(live: Live) -> None:
    live.cpu.write(30 * 4096, b"\xb8\x01\x00\x00\x00\xcd\x82")
    live.cpu.eip = 30 * 4096
    live.cpu.run()
    mfn = live.bench.frame(30)
    live.ram.write((mfn << 12) + 1, b"\x02")
    live.cpu.eip = 30 * 4096
    live.cpu.run()
    assert live.cpu.eax == 2


def test_random_descriptor_tables_never_lead_to_ring_0(live: Live) -> None:
    """Whatever passes the check is loaded, jumped and called through, from rings 1 and 3."""
    values = random.Random(11)
    make_read_only(live, 20)
    entered = 0
    for _ in range(120):
        table = [values.getrandbits(64) | 1 << 47 for _ in range(64)]
        for slot in range(0, 64, 3):
            table[slot] = table[slot] & ~(0x40 << 48) | 0x00C0 << 48
        table = [raw if check_descriptor(raw, live.domain.space.hole) is not None else 0 for raw in table]
        live.ram.write(live.bench.frame(20) << 12, struct.pack("<64Q", *table))
        live.paging.set_gdt([], 0)
        live.paging.set_gdt([live.bench.frame(20)], 512)
        for slot in values.sample(range(1, 64), 6):
            selector = slot << 3 | values.choice([0, 1, 1, 2, 3])
            live.enter_kernel()
            if values.random() < 0.3:
                as_application(live)
            code = values.choice([far_call, far_jump_on, far_return, load_es])(selector)
            live.cpu.write(CODE, code + b"\xcd\x82" * 4)
            live.cpu.eip = CODE
            live.cpu.run()
            entered += live.cpu.cs & ~3 == selector & ~3
            assert live.cpu.cpl in (1, 2, 3)
    assert entered > 15


def test_a_base_pointer_is_what_the_processor_walks(live: Live) -> None:
    assert live.cpu.cr3 == live.bench.frame(0) << 12
    with pytest.raises(Refusal):
        live.paging.load_base(live.bench.frame(5))
    assert live.run(b"\x90") == DONE


def test_ldt_area_faults_of_other_vcpus_are_not_mended(live: Live) -> None:
    assert live.run(load(ldt_address(3))) == ("exception", PF, 0)
    assert live.faults.mended == 0
