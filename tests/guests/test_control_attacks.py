"""What a control domain asks that it had better not: of dying domains, with wild numbers, out of order."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, ShutdownReason, load_image
from paravane.abi.domctl import DomctlCmd
from paravane.abi.errno import Errno
from paravane.abi.event_channel import EvtchnOp, Virq
from paravane.abi.grant_table import GnttabOp
from paravane.abi.hypercall import Hypercall
from paravane.abi.memory import MemoryOp
from paravane.abi.mmu import MmuextCmd
from paravane.abi.sysctl import SysctlCmd
from paravane.abi.vcpu import VcpuContextFlag
from paravane.debug.listener import LOOPBACK, Address, Listener
from paravane.debug.server import Server
from paravane.refusal import Refusal
from paravane.vcpu_context import vcpu_context
from tests.guests.test_control_domain import MEMORY, Requests, answers
from tests.support.boot import HOST_TIMEOUT, kernel_image

if TYPE_CHECKING:
    from paravane.testing.plugin import Boot

ANY_ADDRESS = 0xFFFF_FFFF
INVLPG = 2
"""UVMF_INVLPG."""


def test_a_dying_domain_gets_no_vcpus_and_no_memory(boot: Boot) -> None:
    """A frame of it stays mapped by the control domain, so it is still there, and on the way out."""
    requests = Requests()
    requests.create()
    requests.domctl(DomctlCmd.max_vcpus, 1, 1)
    requests.domctl(DomctlCmd.max_mem, 1, 64)
    requests.call(Hypercall.memory_op, MemoryOp.populate_physmap, "extents", expect=4)
    requests.map_frame("frames", "page", domain=1)
    requests.domctl(DomctlCmd.destroydomain, 1)
    requests.domctl(DomctlCmd.max_vcpus, 1, 1)
    requests.domctl(DomctlCmd.getvcpuinfo, 1, 0, expect=-Errno.ESRCH)
    requests.domctl(DomctlCmd.setvcpucontext, 1, 0, expect=-Errno.EINVAL)
    requests.domctl(DomctlCmd.unpausedomain, 1)
    requests.call(Hypercall.memory_op, MemoryOp.populate_physmap, "extents")
    requests.domctl(DomctlCmd.destroydomain, 1)
    requests.create(domain=1, expect=-Errno.EEXIST)
    requests.data("extents: .long frames, 4, 0, 0\n    .short 1, 0\nframes: .long 0, 1, 2, 3")
    requests.data(".balign 4096\npage: .skip 4096")
    assert answers(boot, requests) == requests.expected


def test_a_table_of_a_dying_domain_is_not_pinned_for_good(boot: Boot) -> None:
    """Its last frame goes with the mapping of it, and the domain with that."""
    requests = Requests()
    requests.create()
    requests.domctl(DomctlCmd.max_mem, 1, 64)
    requests.call(Hypercall.memory_op, MemoryOp.populate_physmap, "extents", expect=4)
    requests.map_frame("frames", "page", domain=1, writable=False)
    requests.domctl(DomctlCmd.destroydomain, 1)
    requests.copy_word("frames", "pin + 4")
    requests.call(Hypercall.mmuext_op, "pin", 1, 0, 1)
    requests.domctl(DomctlCmd.getdomaininfo, 1)
    requests.call(Hypercall.update_va_mapping, "page", 0, 0, INVLPG)
    requests.domctl(DomctlCmd.getdomaininfo, 1, expect=-Errno.ESRCH)
    requests.data("extents: .long frames, 4, 0, 0\n    .short 1, 0\nframes: .long 0, 1, 2, 3")
    requests.data(f"pin: .long {int(MmuextCmd.PIN_L1_TABLE)}, 0, 0")
    requests.data(".balign 4096\npage: .skip 4096")
    assert answers(boot, requests) == requests.expected


def test_a_list_of_domains_has_an_end(boot: Boot) -> None:
    requests = Requests()
    requests.create()
    requests.domctl(DomctlCmd.getdomaininfo, 1)
    requests.domctl(DomctlCmd.getdomaininfo, 2, expect=-Errno.ESRCH)
    assert answers(boot, requests) == requests.expected


def test_free_memory_above_all_addresses_is_none(boot: Boot) -> None:
    requests = Requests()
    requests.sysctl(SysctlCmd.availheap, ANY_ADDRESS, 0, -1)
    requests.show(8 + 16)
    assert answers(boot, requests) == [0, 0]


def test_a_domain_has_as_few_ports_and_grant_frames_as_were_asked_for(boot: Boot) -> None:
    requests = Requests()
    for version in (0, 3):
        requests.create(grant_opts=version, expect=-Errno.EINVAL)
    requests.create(max_evtchn_port=0, max_grant_frames=3)
    requests.call(Hypercall.event_channel_op, EvtchnOp.alloc_unbound, "unbound", expect=-Errno.ENOSPC)
    requests.call(Hypercall.grant_table_op, GnttabOp.query_size, "size", 1)
    requests.show_word("size + 8")
    requests.expected.append(3)
    requests.call(Hypercall.grant_table_op, GnttabOp.setup_table, "setup", 1)
    requests.show_word("setup + 8")  # GNTST_okay: the control domain reserves entries for its backends
    requests.expected.append(0)
    requests.data("unbound: .short 1, 0\n    .long 0\nsize: .short 1, 0\n    .long 0, 0, 0")
    requests.data("setup: .short 1, 0\n    .long 1, -1, frames\nframes: .long 0")
    assert answers(boot, requests) == requests.expected


def test_ports_of_a_paused_domain_are_reset_for_it(boot: Boot) -> None:
    requests = Requests()
    reset = (Hypercall.event_channel_op, EvtchnOp.reset, "name")
    requests.create()
    requests.call(Hypercall.event_channel_op, EvtchnOp.alloc_unbound, "unbound")
    requests.domctl(DomctlCmd.unpausedomain, 1)
    requests.call(*reset, expect=-Errno.EINVAL)
    requests.domctl(DomctlCmd.pausedomain, 1)
    requests.call(*reset)
    requests.call(Hypercall.event_channel_op, EvtchnOp.alloc_unbound, "unbound")
    requests.show_word("unbound + 4")
    requests.expected.append(1)
    requests.data("unbound: .short 1, 0\n    .long 0\nname: .short 1, 0")
    assert answers(boot, requests) == requests.expected


def test_the_control_domain_hears_when_a_domain_is_gone() -> None:
    """Besides when it ends: daemons tell by the second one that they can forget it."""
    image = load_image(kernel_image('    .include "runtime.inc"\n    XEN_NOTES\nmain:\n    ret\n'))
    with Machine(Machine.size_for(MEMORY, MEMORY, privileged=True)) as machine:
        control = machine.create(image, DomainConfig(memory=MEMORY, privileged=True))
        guest = machine.create(image, DomainConfig(memory=MEMORY))
        port = control.events.bind_virq(Virq.DOM_EXC, 0)
        assert port not in control.events.unmasked()
        machine.destroy(guest)
        assert port in control.events.unmasked()
        machine.destroy(control)


def test_a_vcpu_goes_on_with_the_context_that_was_read_of_it() -> None:
    """It is up or down then as the flags have it, and nothing that no context may have is taken."""
    source = r"""
    .include "runtime.inc"
    XEN_NOTES
main:
    movl $2000, %esi
1:  call yield
    decl %esi
    jnz 1b
    PRINT "counted\n"
    ret
"""
    with Machine(Machine.size_for(MEMORY)) as machine:
        guest = machine.create(load_image(kernel_image(source)), DomainConfig(memory=MEMORY))
        machine.run(timeout=HOST_TIMEOUT, max_traps=100)
        vcpu = guest.vcpus[0]
        context = vcpu_context(vcpu)
        for bad in (context._replace(vm_assist=1 << 6), context._replace(ldt_base=1)):
            with pytest.raises(Refusal) as caught:
                vcpu.set_context(bad)
            assert caught.value.errno is Errno.EINVAL
        vcpu.set_context(context._replace(flags=context.flags & ~VcpuContextFlag.online))
        assert vcpu.run_state.down
        assert not vcpu.run_state.runnable
        vcpu.set_context(context)
        assert vcpu.run_state.runnable
        vcpu.reset()
        vcpu.set_context(context._replace(vm_assist=1 << 2))
        assert vcpu.run_state.runnable
        assert guest.memory.writable_page_tables
        machine.run(timeout=HOST_TIMEOUT)
        assert guest.reason is ShutdownReason.poweroff
        assert guest.console_output() == b"counted\n"
        assert not machine.audit()


def test_domains_that_are_not_in_the_store_are_administered_without_it() -> None:
    """What was written for them there nobody would delete: the next domain of the number would find it."""
    requests = Requests()
    requests.create()
    source = requests.kernel().replace("    ret\nshow:", "1:  call yield\n    jmp 1b\nshow:")
    with Machine(Machine.size_for(MEMORY, privileged=True)) as machine:
        machine.create(load_image(kernel_image(source)), DomainConfig(memory=MEMORY, privileged=True))
        machine.run(timeout=HOST_TIMEOUT, max_traps=100)
        for domain in (machine.domains[0], machine.domains[1]):
            machine.rename(domain, f"mine{domain.domid}")
            assert machine.find(f"mine{domain.domid}") is domain
            machine.set_max_memory(domain, 8 << 20)
            for ask in (machine.shutdown, machine.reboot):
                with pytest.raises(ValueError, match="is not in the machine's xenstore"):
                    ask(domain)
            with pytest.raises(ValueError, match="is not in the machine's xenstore"):
                machine.set_memory(domain, 4 << 20)
        for path in ("/local/domain/1", "/local/domain/0/name", "/local/domain/0/control/shutdown", "/vm"):
            assert machine.store.find(path) is None
        assert machine.domains[1].where().startswith("domain 1 (mine1) at ")


def test_an_event_for_a_domain_without_vcpus_waits_there(boot: Boot) -> None:
    requests = Requests()
    requests.create()
    requests.call(Hypercall.event_channel_op, EvtchnOp.alloc_unbound, "unbound")
    requests.call(Hypercall.event_channel_op, EvtchnOp.bind_interdomain, "bind")
    requests.call(Hypercall.event_channel_op, EvtchnOp.send, "send")
    requests.domctl(DomctlCmd.destroydomain, 1)
    requests.data("unbound: .short 1, 0\n    .long 0\nbind: .short 1, 0\n    .long 1, 0\nsend: .long 1")
    assert answers(boot, requests) == requests.expected


def test_a_debugger_of_a_domain_without_vcpus_is_sent_away() -> None:
    requests = Requests()
    requests.create()
    source = requests.kernel().replace("    ret\nshow:", "1:  call yield\n    jmp 1b\nshow:", 1)
    with ExitStack() as stack:
        machine = stack.enter_context(Machine(Machine.size_for(MEMORY, privileged=True)))
        machine.create(load_image(kernel_image(source)), DomainConfig(memory=MEMORY, privileged=True))
        machine.run(max_traps=100)
        listener = stack.enter_context(closing(Listener(Address(LOOPBACK, 0))))
        stack.enter_context(closing(Server(machine, machine.domains[1], listener)))
        client = stack.enter_context(socket.create_connection(listener.address))
        machine.run(max_traps=100)
        client.settimeout(HOST_TIMEOUT)
        assert client.recv(1) == b""
