"""Entries by which granted frames are mapped: counts stay right whatever the guest does with them."""

from __future__ import annotations

import pytest

from paravane.abi.errno import Errno
from paravane.abi.grant_table import GrantMapFlag
from paravane.cpu.geometry import PAE
from paravane.memory import DomainMemory, audit
from paravane.memory.frames import L1, WRITABLE
from paravane.memory.grant_mappings import create_grant_mapping, destroy_grant_mapping
from paravane.refusal import Refusal
from tests.support.memory_bench import Bench, make_bench

VA = 20 << 12
HOST = int(GrantMapFlag.host_map)


@pytest.fixture
def bench() -> Bench:
    bench = make_bench(256, 80)
    bench.boot(mapped=40)
    return bench


def granted(bench: Bench) -> int:
    """A frame of another domain, taken for writing as a grant does."""
    mfn = DomainMemory(bench.machine, 2, PAE, max_pages=4).populate(1)[0]
    bench.machine.types.get_page_and_type(mfn, 2, WRITABLE)
    return mfn


def test_a_mapping_and_its_end(bench: Bench) -> None:
    mfn = granted(bench)
    create_grant_mapping(bench.paging, VA, mfn, HOST | GrantMapFlag.application_map | 5 << 16)
    assert bench.paging.read_l1_entry(VA) == mfn << 12 | 0x67 | 5 << 9 | 1 << 63
    assert bench.machine.frames.type_count[bench.frame(20)] == 0
    assert audit(bench.machine) == []
    destroy_grant_mapping(bench.paging, VA, mfn, HOST)
    bench.machine.types.put_page_and_type(mfn)
    assert bench.paging.read_l1_entry(VA) == 0
    assert audit(bench.machine) == []


def test_a_mapping_by_entry_address(bench: Bench) -> None:
    mfn = granted(bench)
    flags = HOST | GrantMapFlag.contains_pte
    create_grant_mapping(bench.paging, bench.maddr(5, 20), mfn, flags)
    assert bench.paging.read_l1_entry(VA) >> 12 & 0xFFFFF == mfn
    destroy_grant_mapping(bench.paging, bench.maddr(5, 20), mfn, flags)
    bench.machine.types.put_page_and_type(mfn)
    assert audit(bench.machine) == []


@pytest.mark.parametrize("address", [1 << 21, 0xF5800000, 0xFFC00000, VA + (1 << 32)])
def test_addresses_without_an_own_l1_table_are_refused(bench: Bench, address: int) -> None:
    mfn = granted(bench)
    with pytest.raises(Refusal) as refused:
        create_grant_mapping(bench.paging, address, mfn, HOST)
    assert refused.value.errno == Errno.EINVAL


@pytest.mark.parametrize(("pfn", "offset"), [(5, 4), (1, 0), (0, 0), (60, 0)])
def test_entries_outside_own_l1_tables_are_refused(bench: Bench, pfn: int, offset: int) -> None:
    mfn = granted(bench)
    for address in (bench.maddr(pfn, 20) + offset, 1 << 12, 256 << 12):
        with pytest.raises(Refusal):
            create_grant_mapping(bench.paging, address, mfn, HOST | GrantMapFlag.contains_pte)


def test_an_entry_the_guest_replaced_is_not_the_grants_any_more(bench: Bench) -> None:
    mfn = granted(bench)
    create_grant_mapping(bench.paging, VA, mfn, HOST)
    old = bench.read_entry(5, 20)
    bench.write_entry(5, 20, 0)
    bench.machine.tables.l1.put_entry(old, bench.domain)
    with pytest.raises(Refusal):
        destroy_grant_mapping(bench.paging, VA, mfn, HOST)
    assert audit(bench.machine) == []


def test_a_mapping_replaced_by_another_one_of_the_guest(bench: Bench) -> None:
    mfn = granted(bench)
    create_grant_mapping(bench.paging, VA, mfn, HOST)
    destroy_grant_mapping(bench.paging, VA, mfn, HOST, replace_by=30 << 12)
    bench.machine.types.put_page_and_type(mfn)
    assert bench.paging.read_l1_entry(VA) >> 12 & 0xFFFFF == bench.frame(30)
    assert bench.paging.read_l1_entry(30 << 12) == 0
    assert audit(bench.machine) == []


def test_a_mapping_cannot_be_replaced_by_itself(bench: Bench) -> None:
    mfn = granted(bench)
    create_grant_mapping(bench.paging, VA, mfn, HOST)
    with pytest.raises(Refusal):
        destroy_grant_mapping(bench.paging, VA, mfn, HOST, replace_by=VA)
    assert bench.machine.frames.count[mfn] == 1
    assert audit(bench.machine) == []


def test_a_frame_mapped_by_grant_cannot_become_its_owners_page_table(bench: Bench) -> None:
    mfn = granted(bench)
    create_grant_mapping(bench.paging, VA, mfn, HOST)
    with pytest.raises(Refusal):
        bench.machine.types.get_page_and_type(mfn, 2, L1)
