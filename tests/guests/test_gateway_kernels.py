"""Kernels of the catalogue, served by Python alone and with what is served in C: nothing differs."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import pytest

from paravane import DomainConfig, Machine, StopReason, asm, guest_kernels, load_image
from paravane.gateway.native import SWITCH
from paravane.trace.text import line
from tests.support.boot import HOST_TIMEOUT, UNHINDERED

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.trace import Record

SLICE = 1_000_000
"""Instructions: slices that do not depend on the host."""

KERNELS = """
    attack balloon batch debug discontiguous emulate failsafe fastcall fpu paging rings segments traps
    twolevel writable
"""
"""Those of one vcpu and without devices, which ask for most of what is served in C."""


class Ran(NamedTuple):
    """All that is left of a run, and its trace."""

    console: bytes
    trace: tuple[str, ...]
    memory: str
    traps: int
    now: int
    audit: tuple[str, ...]


def run(kernel: guest_kernels.GuestKernel, image: bytes) -> tuple[Ran, int]:
    """What came of it, and how many of its traps were served in C."""
    records: list[Record] = []
    with Machine(Machine.size_for(kernel.memory), slice_instructions=SLICE, seed=kernel.seed) as machine:
        machine.trace.subscribe(records.append, UNHINDERED)
        domain = machine.create(load_image(image), DomainConfig(memory=kernel.memory, cmdline=kernel.cmdline))
        domain.console.feed(kernel.input)
        gateway, platform = domain.vcpus[0].gateway, machine.platform
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        ran = Ran(
            domain.console_output(),
            tuple(map(line, records)),
            sha256(platform.ram.bytes).hexdigest(),
            platform.traps,
            platform.clock.now(),
            tuple(machine.audit()),
        )
        return ran, 0 if gateway is None else gateway.served


@pytest.mark.parametrize("name", KERNELS.split())
def test_a_kernel_leaves_the_same_in_both_modes(
    name: str, native: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = guest_kernels.load(name)
    image = asm.build(kernel.sources, defines=kernel.defines)
    monkeypatch.setenv(SWITCH, "0")
    in_python, _ = run(kernel, image)
    monkeypatch.setenv(SWITCH, str(native))
    in_c, served = run(kernel, image)
    assert in_c == in_python
    assert in_c.audit == ()
    assert in_c.console
    assert served or name not in ("fastcall", "traps"), "nothing was compared"
