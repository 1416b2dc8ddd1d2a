"""memory_op: ballooning, exchanges, questions about memory."""

from __future__ import annotations

import struct

import pytest

from paravane.abi.e820 import E820ENTRY, E820Entry
from paravane.abi.errno import Errno
from paravane.abi.memory import (
    XEN_FOREIGN_MEMORY_MAP,
    XEN_MACHPHYS_MAPPING,
    XEN_MACHPHYS_MFN_LIST,
    XEN_MEM_ACCESS_OP,
    XEN_MEM_ACQUIRE_RESOURCE,
    XEN_MEMORY_EXCHANGE,
    XEN_MEMORY_MAP,
    XEN_MEMORY_RESERVATION,
    MemoryOp,
    XenMachphysMfnList,
    XenMemAccessOp,
    XenMemAcquireResource,
    XenMemoryMap,
)
from paravane.cpu.geometry import PAE
from paravane.memory import audit
from paravane.memory.frames import FREE
from paravane.memory.memory_queries import memory_op
from paravane.refusal import Refusal
from paravane.registry import CONTROL_DOMID
from tests.support.memory_bench import Bench, Guest, make_bench
from tests.support.residents import new_domain_memory

SELF, LISTS = 0x7FF0, 0x4000
RESERVATION = XEN_MEMORY_RESERVATION.type
EXCHANGE = XEN_MEMORY_EXCHANGE.type


@pytest.fixture
def bench() -> Bench:
    bench = make_bench(256, 80)
    bench.boot(mapped=40)
    return bench


def change(
    bench: Bench,
    op: MemoryOp,
    frames: list[int],
    *,
    order: int = 0,
    flags: int = 0,
    domid: int = SELF,
    start: int = 0,
    count: int | None = None,
) -> int:
    bench.guest.put(struct.pack(f"<{len(frames)}I", *frames), LISTS)
    nr_extents = len(frames) if count is None else count
    bench.guest.put(XEN_MEMORY_RESERVATION.pack(RESERVATION(LISTS, nr_extents, order, flags, domid)))
    return memory_op(bench.guest, op | start << 6, Guest.BASE, 0)


def words(bench: Bench, count: int, at: int = LISTS) -> list[int]:
    return [bench.guest.word(at + 4 * index) for index in range(count)]


def test_ballooning_down_and_up_again(bench: Bench) -> None:
    frames = [bench.frame(pfn) for pfn in range(50, 60)]
    assert change(bench, MemoryOp.decrease_reservation, frames) == 10
    assert bench.domain.tot_pages == 70
    assert all(bench.machine.frames.owner[mfn] == FREE for mfn in frames)
    assert change(bench, MemoryOp.populate_physmap, list(range(50, 60))) == 10
    new = words(bench, 10)
    assert [bench.machine.m2p[mfn] for mfn in new] == list(range(50, 60))
    assert bench.domain.tot_pages == 80
    assert audit(bench.machine) == []


def test_increase_gives_frames_without_a_place(bench: Bench) -> None:
    assert change(bench, MemoryOp.increase_reservation, [0] * 5) == 5
    assert {bench.machine.m2p[mfn] for mfn in words(bench, 5)} == {0xFFFFFFFF}
    assert bench.domain.tot_pages == 85


def test_the_limit_ends_a_request_where_it_is_reached(bench: Bench) -> None:
    bench.domain.max_pages = 83
    assert change(bench, MemoryOp.increase_reservation, [0] * 5) == 3
    assert change(bench, MemoryOp.populate_physmap, [1, 2]) == 0
    assert bench.domain.tot_pages == 83


def test_the_machine_running_out_ends_a_request(bench: Bench) -> None:
    bench.domain.max_pages = 10_000
    left = bench.machine.nr_free
    assert change(bench, MemoryOp.increase_reservation, [0] * (left + 5)) == left
    assert audit(bench.machine) == []


def test_giving_back_what_is_not_ours_ends_a_request(bench: Bench) -> None:
    other = new_domain_memory(bench.machine, 2, PAE, max_pages=3).populate(1)[0]
    for bad in (other, 0, 256, 0xFFFFFFFF):
        frames = [bench.frame(70), bad, bench.frame(71)]
        assert change(bench, MemoryOp.decrease_reservation, frames) == 1
        bench.p2m[70] = bench.domain.populate(1)[0]
    assert bench.machine.frames.owner[other] == 2


def test_a_frame_given_back_twice_is_dropped_once(bench: Bench) -> None:
    mapped = bench.frame(20)
    assert change(bench, MemoryOp.decrease_reservation, [mapped, mapped]) == 2
    assert bench.machine.frames.count[mapped] == 1
    assert audit(bench.machine) == []


def test_extents_of_an_order_are_neighbours_and_aligned(bench: Bench) -> None:
    assert change(bench, MemoryOp.populate_physmap, [96, 128], order=2) == 2
    first, second = words(bench, 2)
    assert (first % 4, second % 4) == (0, 0)
    assert [bench.machine.m2p[first + at] for at in range(4)] == [96, 97, 98, 99]
    assert bench.domain.tot_pages == 88
    assert change(bench, MemoryOp.decrease_reservation, [first], order=2) == 1
    assert bench.domain.tot_pages == 84


@pytest.mark.parametrize("order", [10, 31, 32, 0xFFFFFFFF])
def test_orders_a_guest_may_not_ask_for_do_nothing(bench: Bench, order: int) -> None:
    for op in (MemoryOp.increase_reservation, MemoryOp.decrease_reservation, MemoryOp.populate_physmap):
        assert change(bench, op, [bench.frame(50)], order=order) == 0


@pytest.mark.parametrize(
    "kind",
    [
        {"domid": 2},
        {"domid": 77},
        {"flags": 1 << 16},
        {"flags": 12},
        {"flags": 1 << 17 | 1 << 8},
        {"count": 0},
    ],
)
def test_requests_xen_does_not_look_at_answer_the_start(bench: Bench, kind: dict[str, int]) -> None:
    new_domain_memory(bench.machine, 2, PAE, max_pages=3)
    assert change(bench, MemoryOp.populate_physmap, [50], **kind) == 0
    assert change(bench, MemoryOp.populate_physmap, [50], start=3, **kind) == 3
    assert bench.domain.tot_pages == 80


def test_memory_below_an_address_width(bench: Bench) -> None:
    assert change(bench, MemoryOp.increase_reservation, [0] * 3, flags=19) == 3
    assert all(mfn < 128 for mfn in words(bench, 3))


def test_a_bad_list_ends_the_request(bench: Bench) -> None:
    end = Guest.BASE + len(bench.guest.buffer)
    bench.guest.put(XEN_MEMORY_RESERVATION.pack(RESERVATION(end - 4, 3, 0, 0, SELF)))
    assert memory_op(bench.guest, MemoryOp.populate_physmap, Guest.BASE, 0) == 1
    bench.guest.put(XEN_MEMORY_RESERVATION.pack(RESERVATION(0xF57FFFFC, 3, 0, 0, SELF)))
    assert memory_op(bench.guest, MemoryOp.populate_physmap, Guest.BASE, 0) == 0
    assert memory_op(bench.guest, MemoryOp.populate_physmap, 0xF0000000, 0) == 0
    assert audit(bench.machine) == []


def put_exchange(bench: Bench, give: list[int], get: list[int], orders: tuple[int, int] = (0, 0)) -> None:
    bench.guest.put(struct.pack(f"<{len(give)}I", *give), LISTS)
    bench.guest.put(struct.pack(f"<{len(get)}I", *get), LISTS + 0x1000)
    request = EXCHANGE(
        RESERVATION(LISTS, len(give), orders[0], 0, SELF),
        RESERVATION(LISTS + 0x1000, len(get), orders[1], 0, SELF),
        0,
    )
    bench.guest.put(XEN_MEMORY_EXCHANGE.pack(request))


def exchange(bench: Bench, give: list[int], get: list[int], orders: tuple[int, int] = (0, 0)) -> int:
    put_exchange(bench, give, get, orders)
    return memory_op(bench.guest, MemoryOp.exchange, Guest.BASE, 0)


def exchanged(bench: Bench) -> int:
    data = bench.guest.copy_from_guest(Guest.BASE, XEN_MEMORY_EXCHANGE.size)
    return int(XEN_MEMORY_EXCHANGE.unpack(data).nr_exchanged)


def test_exchange_of_pages_for_an_extent(bench: Bench) -> None:
    give = [bench.frame(pfn) for pfn in range(50, 58)]
    assert exchange(bench, give, [100, 200], (0, 2)) == 0
    assert exchanged(bench) == 8
    first, second = words(bench, 2, LISTS + 0x1000)
    assert [bench.machine.m2p[second + at] for at in range(4)] == [200, 201, 202, 203]
    assert first % 4 == 0
    assert bench.domain.tot_pages == 80
    assert audit(bench.machine) == []


def test_exchange_of_a_mapped_page_fails_and_leaves_the_chunk_as_it_was(bench: Bench) -> None:
    give = [bench.frame(pfn) for pfn in (50, 51, 20, 52)]
    with pytest.raises(Refusal) as refused:
        exchange(bench, give, [100, 200], (0, 1))
    assert refused.value.errno == Errno.EINVAL
    # As from Xen's 32-bit layer, the guest hears nothing of the chunk before, which was exchanged.
    assert exchanged(bench) == 0
    assert words(bench, 2, LISTS + 0x1000) == [100, 200]
    assert bench.machine.frames.owner[bench.frame(50)] == FREE
    assert bench.machine.frames.owner[bench.frame(52)] == 1
    assert bench.domain.tot_pages == 80
    assert audit(bench.machine) == []


def test_an_exchange_whose_lists_cannot_be_read_whole_does_nothing(bench: Bench) -> None:
    end = Guest.BASE + len(bench.guest.buffer)
    bench.guest.put(struct.pack("<2I", bench.frame(50), bench.frame(51)), end - 8)
    for give, get, count in ((LISTS, end - 4, 2), (end - 8, LISTS, 3)):
        bench.guest.put(struct.pack("<3I", *(bench.frame(pfn) for pfn in (50, 51, 52))), LISTS)
        request = EXCHANGE(RESERVATION(give, count, 0, 0, SELF), RESERVATION(get, count, 0, 0, SELF), 0)
        bench.guest.put(XEN_MEMORY_EXCHANGE.pack(request))
        with pytest.raises(Refusal) as refused:
            memory_op(bench.guest, MemoryOp.exchange, Guest.BASE, 0)
        assert refused.value.errno == Errno.EFAULT
        assert bench.machine.frames.owner[bench.frame(50)] == 1
    assert audit(bench.machine) == []


def test_an_exchange_that_cannot_be_told_is_done_all_the_same(bench: Bench) -> None:
    """The new list lies in memory that the guest can only read."""
    give = [bench.frame(pfn) for pfn in (50, 51)]
    put_exchange(bench, give, [100, 200])
    bench.guest.read_only = range(LISTS + 0x1000, LISTS + 0x1004)
    with pytest.raises(Refusal) as refused:
        memory_op(bench.guest, MemoryOp.exchange, Guest.BASE, 0)
    assert refused.value.errno == Errno.EFAULT
    assert exchanged(bench) == 2
    assert words(bench, 2, LISTS + 0x1000) == [100, 200]
    assert bench.machine.frames.owner[give[1]] == FREE
    assert bench.domain.tot_pages == 80
    assert audit(bench.machine) == []


def test_a_frame_number_that_cannot_be_told_ends_the_request_but_the_portion_is_done(bench: Bench) -> None:
    bench.guest.put(struct.pack("<4I", 100, 101, 102, 103), LISTS)
    bench.guest.read_only = range(LISTS + 8, LISTS + 12)
    bench.guest.put(XEN_MEMORY_RESERVATION.pack(RESERVATION(LISTS, 4, 0, 0, SELF)))
    before = bench.domain.tot_pages
    assert memory_op(bench.guest, MemoryOp.populate_physmap, Guest.BASE, 0) == 2
    assert bench.domain.tot_pages == before + 4
    assert words(bench, 4, LISTS)[2:] == [102, 103]
    assert audit(bench.machine) == []


def test_exchange_without_memory_for_it_is_enomem(bench: Bench) -> None:
    bench.domain.max_pages = 10_000
    bench.domain.populate(bench.machine.nr_free)
    with pytest.raises(Refusal) as refused:
        exchange(bench, [bench.frame(50)], [100])
    assert refused.value.errno == Errno.ENOMEM
    assert audit(bench.machine) == []


@pytest.mark.parametrize(
    ("give", "get", "orders", "errno"),
    [
        (2, 1, (0, 0), Errno.EINVAL),
        (1, 1, (0, 40), Errno.EINVAL),
        (1024, 1, (0, 10), Errno.E2BIG),
        (1, 1, (10, 10), Errno.EPERM),
    ],
)
def test_bad_exchanges(bench: Bench, give: int, get: int, orders: tuple[int, int], errno: Errno) -> None:
    with pytest.raises(Refusal) as refused:
        exchange(bench, [bench.frame(50)] * give, [1] * get, orders)
    assert refused.value.errno == errno


def ask(bench: Bench, op: int, argument: bytes, max_pfn: int = 0) -> int:
    bench.guest.put(argument)
    return memory_op(bench.guest, op, Guest.BASE, max_pfn)


def errno_of(bench: Bench, op: int, argument: bytes = bytes(64)) -> Errno:
    with pytest.raises(Refusal) as refused:
        ask(bench, op, argument)
    return refused.value.errno


def test_questions_about_size(bench: Bench) -> None:
    own = struct.pack("<H", SELF)
    assert ask(bench, MemoryOp.maximum_ram_page, b"") == 256
    assert ask(bench, MemoryOp.current_reservation, own) == 80
    assert ask(bench, MemoryOp.maximum_reservation, own) == 112
    assert ask(bench, MemoryOp.maximum_reservation, struct.pack("<H", 1)) == 112
    assert ask(bench, MemoryOp.maximum_gpfn, own, 0x1000) == 0xFFF
    assert ask(bench, MemoryOp.maximum_gpfn, own) == 0
    assert errno_of(bench, MemoryOp.maximum_ram_page | 1 << 6) == Errno.EINVAL
    assert errno_of(bench, MemoryOp.current_reservation, struct.pack("<H", 9)) == Errno.ESRCH
    new_domain_memory(bench.machine, 2, PAE, max_pages=3)
    assert errno_of(bench, MemoryOp.current_reservation, struct.pack("<H", 2)) == Errno.EPERM
    with pytest.raises(Refusal) as refused:
        memory_op(bench.guest, MemoryOp.current_reservation, 0xF0000000, 0)
    assert refused.value.errno == Errno.EFAULT


def test_the_memory_map_is_one_range_of_the_domains_size_until_changed(bench: Bench) -> None:
    assert ask(bench, MemoryOp.memory_map, XEN_MEMORY_MAP.pack(XenMemoryMap(128, LISTS))) == 0
    assert bench.guest.word(Guest.BASE) == 1
    assert E820ENTRY.unpack(bench.guest.copy_from_guest(LISTS, 20)) == E820Entry(0, 112 << 12, 1)
    bench.guest.put(E820ENTRY.pack(E820Entry(0x1000, 0x2000, 2)), LISTS)
    wanted = XEN_FOREIGN_MEMORY_MAP.type(SELF, XenMemoryMap(1, LISTS))
    assert ask(bench, MemoryOp.set_memory_map, XEN_FOREIGN_MEMORY_MAP.pack(wanted)) == 0
    assert bench.domain.e820 == [E820Entry(0x1000, 0x2000, 2)]
    bench.domain.e820 = []
    assert errno_of(bench, MemoryOp.memory_map) == Errno.ENOSYS


def test_where_the_machine_to_phys_table_is(bench: Bench) -> None:
    assert ask(bench, MemoryOp.machphys_mapping, bytes(12)) == 0
    answer = XEN_MACHPHYS_MAPPING.unpack(bench.guest.copy_from_guest(Guest.BASE, 12))
    assert answer == (0xF5800000, 0xFFE00000, (0xFFE00000 - 0xF5800000) // 4 - 1)
    for op in (MemoryOp.machphys_mfn_list, MemoryOp.machphys_compat_mfn_list):
        ask(bench, op, XEN_MACHPHYS_MFN_LIST.pack(XenMachphysMfnList(9, LISTS, 0)))
        assert bench.guest.word(Guest.BASE + 8) == 1
        assert bench.guest.word(LISTS) == bench.machine.m2p_frames.start


def acquire(domid: int, *, nr_frames: int = 0, pad: int = 0, frame: int = 0) -> bytes:
    return XEN_MEM_ACQUIRE_RESOURCE.pack(XenMemAcquireResource(domid, 0, 0, nr_frames, pad, frame, 0))


def access(domid: int) -> bytes:
    return XEN_MEM_ACCESS_OP.pack(XenMemAccessOp(0, 0, domid, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("op", "argument", "errno"),
    [
        (MemoryOp.machine_memory_map, b"", Errno.EPERM),
        (MemoryOp.add_to_physmap, struct.pack("<HHIII", SELF, 0, 0, 0, 0), Errno.EACCES),
        (MemoryOp.add_to_physmap, struct.pack("<HHIII", SELF, 0, 4, 0, 0), Errno.ENOSYS),
        (MemoryOp.add_to_physmap_batch, struct.pack("<HHHHIII", SELF, 3, 0, 0, 0, 0, 0), Errno.EOPNOTSUPP),
        (MemoryOp.add_to_physmap_batch, struct.pack("<HHHHIII", SELF, 0, 0, 0, 0, 0, 0), Errno.EACCES),
        (MemoryOp.remove_from_physmap, struct.pack("<HHI", SELF, 0, 0), Errno.EACCES),
        (MemoryOp.remove_from_physmap, struct.pack("<HHI", 9, 0, 0), Errno.ESRCH),
        (MemoryOp.claim_pages, b"", Errno.ENOSYS),
        (MemoryOp.acquire_resource, acquire(1), Errno.EPERM),
        (MemoryOp.acquire_resource, acquire(CONTROL_DOMID), Errno.EPERM),
        (MemoryOp.acquire_resource, acquire(9), Errno.ESRCH),
        (MemoryOp.acquire_resource, acquire(SELF), Errno.ESRCH),
        (MemoryOp.acquire_resource, acquire(9, pad=1), Errno.EINVAL),
        (MemoryOp.acquire_resource, acquire(9, nr_frames=2, frame=0xFFFF_FFFF), Errno.EINVAL),
        (MemoryOp.acquire_resource, acquire(9, nr_frames=1, frame=0xFFFF_FFFE), Errno.ESRCH),
        (MemoryOp.access_op, access(1), Errno.EPERM),
        (MemoryOp.access_op, access(CONTROL_DOMID), Errno.EINVAL),
        (MemoryOp.access_op, access(9), Errno.ESRCH),
        (MemoryOp.access_op, access(SELF), Errno.ESRCH),
        (MemoryOp.get_vnumainfo, struct.pack("<HH", SELF, 0), Errno.EOPNOTSUPP),
        (MemoryOp.get_vnumainfo, struct.pack("<HH", SELF, 1), Errno.EINVAL),
        (MemoryOp.set_pod_target, struct.pack("<32xH", SELF), Errno.EINVAL),
        (63, b"", Errno.ENOSYS),
    ],
)
def test_what_a_guest_does_not_get(bench: Bench, op: int, argument: bytes, errno: Errno) -> None:
    assert errno_of(bench, op, argument) == errno


def test_no_pages_are_shared_by_contents(bench: Bench) -> None:
    assert ask(bench, MemoryOp.get_sharing_freed_pages, b"") == 0
