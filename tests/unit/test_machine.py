"""A machine and its domains: sizes, refusals, endings, and what is left when a domain is gone."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path

import pytest

from paravane import (
    DomainConfig,
    Image,
    ImageError,
    Machine,
    ShutdownReason,
    StopReason,
)
from paravane import domain as domain_module
from paravane.cpu import EngineError
from tests.support.boot import HOST_TIMEOUT
from tests.support.residents import new_domain_memory
from tests.support.small_machines import MEMORY, image


def test_a_domain_runs_to_its_end(machine: Machine, hello: Image) -> None:
    domain = machine.create(hello, DomainConfig(memory=MEMORY))
    assert domain.alive
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    assert domain.reason is ShutdownReason.poweroff
    assert domain.console_output().startswith(b"hello from ring 1\n")


def test_domains_run_side_by_side(machine: Machine, hello: Image) -> None:
    domains = [machine.create(hello, DomainConfig(name=name, memory=MEMORY)) for name in ("one", "two")]
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    assert [domain.domid for domain in domains] == [1, 2]
    assert domains[0].console_output() == domains[1].console_output()
    assert machine.audit() == []


def test_the_memory_of_a_destroyed_domain_is_free_again(machine: Machine, hello: Image) -> None:
    free = machine.platform.memory.nr_free
    for _ in range(3):
        domain = machine.create(hello, DomainConfig(memory=MEMORY))
        machine.run(timeout=HOST_TIMEOUT)
        machine.destroy(domain)
    shared = len(machine.platform.memory.m2p_tables(domain.memory.space))
    assert machine.platform.memory.nr_free == free - shared
    assert machine.audit() == []


def test_a_domain_that_does_not_fit_leaves_nothing_behind(machine: Machine, hello: Image) -> None:
    machine.create(hello, DomainConfig(memory=MEMORY))
    free = machine.platform.memory.nr_free
    with pytest.raises(ImageError, match="memory"):
        machine.create(hello, DomainConfig(memory=64 << 10))
    with pytest.raises(MemoryError, match="a domain of .* does not fit into this machine: .* KiB are free"):
        machine.create(hello, DomainConfig(memory=1 << 30))
    assert machine.platform.memory.nr_free == free
    assert machine.audit() == []


def test_the_same_seed_gives_the_same_frames_and_another_seed_others(hello: Image) -> None:
    lists = []
    for seed in (1, 1, 2):
        with Machine(Machine.size_for(MEMORY), seed=seed) as machine:
            machine.create(hello, DomainConfig(memory=MEMORY))
            lists.append(bytes(machine.platform.memory.frames.owner))
    assert lists[0] == lists[1] != lists[2]


def test_a_line_the_guest_did_not_end_is_not_lost(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    source = """
    .include "runtime.inc"
    XEN_NOTES half
    .text
main:
    movl $CONSOLEIO_write, %ebx
    movl $4, %ecx
    movl $text, %edx
    HYPERCALL console_io
    ret
    .data
text: .ascii "half"
"""
    machine.create(image(source), DomainConfig(memory=MEMORY))
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    assert "(d1) half" in caplog.messages


def test_a_domain_keeps_the_end_of_what_it_printed(
    machine: Machine, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain_module, "TRANSCRIPT", 16)
    domain = machine.create(hello, DomainConfig(memory=MEMORY))
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    assert len(domain.console_output()) == 16
    assert domain.console_output().endswith(b"\n")


def test_a_processor_that_fails_ends_its_domain_and_no_other(
    machine: Machine, hello: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, healthy = (machine.create(hello, DomainConfig(memory=MEMORY)) for _ in range(2))

    def fail(*, instructions: int = 0) -> None:
        raise EngineError("the engine refused to run")

    monkeypatch.setattr(broken.vcpus[0].cpu, "run", fail)
    assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
    assert broken.reason is ShutdownReason.crash
    assert "its processor cannot go on: the engine refused to run" in broken.crash_report
    assert healthy.reason is ShutdownReason.poweroff


def test_a_machine_dropped_without_close_is_freed_with_a_warning(hello: Image) -> None:
    machine = Machine(Machine.size_for(MEMORY))
    machine.create(hello, DomainConfig(memory=MEMORY))
    machine.run(timeout=HOST_TIMEOUT)
    gone = weakref.ref(machine)
    del machine
    with pytest.warns(ResourceWarning, match="without being closed"):
        gc.collect()
    assert gone() is None


def _address_space() -> int:
    """Bytes of this process's address space (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")


def test_a_closed_machine_gives_its_memory_back_without_the_collector(hello: Image) -> None:
    lives, memory = 8, 64 << 20
    gc.collect()
    gc.disable()
    try:
        for life in range(lives):
            with Machine(Machine.size_for(memory)) as machine:
                domain = machine.create(hello, DomainConfig(memory=memory))
                machine.run(timeout=HOST_TIMEOUT)
            if life == 0:
                before = _address_space()
        assert _address_space() - before < memory
        assert domain.reason is ShutdownReason.poweroff, "what came of it can still be asked"
    finally:
        gc.enable()


def test_a_machine_with_a_few_frames_left_says_that_a_domain_does_not_fit(
    machine: Machine, hello: Image
) -> None:
    machine.destroy(machine.create(hello, DomainConfig(memory=MEMORY)))
    memory = machine.platform.memory
    hog = new_domain_memory(memory, 99, hello.geometry, max_pages=memory.nr_free)
    for left in range(20, -1, -1):
        hog.populate(memory.nr_free - left, hog.tot_pages)
        with pytest.raises(MemoryError, match="does not fit into this machine"):
            machine.create(hello, DomainConfig(memory=MEMORY))
        assert memory.nr_free == left
        assert [domain.domid for domain in machine.platform.domains] == [0, 99]
    hog.destroy()
    assert machine.audit() == []


def test_a_machine_outlives_the_numbers_that_domains_can_have(hello: Image) -> None:
    config = DomainConfig(memory=MEMORY)
    with Machine(Machine.size_for(*[MEMORY] * 3)) as machine:
        first, second = machine.create(hello, config), machine.create(hello, config)
        highest = new_domain_memory(machine.platform.memory, 0x7FEF, hello.geometry, max_pages=1)
        machine.destroy(second)
        assert [machine.create(hello, config).domid for _ in range(2)] == [2, 3], "and not 1, which is taken"
        assert machine.domains[1] is first
        highest.destroy()


def test_a_closed_machine_says_so(hello: Image) -> None:
    machine = Machine(MEMORY)
    machine.close()
    for use in (machine.run, machine.audit, lambda: machine.create(hello, DomainConfig())):
        with pytest.raises(ValueError, match="the machine is closed"):
            use()
