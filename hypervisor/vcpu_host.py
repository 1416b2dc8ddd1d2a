"""What the parts of one vcpu, its traps and its time, ask of the domain and the machine around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.arch import xen_cr3_to_pfn, xen_pfn_to_cr3
from paravane.abi.hypercall import VmassistType
from paravane.abi.shared_info import SHARED_INFO
from paravane.builder import hypercall_page
from paravane.guest_copy import GuestCopy
from paravane.time.records import TSC_KHZ
from paravane.time.vcpu_time import VcpuTime

if TYPE_CHECKING:
    from contextlib import ExitStack

    from paravane.abi.event_channel import Virq
    from paravane.cpu import CodeGroup, Cpu
    from paravane.events import EventChannels
    from paravane.image import Image
    from paravane.image.source_text import SourceText
    from paravane.log_limit import DomainLog
    from paravane.memory import DomainMemory, VcpuPaging
    from paravane.place import Places
    from paravane.platform import Platform
    from paravane.sched import Share
    from paravane.tlb.spec import TlbSpec
    from paravane.traps import Peripherals

_NMI_REASON = SHARED_INFO.offsets["arch.nmi_reason"]
_ARCHITECTURAL_IOPL: Final[int] = 1 << int(VmassistType.architectural_iopl)


class VcpuDomain(Protocol):
    """The domain of a vcpu, as the vcpu and its parts see it."""

    @property
    def domid(self) -> int: ...
    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        ...

    @property
    def memory(self) -> DomainMemory: ...
    @property
    def events(self) -> EventChannels: ...
    @property
    def image(self) -> Image: ...
    @property
    def peripherals(self) -> Peripherals:
        """I/O ports and physical interrupts, which its vcpus share."""
        ...

    @property
    def code_group(self) -> CodeGroup:
        """Tells each of its vcpus of code that another has stored into."""
        ...

    @property
    def share(self) -> Share:
        """What its vcpus may have of the processor, together."""
        ...

    @property
    def tlb(self) -> TlbSpec | None:
        """The TLB of each of its processors; None: the engine's own."""
        ...

    @property
    def places(self) -> Places: ...
    @property
    def sources(self) -> SourceText | None:
        """The text of the source files that its image names; None: nobody is to look for it."""
        ...

    @property
    def log(self) -> DomainLog: ...
    @property
    def shared_info(self) -> int:
        """Machine address of the shared_info page."""
        ...

    @property
    def resources(self) -> ExitStack:
        """Closed with the domain."""
        ...

    def has_other_runnable(self, vcpu_id: int) -> bool:
        """Whether another vcpu of it could use a processor now."""
        ...

    def dump(self, vcpu_id: int, fault: int | None = None) -> str:
        """Where its vcpus are, that one first, with the page walk of the linear address `fault`."""
        ...

    def crash(self, sentence: str, dump: str) -> None:
        """End the domain for something it did that has no other answer."""
        ...


class VcpuHost(GuestCopy):
    """One vcpu as its traps and its time see it (paravane.traps.TrapHost, paravane.time.vcpu_time.TimeHost).

    `info` says where its vcpu_info is, wherever the guest moves it.
    """

    tsc_khz = TSC_KHZ

    def __init__(
        self, platform: Platform, domain: VcpuDomain, vcpu_id: int, cpu: Cpu, paging: VcpuPaging
    ) -> None:
        super().__init__(cpu, domain.memory.space.hole)
        self.vcpu_id = vcpu_id
        self._platform = platform
        self._domain = domain
        self._paging = paging
        self._assists = domain.memory.assists
        self.name = f"d{domain.domid}v{vcpu_id}"
        self.info = domain.events.vcpu_info(vcpu_id)
        self.time = VcpuTime(self, platform.ram, platform.clock, platform.timers)

    # What time asks.

    def raise_virq(self, virq: Virq) -> None:
        """Fire a virtual interrupt of this vcpu, if the guest has bound it."""
        self._domain.events.raise_virq(virq, self.vcpu_id)

    @property
    def flags_run_states(self) -> bool:
        return self._domain.memory.runstate_update_flag

    # What traps ask.

    @property
    def architectural_iopl(self) -> bool:
        return self._assists[0] & _ARCHITECTURAL_IOPL != 0

    @property
    def max_mfn(self) -> int:
        return self._platform.ram.nr_frames - 1

    def tsc(self) -> int:
        return self.time.read(self._platform.traps)

    def nmi_reason(self) -> int:
        at = self._domain.shared_info + _NMI_REASON
        return int.from_bytes(self._platform.ram.bytes[at : at + 4], "little")

    def guest_cr3(self) -> int:
        return xen_pfn_to_cr3(self._paging.base_mfn)

    def load_guest_cr3(self, value: int) -> None:
        self._paging.load_base(xen_cr3_to_pfn(value))

    def map_ldt_page(self, offset: int) -> bool:
        return self._paging.map_ldt_page(offset)

    def fill_hypercall_page(self, mfn: int) -> None:
        self._domain.memory.write_frame(mfn, hypercall_page())

    def guest_note(self, sentence: str) -> None:
        self._domain.log.info("vcpu %d: %s", self.vcpu_id, sentence)
