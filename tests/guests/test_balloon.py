"""A balloon that follows memory/target: down, up, and as far as it can be followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane import Domain, DomainConfig, Machine, ShutdownReason, StopReason, asm, guest_kernels, load_image
from paravane.tools.status import Status
from tests.support.boot import HOST_TIMEOUT
from tests.support.machines import Machines

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def follower(machine: Machine, memory: int, max_memory: int) -> Domain:
    image = load_image(asm.build(guest_kernels.load("balloon").sources))
    config = DomainConfig(memory=memory, max_memory=max_memory, cmdline="follow")
    domain = machine.create(image, config)
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED
    return domain


def ask(machine: Machine, domain: Domain, memory: int) -> str:
    """Ask for so many bytes: the line that comes of it."""
    before = domain.console_output()
    machine.set_memory(domain, memory)
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED
    assert machine.audit() == []
    return domain.console_output()[len(before) :].decode()


def test_a_balloon_follows_its_target_and_gives_back_what_others_can_have() -> None:
    with Machine(Machine.size_for(8 * MIB, 8 * MIB)) as machine:
        domain = follower(machine, 8 * MIB, 14 * MIB)
        frames = machine.platform.memory
        free = frames.nr_free
        assert ask(machine, domain, 6 * MIB) == "target 6144 KiB: has 6144 KiB\n"
        assert frames.nr_free - free == 512
        assert ask(machine, domain, 13 * MIB) == "target 13312 KiB: has 13312 KiB\n"
        assert domain.memory.tot_pages == 13 * 256
        assert ask(machine, domain, 4096) == "target 4 KiB: has 4096 KiB\n", "what it has mapped it keeps"
        assert ask(machine, domain, 8 * MIB) == "target 8192 KiB: has 8192 KiB\n"
        assert frames.nr_free == free
        machine.shutdown(domain)
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert domain.reason is ShutdownReason.poweroff


def test_a_balloon_gets_no_more_than_the_machine_has() -> None:
    with Machine(Machine.size_for(8 * MIB)) as machine:
        domain = follower(machine, 8 * MIB, 60 * MIB)
        free = machine.platform.memory.nr_free
        had = domain.memory.tot_pages
        shown = ask(machine, domain, 60 * MIB)
        assert shown == f"target 61440 KiB: has {domain.memory.tot_pages << 2} KiB\n"
        assert had < domain.memory.tot_pages <= had + free
        assert ask(machine, domain, 8 * MIB) == "target 8192 KiB: has 8192 KiB\n"
        assert machine.platform.memory.nr_free == free


def test_an_administrator_resizes_a_domain_that_runs(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    with machines.running("balloon", lines=("balloon | target 8192 KiB: has 8192 KiB\n",)) as machine:
        for mib in (5, 16):
            assert machines.do("ctl", "mem-set", "balloon", str(mib)) == (Status.OK, "", "")
            machine.wait_for(f"balloon | target {mib << 10} KiB: has {mib << 10} KiB\n")
            assert machines.do("ctl", "list")[1].splitlines()[1].split()[:3] == ["balloon", "1", str(mib)]
        assert machines.do("ctl", "shutdown", "balloon") == (Status.OK, "", "")
        assert machine.end()[0] == Status.OK
