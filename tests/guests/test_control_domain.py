"""A control domain: what it may ask of domains and of the machine, and what even it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import (
    DomainConfig,
    Machine,
    ShutdownReason,
    StopReason,
    guest_kernels,
    load_image,
    machine_control,
)
from paravane.abi.domctl import DomctlCmd
from paravane.abi.domctl_domain import (
    XEN_DOMCTL_CREATEDOMAIN,
    DomainInfoFlag,
    XenArchDomainconfig,
    XenDomctlCreatedomain,
)
from paravane.abi.errno import Errno
from paravane.abi.event_channel import EvtchnOp, Virq
from paravane.abi.hypercall import Hypercall
from paravane.abi.memory import MemoryOp
from paravane.abi.sched import SchedOp
from paravane.abi.sysctl import SysctlCmd
from paravane.asm import build
from paravane.cpu.engine import library
from paravane.lives import QUICK_LIVES
from paravane.on_end import Action, OnEnd
from paravane.registry import HOST_DOMID
from paravane.trace import DomainEvent, DomainRecord, Kind
from paravane.trace.records import UpcallRecord, VirqRecord
from tests.support.answering import answering, hypercall
from tests.support.boot import HOST_TIMEOUT, UNHINDERED, kernel_image

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paravane import BootResult
    from paravane.testing.plugin import Boot
    from paravane.trace import Record

MEMORY = 4 << 20
NOWHERE = 0xFFFF_F000
PORTS = 1023
PLAIN = XenDomctlCreatedomain(0, bytes(16), 0, 0, 1, PORTS, -1, -1, 1, 0, 0, XenArchDomainconfig(0, 0))
"""A domain that can be made."""


class Requests:
    """The source of a kernel that makes requests one after the other and prints each answer."""

    def __init__(self) -> None:
        self._code = ""
        self._data = ""
        self._count = 0
        self.expected: list[int] = []

    def domctl(self, cmd: int, domain: int, *words: int | str, expect: int = 0, version: int = 0x15) -> None:
        """`words` begin the union, each 32 bits."""
        self._struct(f".long {cmd}, {version:#x}\n    .short {domain}\n    .skip 6", words, Hypercall.domctl)
        self.expected.append(expect)

    def sysctl(self, cmd: int, *words: int | str, expect: int = 0) -> None:
        self._struct(f".long {cmd}, 0x15", words, Hypercall.sysctl)
        self.expected.append(expect)

    def create(self, domain: int = 0, expect: int = 0, **changes: object) -> None:
        """createdomain with a plain configuration but for `changes`."""
        data = XEN_DOMCTL_CREATEDOMAIN.pack(PLAIN._replace(**changes))  # type: ignore[arg-type]
        words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
        self.domctl(DomctlCmd.createdomain, domain, *words, expect=expect)

    def call(self, number: int, *arguments: int | str, expect: int = 0) -> None:
        """Any other hypercall; a text is a symbol."""
        self._code += hypercall(number, *arguments)
        self.expected.append(expect)

    def show(self, at: int) -> None:
        """Print a word of the last request's union."""
        self._code += f"    movl request{self._count - 1} + {at}, %eax\n    call show\n"

    def show_word(self, place: str) -> None:
        """Print a word of the kernel's memory."""
        self._code += f"    movl {place}, %eax\n    call show\n"

    def copy_word(self, place: str, to: str) -> None:
        """Copy a word of the kernel's memory."""
        self._code += f"    movl {place}, %eax\n    movl %eax, {to}\n"

    def map_frame(self, mfn: str, page: str, *, domain: int, writable: bool = True) -> None:
        """Map a frame of another domain, whose number is in the word `mfn`, at a page of the kernel."""
        self._code += f"""
    movl {mfn}, %ecx
    movl %ecx, %edx
    shll $12, %ecx
    orl ${0x67 if writable else 0x65:#x}, %ecx
    shrl $20, %edx
    movl ${page}, %ebx
    movl $2, %esi                       # UVMF_INVLPG
    movl ${domain}, %edi
    movl ${int(Hypercall.update_va_mapping_otherdomain)}, %eax
    int $0x82
    call show
"""
        self.expected.append(0)

    def map_shared_info(self) -> None:
        """To be asked for first, by who wants to `take_pending`."""
        self._code += "    call map_shared_info\n"
        self._data += '    .include "paging.inc"\n    .include "shared.inc"\n    .data\n'

    def take_pending(self) -> None:
        """An event of the first port that the kernel has opened has come; take it."""
        self._code += """
    xorl %ecx, %ecx
    lock btrl $1, shared_info + SHARED_INFO_evtchn_pending
    setc %cl
    movl %ecx, %eax
    call show
"""
        self.expected.append(1)

    def data(self, text: str) -> None:
        """More data of the kernel."""
        self._data += f"    {text}\n"

    def kernel(self) -> str:
        return answering(self._code, self._data)

    def _struct(self, head: str, words: tuple[int | str, ...], number: Hypercall) -> None:
        label, size = f"request{self._count}", 144 if number is Hypercall.domctl else 136
        union = "\n".join(f"    .long {word}" for word in words)
        offset = 16 if number is Hypercall.domctl else 8
        self._data += (
            f"    .balign 8\n{label}:\n    {head}\n{union}\n    .skip {size - offset - 4 * len(words)}\n"
        )
        self._count += 1
        self._code += hypercall(number, label)


def answers(boot: Boot, requests: Requests) -> list[int]:
    result = booted(boot, requests)
    return [int(line) for line in result.console.splitlines()]


def booted(boot: Boot, requests: Requests, trace: Iterable[Kind] = UNHINDERED) -> BootResult:
    result = boot(requests.kernel(), memory=MEMORY, privileged=True, trace=trace)
    assert result.reason is ShutdownReason.poweroff, result
    assert result.ending is StopReason.DONE, result  # and the machine with it, whoever else is left
    assert not result.audit
    return result


def test_a_domain_is_made_as_configured_or_not_at_all(boot: Boot) -> None:
    requests = Requests()
    for changes in (
        {"flags": 1},
        {"flags": 1 << 8},
        {"flags": 1 << 5},
        {"max_vcpus": 0},
        {"max_vcpus": 33},
        {"grant_opts": 0x10},
        {"iommu_opts": 1},
        {"vmtrace_size": 4096},
        {"max_grant_frames": 0},
        {"max_grant_frames": 65},
        {"max_maptrack_frames": 1025},
        {"grant_opts": 0},
        {"grant_opts": 3},
        {"arch": XenArchDomainconfig(1, 0)},
        {"arch": XenArchDomainconfig(0, 2)},
    ):
        requests.create(expect=-Errno.EINVAL, **changes)
    requests.create(domain=7)
    requests.create(domain=7, expect=-Errno.EEXIST)
    requests.create()
    requests.domctl(DomctlCmd.getdomaininfo, 8)
    assert answers(boot, requests) == requests.expected


def test_what_is_asked_of_a_domain_is_checked_as_xen_checks_it(boot: Boot) -> None:
    requests = Requests()
    ask, cmd = requests.domctl, DomctlCmd
    requests.create()
    ask(cmd.max_vcpus, 1, 2, expect=-Errno.EINVAL)
    ask(cmd.getvcpuinfo, 1, 0, expect=-Errno.ESRCH)
    ask(cmd.getvcpuinfo, 1, 1, expect=-Errno.EINVAL)
    ask(cmd.setvcpucontext, 1, 0, 0, "context", expect=-Errno.EINVAL)
    ask(cmd.max_vcpus, 1, 1)
    ask(cmd.max_vcpus, 1, 1)
    ask(cmd.getvcpuinfo, 1, 0)
    ask(cmd.getvcpucontext, 1, 0, 0, "context", expect=-Errno.ENODATA)
    ask(cmd.getvcpucontext, 1, 1, 0, "context", expect=-Errno.EINVAL)
    ask(cmd.setvcpucontext, 1, 1, 0, "context", expect=-Errno.EINVAL)
    ask(cmd.setvcpucontext, 1, 0, 0, NOWHERE, expect=-Errno.EFAULT)
    ask(cmd.setvcpucontext, 1, 0, 0, "context", expect=-Errno.EINVAL)  # no root table
    ask(cmd.setvcpucontext, 1, 0)
    ask(cmd.set_address_size, 1, 64, expect=-Errno.EINVAL)
    ask(cmd.set_address_size, 1, 32)
    ask(cmd.hypercall_init, 1, 3, expect=-Errno.EINVAL)
    ask(cmd.getpageframeinfo3, 1, 1025, 0, "context", expect=-Errno.E2BIG)
    ask(cmd.getpageframeinfo3, 1, 1, 0, NOWHERE, expect=-Errno.EFAULT)
    ask(cmd.scheduler_op, 1, 6, 1, expect=-Errno.EINVAL)
    ask(cmd.scheduler_op, 1, 5, 2, expect=-Errno.EINVAL)
    ask(cmd.scheduler_op, 1, 5, 0, 512)
    ask(cmd.scheduler_op, 1, 5, 0, 3201 << 16 | 512, expect=-Errno.EINVAL)
    ask(cmd.gethvmcontext, 1, expect=-Errno.ENOSYS)
    ask(999, 1, expect=-Errno.ENOSYS)
    ask(cmd.unpausedomain, 1)
    ask(cmd.unpausedomain, 1, expect=-Errno.EINVAL)
    ask(cmd.pausedomain, 1)
    ask(cmd.destroydomain, 1)
    ask(cmd.pausedomain, 1, expect=-Errno.ESRCH)
    requests.data("context: .skip 8192")
    assert answers(boot, requests) == requests.expected


def test_no_domain_stops_itself(boot: Boot) -> None:
    requests = Requests()
    for cmd in (
        DomctlCmd.pausedomain,
        DomctlCmd.resumedomain,
        DomctlCmd.destroydomain,
        DomctlCmd.setvcpucontext,
    ):
        requests.domctl(cmd, 0, expect=-Errno.EINVAL)
    requests.domctl(DomctlCmd.max_vcpus, 0, 1, expect=-Errno.EINVAL)
    requests.domctl(DomctlCmd.getvcpucontext, 0, 0, 0, "main", expect=-Errno.EINVAL)
    requests.domctl(DomctlCmd.pausedomain, HOST_DOMID, expect=-Errno.EPERM)
    requests.domctl(DomctlCmd.pausedomain, 0, version=0x14, expect=-Errno.EACCES)
    assert answers(boot, requests) == requests.expected


def test_domains_and_machine_are_told_of(boot: Boot) -> None:
    requests = Requests()
    requests.create(domain=5)
    requests.sysctl(SysctlCmd.getdomaininfolist, 0, 8, "list", 0, 0)
    requests.show(8 + 16)
    requests.sysctl(SysctlCmd.getdomaininfolist, 1, 8, "list", 0, 0)
    requests.show(8 + 16)
    requests.sysctl(SysctlCmd.getdomaininfolist, 0, 8, NOWHERE, 0, 0, expect=-Errno.EFAULT)
    requests.sysctl(SysctlCmd.physinfo)
    requests.show(8 + 8)
    requests.sysctl(SysctlCmd.sched_id)
    requests.show(8)
    requests.sysctl(SysctlCmd.availheap, 0, 0, 1)
    requests.show(8 + 16)
    requests.sysctl(SysctlCmd.debug_keys, expect=-Errno.ENOSYS)
    requests.data("list: .skip 1024")
    assert answers(boot, requests) == [0, 0, 2, 0, 1, -Errno.EFAULT, 0, 1, 0, 5, 0, 0, -Errno.ENOSYS]


def test_the_hypervisor_console_is_read_and_its_input_too(boot: Boot) -> None:
    requests = Requests()
    requests.call(Hypercall.console_io, 1, 0x8000_0000, "text", expect=-Errno.E2BIG)
    requests.call(Hypercall.console_io, 1, 4, NOWHERE, expect=-Errno.EFAULT)
    requests.call(Hypercall.console_io, 1, 4, "text", expect=4)
    requests.call(Hypercall.console_io, 1, 4, "text", expect=2)
    requests.call(Hypercall.console_io, 1, 4, "text")
    requests.sysctl(SysctlCmd.readconsole, 0, 0, "text", 0, 16)
    requests.show(8 + 16)
    requests.data("text: .skip 16")
    result = boot(requests.kernel(), memory=MEMORY, privileged=True, stdin=b"typed\n")
    shown = [int(line) for line in result.console.splitlines()]
    assert shown == [*requests.expected, 0]


def test_memory_of_another_domain_is_bounded_by_what_it_may_have(boot: Boot) -> None:
    requests = Requests()
    requests.create()
    requests.call(Hypercall.memory_op, 6, "extents", expect=0)  # its limit is nothing yet
    requests.domctl(DomctlCmd.max_mem, 1, 12)
    requests.call(Hypercall.memory_op, 6, "extents", expect=3)
    requests.data("extents: .long list, 4, 0, 0\n    .short 1, 0\nlist: .long 0, 1, 2, 3")
    assert answers(boot, requests) == requests.expected


def test_another_domain_is_shut_down_for_it(boot: Boot) -> None:
    """Its reason is told as if it had given it itself."""
    requests = Requests()
    requests.create()
    for domain, expected in ((1, 0), (9, -Errno.ESRCH), (HOST_DOMID, -Errno.EPERM)):
        requests.data(f"shutdown{domain}: .long {domain}, {int(ShutdownReason.suspend)}")
        requests.call(Hypercall.sched_op, int(SchedOp.remote_shutdown), f"shutdown{domain}", expect=expected)
    requests.domctl(DomctlCmd.getdomaininfo, 1)
    requests.show(16 + 4)
    wanted = int(ShutdownReason.suspend) << 16 | DomainInfoFlag.shutdown | DomainInfoFlag.paused
    assert answers(boot, requests) == [*requests.expected, wanted]


def test_a_domain_that_was_shut_down_goes_on_when_it_is_resumed(boot: Boot) -> None:
    """As it was, and it may give another reason the next time. One that lives does not notice."""
    requests = Requests()
    requests.create()
    requests.domctl(DomctlCmd.resumedomain, 1)
    requests.data(f"suspend: .long 1, {int(ShutdownReason.suspend)}")
    requests.data(f"reboot: .long 1, {int(ShutdownReason.reboot)}")
    shut_down = int(SchedOp.remote_shutdown)
    flags = []
    for reason, name in ((ShutdownReason.suspend, "suspend"), (ShutdownReason.reboot, "reboot")):
        requests.call(Hypercall.sched_op, shut_down, name)
        requests.domctl(DomctlCmd.getdomaininfo, 1)
        requests.show(16 + 4)
        flags.append(int(reason) << 16 | DomainInfoFlag.shutdown | DomainInfoFlag.paused)
        requests.expected.append(flags[-1])
        requests.domctl(DomctlCmd.resumedomain, 1)
    requests.domctl(DomctlCmd.getdomaininfo, 1)
    requests.show(16 + 4)
    requests.expected.append(-1 << 16 | DomainInfoFlag.paused)  # no reason
    requests.domctl(DomctlCmd.resumedomain, 7, expect=-Errno.ESRCH)
    assert answers(boot, requests) == requests.expected


def test_a_machine_has_so_many_vcpus_where_guests_make_domains(
    boot: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is an engine of the host's, whose memory no guest pays for."""
    monkeypatch.setattr(machine_control, "MOST_VCPUS", 3)
    requests = Requests()
    for expected in (0, 0, -Errno.ENOMEM):
        requests.create()
        requests.domctl(DomctlCmd.max_vcpus, len(requests.expected) // 2 + 1, 1, expect=expected)
    assert answers(boot, requests) == requests.expected


def test_a_host_without_memory_for_a_vcpu_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is of the domain stays, and can be completed later."""
    requests = Requests()
    requests.create(max_vcpus=2)
    requests.domctl(DomctlCmd.max_vcpus, 1, 2, expect=-Errno.ENOMEM)
    requests.domctl(DomctlCmd.max_vcpus, 1, 2)
    requests.domctl(DomctlCmd.destroydomain, 1)

    def shrink(record: Record) -> None:
        built = isinstance(record, DomainRecord) and record.domid == 1 and record.event is DomainEvent.BUILT
        monkeypatch.setattr(library, "HOST_MEMORY", 1 << 60 if built else library.TRANSLATION_BUFFER)

    config = DomainConfig(memory=MEMORY, privileged=True)
    with Machine(Machine.size_for(MEMORY, privileged=True)) as machine:
        machine.trace.subscribe(shrink, (Kind.DOMAIN, Kind.REFUSAL))
        control = machine.create(load_image(kernel_image(requests.kernel())), config)
        machine.run(timeout=HOST_TIMEOUT)
        assert [int(line) for line in control.console_output().split()] == requests.expected
        assert not machine.audit()


def test_an_event_to_a_control_domain_has_a_flow(boot: Boot) -> None:
    """As it has to any guest: only what goes to the host arrives at once. The first tells of an end."""
    records = boot("domain0", deterministic=True).records
    raised = [record for record in records if isinstance(record, VirqRecord) and record.virq == Virq.DOM_EXC]
    told = {flow for record in records if isinstance(record, UpcallRecord) for flow in record.flows}
    assert raised[0].domid == 0
    assert raised[0].flow in told


def test_a_control_domain_hears_that_a_domain_has_crashed(boot: Boot) -> None:
    crash = build(guest_kernels.load("crash").sources)
    assert boot("domain0", ramdisk=crash).console.splitlines()[-2:] == [
        "domain 1 has shut down: crash",
        "to pause it now: ESRCH",
    ]


def test_a_domain_is_heard_of_again_when_its_last_frame_goes(boot: Boot) -> None:
    """A frame of it that the control domain has mapped keeps it: its number is free, and VIRQ_DOM_EXC comes,
    when that is let go."""
    requests = Requests()
    requests.map_shared_info()
    requests.create()
    requests.domctl(DomctlCmd.max_mem, 1, 64)
    requests.data("mfn: .long 0\nmemory: .long mfn, 1, 0, 0\n    .short 1, 0")
    requests.call(Hypercall.memory_op, MemoryOp.increase_reservation, "memory", expect=1)
    requests.data(f"virq: .long {int(Virq.DOM_EXC)}, 0, 0")
    requests.call(Hypercall.event_channel_op, EvtchnOp.bind_virq, "virq")
    requests.data(".balign 4096\npage: .skip 4096")
    requests.map_frame("mfn", "page", domain=1)
    requests.domctl(DomctlCmd.destroydomain, 1)
    requests.take_pending()
    requests.domctl(DomctlCmd.getdomaininfo, 1)
    requests.call(Hypercall.update_va_mapping, "page", 0, 0, 2)
    requests.take_pending()
    requests.domctl(DomctlCmd.pausedomain, 1, expect=-Errno.ESRCH)
    raised = [record for record in booted(boot, requests).records if isinstance(record, VirqRecord)]
    assert answers(boot, requests) == requests.expected
    assert [record.virq for record in raised] == [Virq.DOM_EXC] * 3


def test_only_the_first_domain_can_be_the_control_domain() -> None:
    image = load_image(kernel_image('    .include "runtime.inc"\n    XEN_NOTES\nmain:\n    ret\n'))
    control = DomainConfig(memory=MEMORY, privileged=True)
    with Machine(Machine.size_for(MEMORY, MEMORY, MEMORY)) as machine:
        machine.create(image, DomainConfig(memory=MEMORY))
        with pytest.raises(ValueError, match="has to be the first"):
            machine.create(image, control)
    with Machine(Machine.size_for(MEMORY, MEMORY, MEMORY)) as machine:
        assert machine.create(image, control).domid == 0
        with pytest.raises(ValueError, match="has to be the first"):
            machine.create(image, control)


def test_other_domains_have_their_consoles_beside_a_control_domain() -> None:
    """Their backends are not in domain 0 then, and they do not notice."""
    waiting = load_image(
        kernel_image('    .include "runtime.inc"\n    XEN_NOTES\nmain:\n1:  call yield\n    jmp 1b\n')
    )
    hello = load_image(build(guest_kernels.load("hello").sources))
    with Machine(Machine.size_for(MEMORY, 8 << 20)) as machine:
        machine.create(waiting, DomainConfig(memory=MEMORY, privileged=True))
        guest = machine.create(hello, DomainConfig(memory=8 << 20))
        guest.when_ended = lambda _: machine.interrupt()
        machine.run(timeout=HOST_TIMEOUT)
        assert (guest.domid, guest.reason) == (1, ShutdownReason.poweroff)
        assert guest.console_output().startswith(b"hello from ring 1\n")


def test_a_machine_goes_down_with_its_control_domain(boot: Boot) -> None:
    """A domain that it made and left behind does not keep the machine up."""
    requests = Requests()
    requests.create()
    requests.domctl(DomctlCmd.max_vcpus, 1, 1)
    requests.domctl(DomctlCmd.unpausedomain, 1)
    assert answers(boot, requests) == requests.expected


def test_a_control_domain_that_reboots_has_another_life_beside_its_guests() -> None:
    """What it left stays, and domain 0 is again the first to be asked."""
    source = f"""
    .include "runtime.inc"
    XEN_NOTES
main:
    movl $request, %ebx
    HYPERCALL domctl
    movl $SCHEDOP_shutdown, %ebx
    movl $reason, %ecx
    HYPERCALL sched_op
    .data
    .balign 8
reason: .long SHUTDOWN_reboot
request: .long {int(DomctlCmd.createdomain)}, 0x15, 0, 0
    .skip 28
    .long 1, {PORTS}, -1, -1, 1
    .skip 80
"""
    config = DomainConfig(memory=MEMORY, privileged=True, on_end=OnEnd(reboot=Action.RESTART))
    with Machine(Machine.size_for(MEMORY, privileged=True)) as machine:
        machine.create(load_image(kernel_image(source)), config)
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        # It restarts until it has done so too fast too often; each life has made a domain.
        assert len(machine.domains) == QUICK_LIVES
