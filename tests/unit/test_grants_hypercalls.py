"""grant_table_op as a guest calls it: counts, statuses and errnos."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from paravane import preemption
from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.grant_table import (
    GNTTAB_CACHE_FLUSH,
    GNTTAB_COPY,
    GNTTAB_GET_STATUS_FRAMES,
    GNTTAB_GET_VERSION,
    GNTTAB_MAP_GRANT_REF,
    GNTTAB_QUERY_SIZE,
    GNTTAB_SETUP_TABLE,
    GNTTAB_SWAP_GRANT_REF,
    GNTTAB_TRANSFER,
    GNTTAB_UNMAP_AND_REPLACE,
    GNTTAB_UNMAP_GRANT_REF,
    GnttabCacheFlush,
    GnttabCopy,
    GnttabCopyPtr,
    GnttabGetStatusFrames,
    GnttabGetVersion,
    GnttabMapGrantRef,
    GnttabOp,
    GnttabQuerySize,
    GnttabSetupTable,
    GnttabSwapGrantRef,
    GnttabTransfer,
    GnttabUnmapAndReplace,
    GnttabUnmapGrantRef,
    GrantCacheOp,
    GrantFlag,
    GrantMapFlag,
    GrantStatus,
)
from paravane.abi.hypercall import Hypercall
from paravane.cpu import PAE
from paravane.grants.use import ActiveGrant
from paravane.traps.crash import GuestCrash
from tests.support.caller import FakeCaller
from tests.support.granting import GrantMachine

SIZE = 4096
UNMAPPED = 0x10_0000
SELF = int(DomId.SELF)


class FakeVcpu(FakeCaller):
    """A vcpu of domain 1 with one page of memory, at 0, beside its page tables; domain 2 is there too."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = GrantMachine(2, 160, booted=PAE)
        self.own, self.peer = self.machine.guests
        self.p2m, self.peers_p2m = self.own.p2m, self.peer.p2m
        self.table, self.paging = self.own.table, self.own.paging
        self.domain = SimpleNamespace(grants=self.table, domid=1, memory=self.own.memory)
        self.platform.memory, self.platform.domains = self.machine.memory, self.machine.registry

    def op(self, command: int, *structs: bytes, count: int | None = None, at: int = 64) -> int:
        data = b"".join(structs)
        if data:
            self.memory[at : at + len(data)] = data
        return self.call(Hypercall.grant_table_op, command, at, len(structs) if count is None else count)

    def answer(self, layout: Any, index: int = 0) -> Any:
        return layout.unpack(self.memory, 64 + index * layout.size)


@pytest.fixture
def vcpu() -> FakeVcpu:
    return FakeVcpu()


def setup(dom: int, nr_frames: int, frame_list: int = 1024) -> bytes:
    return GNTTAB_SETUP_TABLE.pack(GnttabSetupTable(dom, nr_frames, 55, frame_list))


def test_setup_table_grows_and_lists_the_frames(vcpu: FakeVcpu) -> None:
    assert vcpu.op(GnttabOp.setup_table, setup(SELF, 2)) == 0
    assert vcpu.answer(GNTTAB_SETUP_TABLE).status == GrantStatus.okay
    listed = [int.from_bytes(vcpu.memory[at : at + 4], "little") for at in (1024, 1028)]
    assert tuple(listed) == vcpu.table.frames
    assert len(set(listed)) == 2


@pytest.mark.parametrize(
    ("dom", "nr_frames", "frame_list", "status"),
    [
        (2, 1, 1024, GrantStatus.permission_denied),
        (0, 1, 1024, GrantStatus.permission_denied),
        (9, 1, 1024, GrantStatus.bad_domain),
        (1, 65, 1024, GrantStatus.general_error),
        (1, 1, UNMAPPED, GrantStatus.bad_virt_addr),
        (1, 0, UNMAPPED, GrantStatus.okay),
    ],
)
def test_setup_table_reports_what_is_wrong(
    vcpu: FakeVcpu, dom: int, nr_frames: int, frame_list: int, status: GrantStatus
) -> None:
    assert vcpu.op(GnttabOp.setup_table, setup(dom, nr_frames, frame_list)) == 0
    assert vcpu.answer(GNTTAB_SETUP_TABLE).status == status


def test_setup_table_with_a_list_in_the_hypervisors_area_is_not_looked_at(vcpu: FakeVcpu) -> None:
    """Xen's 32-bit layer checks the range of the list before anything else, the status stays as it was."""
    for dom, frame_list in ((SELF, 0xF57F_FFFC), (9, 0xFFFF_FFF0)):
        assert vcpu.op(GnttabOp.setup_table, setup(dom, 2, frame_list)) == -Errno.EFAULT
        assert vcpu.answer(GNTTAB_SETUP_TABLE).status == 55
    assert len(vcpu.table.frames) == 1
    struct = GNTTAB_GET_STATUS_FRAMES.pack(GnttabGetStatusFrames(1, SELF, 9, 0xF57F_FFFC))
    assert vcpu.op(GnttabOp.get_status_frames, struct) == -Errno.EFAULT


def test_setup_table_lists_every_frame_that_it_can(vcpu: FakeVcpu) -> None:
    vcpu.read_only = range(1028, 1032)
    assert vcpu.op(GnttabOp.setup_table, setup(SELF, 3)) == 0
    assert vcpu.answer(GNTTAB_SETUP_TABLE).status == GrantStatus.bad_virt_addr
    listed = [int.from_bytes(vcpu.memory[at : at + 4], "little") for at in (1024, 1028, 1032)]
    assert listed == [vcpu.table.frames[0], 0, vcpu.table.frames[2]]


def test_query_size(vcpu: FakeVcpu) -> None:
    assert vcpu.op(GnttabOp.query_size, GNTTAB_QUERY_SIZE.pack(GnttabQuerySize(1, 0, 0, 9))) == 0
    assert vcpu.answer(GNTTAB_QUERY_SIZE) == GnttabQuerySize(1, 1, 64, GrantStatus.okay)
    vcpu.op(GnttabOp.query_size, GNTTAB_QUERY_SIZE.pack(GnttabQuerySize(2, 7, 7, 9)))
    assert vcpu.answer(GNTTAB_QUERY_SIZE) == GnttabQuerySize(2, 7, 7, GrantStatus.permission_denied)


def test_versions(vcpu: FakeVcpu) -> None:
    for version, result, in_force in ((1, 0, 1), (7, -Errno.EINVAL, 1), (2, 0, 2), (0, -Errno.EINVAL, 2)):
        assert vcpu.op(GnttabOp.set_version, version.to_bytes(4, "little")) == result
        assert vcpu.memory[64] == in_force
    for dom, result in ((SELF, 0), (1, 0), (2, -Errno.EPERM), (9, -Errno.ESRCH)):
        vcpu.memory[64:72] = bytes(8)
        struct = GNTTAB_GET_VERSION.pack(GnttabGetVersion(dom, 0, 0))
        assert vcpu.op(GnttabOp.get_version, struct) == result
        assert vcpu.answer(GNTTAB_GET_VERSION).version == (2 if result == 0 else 0)


def test_there_are_no_status_frames(vcpu: FakeVcpu) -> None:
    for nr_frames, dom, status in (
        (0, SELF, GrantStatus.okay),
        (1, SELF, GrantStatus.general_error),
        (1, 2, GrantStatus.permission_denied),
        (1, 9, GrantStatus.bad_domain),
    ):
        struct = GNTTAB_GET_STATUS_FRAMES.pack(GnttabGetStatusFrames(nr_frames, dom, 9, 1024))
        assert vcpu.op(GnttabOp.get_status_frames, struct) == 0
        assert vcpu.answer(GNTTAB_GET_STATUS_FRAMES).status == status


def test_an_array_of_copies_has_a_status_each(vcpu: FakeVcpu) -> None:
    ram = vcpu.platform.memory.ram
    ram.write(vcpu.p2m[12] << 12, b"copied")

    def copy(dest: int) -> bytes:
        pointers = GnttabCopyPtr(vcpu.p2m[12], SELF, 0), GnttabCopyPtr(dest, SELF, 8)
        return GNTTAB_COPY.pack(GnttabCopy(*pointers, 6, 0, 99))

    assert vcpu.op(GnttabOp.copy, copy(vcpu.p2m[13]), copy(vcpu.peers_p2m[0]), copy(vcpu.p2m[14])) == 0
    statuses = [vcpu.answer(GNTTAB_COPY, index).status for index in range(3)]
    assert statuses == [GrantStatus.okay, GrantStatus.bad_page, GrantStatus.okay]
    assert ram.read((vcpu.p2m[14] << 12) + 8, 6) == b"copied"
    assert len(vcpu.refusals) == 1


def test_copies_are_begun_only_when_all_of_a_portion_can_be_read(vcpu: FakeVcpu) -> None:
    ram = vcpu.platform.memory.ram
    ram.write(vcpu.p2m[12] << 12, b"copied")
    pointers = GnttabCopyPtr(vcpu.p2m[12], SELF, 0), GnttabCopyPtr(vcpu.p2m[13], SELF, 8)
    struct = GNTTAB_COPY.pack(GnttabCopy(*pointers, 6, 0, 99))
    at = SIZE - GNTTAB_COPY.size
    assert vcpu.op(GnttabOp.copy, struct, count=2, at=at) == -Errno.EFAULT
    assert GNTTAB_COPY.unpack(vcpu.memory, at).status == 99
    assert ram.read((vcpu.p2m[13] << 12) + 8, 6) == bytes(6)


def test_a_status_that_cannot_be_written_keeps_no_other_from_it(vcpu: FakeVcpu) -> None:
    pointers = GnttabCopyPtr(vcpu.p2m[12], SELF, 0), GnttabCopyPtr(vcpu.p2m[13], SELF, 8)
    struct = GNTTAB_COPY.pack(GnttabCopy(*pointers, 6, 0, 99))
    second = 64 + GNTTAB_COPY.size + GNTTAB_COPY.offsets["status"]
    vcpu.read_only = range(second, second + 2)
    assert vcpu.op(GnttabOp.copy, struct, struct, struct) == -Errno.EFAULT
    assert [vcpu.answer(GNTTAB_COPY, index).status for index in range(3)] == [0, 99, 0]


def test_arrays_that_reach_into_the_hypervisors_area_are_not_begun(vcpu: FakeVcpu) -> None:
    struct = GNTTAB_SWAP_GRANT_REF.pack(GnttabSwapGrantRef(1, 2, 99))
    for command in (GnttabOp.swap_grant_ref, GnttabOp.copy, GnttabOp.transfer, GnttabOp.unmap_grant_ref):
        assert vcpu.op(command, struct, count=0x7FFF_FFFF) == -Errno.EFAULT
        assert vcpu.answer(GNTTAB_SWAP_GRANT_REF).status == 99
    assert vcpu.op(GnttabOp.transfer, b"", count=1, at=UNMAPPED) == -Errno.EFAULT


def test_an_array_that_ends_outside_memory_is_done_up_to_there(vcpu: FakeVcpu) -> None:
    struct = GNTTAB_SWAP_GRANT_REF.pack(GnttabSwapGrantRef(1, 2, 99))
    at = SIZE - GNTTAB_SWAP_GRANT_REF.size
    assert vcpu.op(GnttabOp.swap_grant_ref, struct, count=2, at=at) == -Errno.EFAULT
    assert GNTTAB_SWAP_GRANT_REF.unpack(vcpu.memory, at).status == GrantStatus.okay


PAGE = 20
"""A page of linear memory where nothing is mapped."""


def map_request(vcpu: FakeVcpu, page: int = PAGE, ref: int = 9, dom: int = 2) -> bytes:
    return GNTTAB_MAP_GRANT_REF.pack(
        GnttabMapGrantRef(page << 12, GrantMapFlag.host_map, ref, dom, 99, 0xABCD, 0x1234)
    )


def unmap_request(handle: int, page: int = PAGE) -> bytes:
    return GNTTAB_UNMAP_GRANT_REF.pack(GnttabUnmapGrantRef(page << 12, 0, handle, 99))


def test_a_mapping_is_written_back_as_a_whole(vcpu: FakeVcpu) -> None:
    peer = vcpu.peer
    peer.grant(9, 1, peer.p2m[15])
    assert vcpu.op(GnttabOp.map_grant_ref, map_request(vcpu), map_request(vcpu, ref=8)) == 0
    done, refused = (vcpu.answer(GNTTAB_MAP_GRANT_REF, index) for index in (0, 1))
    assert (done.status, done.handle, done.dev_bus_addr) == (GrantStatus.okay, 0, peer.p2m[15] << 12)
    assert (refused.status, refused.handle, refused.dev_bus_addr) == (-1, 0xABCD, 0x1234)
    assert vcpu.own.entry(PAGE) >> 12 & 0xFFFFF == peer.p2m[15]
    assert vcpu.op(GnttabOp.unmap_grant_ref, unmap_request(0), unmap_request(0)) == 0
    statuses = [vcpu.answer(GNTTAB_UNMAP_GRANT_REF, index).status for index in (0, 1)]
    assert statuses == [GrantStatus.okay, GrantStatus.bad_handle]
    assert vcpu.own.entry(PAGE) == 0


def test_a_mapping_that_cannot_be_told_is_made_all_the_same(vcpu: FakeVcpu) -> None:
    """As in Xen, whose guest has lost the handle then."""
    vcpu.peer.grant(9, 1, vcpu.peer.p2m[15])
    vcpu.read_only = range(64, 65)
    assert vcpu.op(GnttabOp.map_grant_ref, map_request(vcpu), map_request(vcpu, PAGE + 1)) == -Errno.EFAULT
    assert vcpu.own.entry(PAGE)
    assert vcpu.own.entry(PAGE + 1) == 0
    assert vcpu.machine.audit() == []


def test_unmap_and_replace(vcpu: FakeVcpu) -> None:
    vcpu.peer.grant(9, 1, vcpu.peer.p2m[15])
    spare = vcpu.own.entry(11)
    vcpu.op(GnttabOp.map_grant_ref, map_request(vcpu))
    struct = GNTTAB_UNMAP_AND_REPLACE.pack(GnttabUnmapAndReplace(PAGE << 12, 11 << 12, 0, 99))
    assert vcpu.op(GnttabOp.unmap_and_replace, struct) == 0
    assert vcpu.answer(GNTTAB_UNMAP_AND_REPLACE).status == GrantStatus.okay
    assert (vcpu.own.entry(PAGE), vcpu.own.entry(11)) == (spare, 0)


@pytest.mark.parametrize("command", [GnttabOp.unmap_grant_ref, GnttabOp.unmap_and_replace])
def test_a_grant_of_a_domain_that_is_gone_for_good_crashes_who_unmaps_it(
    vcpu: FakeVcpu, command: GnttabOp
) -> None:
    vcpu.peer.grant(9, 1, vcpu.peer.p2m[15])
    vcpu.op(GnttabOp.map_grant_ref, map_request(vcpu))
    memory = vcpu.own.memory
    index = (vcpu.p2m[5] << memory.space.table_shift) + PAGE
    memory.machine.tables.modify_l1(memory, index, 0, memory.domid)
    vcpu.peer.die()
    with pytest.raises(GuestCrash, match="of domain 2, of which nothing is left"):
        vcpu.op(command, unmap_request(0))


def transfer_request(mfn: int, dom: int, ref: int) -> bytes:
    return GNTTAB_TRANSFER.pack(GnttabTransfer(mfn, dom, ref, 99))


def test_frames_are_transferred(vcpu: FakeVcpu) -> None:
    peer, own = vcpu.peer, vcpu.own
    ram, mfn = vcpu.platform.memory.ram, vcpu.p2m[20]
    ram.write(mfn << 12, b"given")
    peer.grant(9, 1, 0x77, GrantFlag.accept_transfer)
    assert vcpu.op(GnttabOp.transfer, transfer_request(mfn, 2, 9), transfer_request(mfn, 2, 9)) == 0
    statuses = [vcpu.answer(GNTTAB_TRANSFER, index).status for index in (0, 1)]
    assert statuses == [GrantStatus.okay, GrantStatus.bad_page]
    done = GrantFlag.accept_transfer | GrantFlag.transfer_committed | GrantFlag.transfer_completed
    assert (peer.flags(9), peer.table.entries.frame(9)) == (done, mfn)
    assert ram.read(mfn << 12, 5) == b"given"
    assert vcpu.platform.memory.m2p[mfn] == 0x77
    assert (own.memory.tot_pages, peer.memory.tot_pages) == (23, 25)
    assert vcpu.platform.memory.frames.owner[mfn] == 2
    assert vcpu.machine.audit() == []


def test_a_frame_that_nobody_accepts_is_lost(vcpu: FakeVcpu) -> None:
    peer, frames = vcpu.peer, vcpu.platform.memory.frames
    peer.grant(9, 1, 0, GrantFlag.accept_transfer)
    peer.grant(10, 3, 0, GrantFlag.accept_transfer)
    peer.grant(11, 1, 0, GrantFlag.accept_transfer | GrantFlag.transfer_committed)
    limit = peer.memory.max_pages
    for pfn, (dom, ref, pages, status) in enumerate(
        (
            (9, 9, limit, GrantStatus.bad_domain),
            (SELF, 9, limit, GrantStatus.bad_domain),
            (2, 8, limit, GrantStatus.general_error),
            (2, 10, limit, GrantStatus.general_error),
            (2, 11, limit, GrantStatus.general_error),
            (2, 5000, limit, GrantStatus.general_error),
            (2, 9, peer.memory.tot_pages, GrantStatus.general_error),
        ),
        start=12,
    ):
        peer.memory.max_pages = pages
        assert vcpu.op(GnttabOp.transfer, transfer_request(vcpu.p2m[pfn], dom, ref)) == 0
        assert vcpu.answer(GNTTAB_TRANSFER).status == status
        assert frames.owner[vcpu.p2m[pfn]] != 1
    assert vcpu.own.memory.tot_pages == 24 - 7
    assert peer.flags(9) == GrantFlag.accept_transfer
    assert vcpu.machine.audit() == []


def test_frames_in_use_are_not_transferred(vcpu: FakeVcpu) -> None:
    vcpu.peer.grant(9, 1, 0, GrantFlag.accept_transfer)
    for mfn in (
        vcpu.p2m[5],
        vcpu.p2m[11],
        vcpu.peer.p2m[15],
        vcpu.own.table.frames[0],
        0,
        1 << 20,
        2**32 - 1,
    ):
        assert vcpu.op(GnttabOp.transfer, transfer_request(mfn, 2, 9)) == 0
        assert vcpu.answer(GNTTAB_TRANSFER).status == GrantStatus.bad_page
    assert vcpu.machine.audit() == []


def test_a_domain_may_transfer_to_itself(vcpu: FakeVcpu) -> None:
    vcpu.own.grant(9, 1, 5, GrantFlag.accept_transfer)
    vcpu.own.memory.max_pages = vcpu.own.memory.tot_pages
    assert vcpu.op(GnttabOp.transfer, transfer_request(vcpu.p2m[20], 1, 9)) == 0
    assert vcpu.answer(GNTTAB_TRANSFER).status == GrantStatus.okay
    assert vcpu.own.memory.tot_pages == 24
    assert vcpu.machine.audit() == []


def test_cache_flushes_are_checked(vcpu: FakeVcpu) -> None:
    own, free = vcpu.p2m[12] << 12, 0
    for address, offset, length, operation, result in (
        (own, 0, 4096, GrantCacheOp.CLEAN, 0),
        (own, 1, 4096, GrantCacheOp.CLEAN, -Errno.EINVAL),
        (own, 4096, 0, GrantCacheOp.CLEAN, -Errno.EINVAL),
        (own, 0, 64, GrantCacheOp.INVAL, -Errno.EOPNOTSUPP),
        (own, 0, 64, GrantCacheOp.SOURCE_GREF, -Errno.EINVAL),
        (vcpu.peers_p2m[0] << 12, 0, 64, GrantCacheOp.CLEAN, -Errno.EINVAL),
        (free, 0, 64, GrantCacheOp.CLEAN, -Errno.EPERM),
        (1 << 40, 0, 64, GrantCacheOp.CLEAN, -Errno.EINVAL),
        (1 << 40, 0, 0, GrantCacheOp.CLEAN, 0),
    ):
        struct = GNTTAB_CACHE_FLUSH.pack(GnttabCacheFlush(address, offset, length, operation))
        assert vcpu.op(GnttabOp.cache_flush, struct) == result


def test_what_is_looked_through_is_charged(vcpu: FakeVcpu) -> None:
    """A neighbour with many grants in use does not make a flush of their frames free."""
    peer = vcpu.peer
    for ref in range(2000):
        peer.table.state.active[ref] = ActiveGrant(1, peer.p2m[12], 2, ref)
    peer.table.state.active[2000] = ActiveGrant(1, peer.p2m[13], 2, 2000)
    struct = GNTTAB_CACHE_FLUSH.pack(GnttabCacheFlush(peer.p2m[13] << 12, 0, 64, GrantCacheOp.CLEAN))
    with pytest.raises(preemption.Preempted) as rest:
        vcpu.op(GnttabOp.cache_flush, *[struct] * 100)
    assert 0 < rest.value.done < 40
    vcpu.op(GnttabOp.set_version, (2).to_bytes(4, "little"))
    few = vcpu.budget.spent
    vcpu.op(GnttabOp.setup_table, setup(1, 12))
    assert vcpu.budget.spent >= 12
    vcpu.op(GnttabOp.set_version, (1).to_bytes(4, "little"))
    assert vcpu.budget.spent > few, "every frame of the table is erased"


def test_counts_and_commands(vcpu: FakeVcpu) -> None:
    assert vcpu.op(GnttabOp.setup_table, setup(1, 1), count=0) == 0
    assert vcpu.op(GnttabOp.setup_table, setup(1, 1), count=2) == -Errno.EINVAL
    assert vcpu.op(GnttabOp.query_size, count=0) == -Errno.EINVAL
    assert vcpu.op(GnttabOp.copy, count=0x8000_0000) == -Errno.EINVAL
    assert vcpu.op(GnttabOp.copy, count=0) == 0
    assert vcpu.op(GnttabOp.dump_table, bytes(4)) == -Errno.ENOSYS, "Xen never had it"
    assert vcpu.op(99) == -Errno.ENOSYS
    assert vcpu.op(0x1000 | GnttabOp.query_size, count=1) == -Errno.EINVAL
    for command in (GnttabOp.setup_table, GnttabOp.query_size, GnttabOp.set_version, GnttabOp.get_version):
        assert vcpu.op(command, count=1, at=UNMAPPED) == -Errno.EFAULT


@pytest.mark.parametrize(
    ("command", "layout"),
    [
        (GnttabOp.copy, GNTTAB_COPY),
        (GnttabOp.swap_grant_ref, GNTTAB_SWAP_GRANT_REF),
        (GnttabOp.map_grant_ref, GNTTAB_MAP_GRANT_REF),
        (GnttabOp.unmap_grant_ref, GNTTAB_UNMAP_GRANT_REF),
        (GnttabOp.unmap_and_replace, GNTTAB_UNMAP_AND_REPLACE),
        (GnttabOp.cache_flush, GNTTAB_CACHE_FLUSH),
    ],
)
def test_a_long_array_goes_on_after_the_last_request_done(
    vcpu: FakeVcpu, command: GnttabOp, layout: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preemption, "WORK_BUDGET", 16)
    with pytest.raises(preemption.Preempted) as rest:
        vcpu.op(command, bytes(5 * layout.size), count=5)
    done = rest.value.done
    assert 0 < done < 5
    assert rest.value.arguments == (command, 64 + done * layout.size, 5 - done)
    with pytest.raises(preemption.Preempted) as second:
        vcpu.op(command, count=5 - done, at=64 + done * layout.size)
    assert second.value.arguments[1] == 64 + (done + second.value.done) * layout.size
