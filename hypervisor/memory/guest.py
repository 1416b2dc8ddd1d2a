"""What the operations of this folder need from the vcpu that asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.cpu.faults import PageFault
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from struct import Struct

    from paravane.memory.domain_memory import DomainMemory
    from paravane.memory.owner import HasMemory, Installed, Owner
    from paravane.memory.vcpu_paging import VcpuPaging
    from paravane.preemption import PreemptionBudget


class Caller(Protocol):
    """A vcpu as this folder sees it: its paging, the work its present entry may do, and its memory by linear
    address (all copies raise PageFault).
    """

    @property
    def paging(self) -> VcpuPaging: ...
    @property
    def budget(self) -> PreemptionBudget: ...
    def copy_from_guest(self, va: int, size: int) -> bytes: ...
    def words_from_guest(self, layout: Struct, va: int, /) -> tuple[int, ...]: ...
    def copy_to_guest(self, va: int, data: bytes) -> None: ...


def page_owner(domain: DomainMemory, domid: int) -> int:
    """The domain number that a `foreigndom` argument means. Raises Refusal (-ESRCH)."""
    if domid == DomId.SELF:
        return domain.domid
    if domid in (DomId.IO, DomId.XEN):
        return domid
    if domid == domain.domid:
        raise Refusal(Errno.ESRCH, f"d{domid} names itself as the foreign domain; DOMID_SELF is the way to")
    return existing_domain(domain, domid).domid


def check_may_use(domain: DomainMemory, other: int) -> None:
    """Raises Refusal (-EPERM) unless `other` is the caller itself or the caller is privileged."""
    if other != domain.domid and not domain.privileged:
        raise Refusal(Errno.EPERM, f"d{domain.domid} may not touch memory of domain {other:#x}")


def named_domain(domain: DomainMemory, domid: int) -> Owner:
    """The domain a `domid` field means, DOMID_SELF or the caller's own number included. Raises Refusal
    (-ESRCH, or -EPERM for the control domain).
    """
    return _memory_of(domain.machine.domains.named(domain.domid, domid), domain)


def existing_domain(domain: DomainMemory, domid: int) -> Owner:
    """The domain with that number, DOMID_SELF excluded. Raises Refusal: -ESRCH, or -EPERM for the control
    domain."""
    return _memory_of(domain.machine.domains.by_id(domid), domain)


def _memory_of(found: HasMemory, caller: DomainMemory) -> Owner:
    if found.memory is None:
        raise Refusal(Errno.EPERM, f"d{caller.domid} may not touch memory of the control domain")
    return found.memory


def vcpus_in_mask(caller: Caller, pointer: int) -> Iterable[Installed]:
    """The vcpus whose bits are set in a bitmap in guest memory. Raises PageFault."""
    domain = caller.paging.domain
    chosen: list[Installed] = []
    for first in range(0, domain.max_vcpus, 32):
        word = int.from_bytes(caller.copy_from_guest(pointer + first // 8, 4), "little")
        chosen += [
            vcpu
            for vcpu in domain.vcpus
            if first <= vcpu.vcpu_id < first + 32 and word >> vcpu.vcpu_id % 32 & 1
        ]
    return chosen


class Progress:
    """The `pdone` argument of a batch: how many requests were carried out, written even when one is
    refused.
    """

    PREEMPTED = 0x8000_0000

    def __init__(self, caller: Caller, pointer: int, count: int) -> None:
        self._caller = caller
        self._pointer = pointer
        self.before = 0
        if count & self.PREEMPTED and pointer:
            try:
                self.before = int.from_bytes(caller.copy_from_guest(pointer, 4), "little")
            except PageFault:
                self.before = 0

    def report(self, done: int) -> None:
        """Tell the guest. A pointer it may not write to is its own loss, as in Xen."""
        if not self._pointer:
            return
        total = self.before + done & 0xFFFF_FFFF
        try:
            self._caller.copy_to_guest(self._pointer, total.to_bytes(4, "little"))
        except PageFault:
            return


def read_requests(caller: Caller, pointer: int, size: int, count: int) -> tuple[bytes, PageFault | None]:
    """As many of `count` requests of `size` bytes as can be read, and the fault that ended it, if one did."""
    try:
        return caller.copy_from_guest(pointer, size * count), None
    except PageFault as fault:
        whole = fault
    readable = b""
    for at in range(count):
        try:
            readable += caller.copy_from_guest(pointer + at * size, size)
        except PageFault as fault:
            return readable, fault
    return readable, whole
