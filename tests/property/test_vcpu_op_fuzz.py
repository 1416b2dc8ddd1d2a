"""vcpu_op with random arguments: an errno or a success each time, and a machine whose books are right."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, StopReason, load_image
from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.abi.vcpu import VcpuOp
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.cpu import PageFault
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from paravane.vcpu import Vcpu

MEMORY = 4 << 20
CALLS = 1500
KERNEL = """
    .include "runtime.inc"
    XEN_NOTES
main:
    call yield
    jmp main
"""
COMMANDS = [op for op in VcpuOp if op is not VcpuOp.down] + [14, 99, 0xFFFF_FFFF]
"""Down ends the domain, and with it the test."""


@pytest.mark.parametrize("seed", range(2))
def test_random_vcpu_operations_end_in_errnos(seed: int) -> None:
    chance = random.Random(seed)
    image = load_image(write_elf(assemble_text(KERNEL, name="kernel.S")))
    with Machine(Machine.size_for(MEMORY)) as machine:
        domain = machine.create(image, DomainConfig(memory=MEMORY))
        assert machine.run(max_traps=20).reason is StopReason.TRAPS
        (vcpu,) = domain.vcpus
        for call in range(CALLS):
            pointer = _pointer(chance, image.virt_base)
            _store(vcpu, pointer, _struct(chance, machine))
            vcpuid = chance.choice([0, 0, 0, 1, 0xFFFF_FFFF])
            arguments = (chance.choice(COMMANDS), vcpuid, pointer, 0, 0, 0)
            result = vcpu.hypercall(Hypercall.vcpu_op, arguments)
            assert result is not None
            assert result in (0, 1) or Errno(-result)
            if call % 100 == 0:
                assert machine.run(max_traps=50, timeout=HOST_TIMEOUT).reason is StopReason.TRAPS
        assert machine.audit() == []
        assert machine.platform.timers.size < CALLS
        free_of_guests = machine.platform.memory.nr_free
        machine.destroy(domain)
        assert machine.platform.memory.nr_free >= free_of_guests + (MEMORY >> 12)
        assert machine.audit() == []


def _pointer(chance: random.Random, base: int) -> int:
    """Mostly into the guest's mapped memory, at times across its end, into the hypervisor's, or anywhere."""
    odd = [0, 0xF57F_FFF0, 0xF580_0000, 0xFFFF_FFFC, chance.getrandbits(32)]
    return chance.choice([base + 0x20_0000 + 4 * chance.randrange(1000)] * 5 + odd)


def _struct(chance: random.Random, machine: Machine) -> bytes:
    """A struct for one of the commands: frame and offset, a time near or far, an address, or noise."""
    now = machine.platform.clock.now()
    time = now + chance.randrange(-(10**9), 10**9)
    frame = chance.randrange(machine.platform.ram.nr_frames)
    return chance.choice([
        frame.to_bytes(8, "little") + chance.choice([0, 64, 3, 4032, 4033]).to_bytes(8, "little"),
        time.to_bytes(8, "little", signed=True) + bytes(8),
        chance.randbytes(16),
    ])  # fmt: skip


def _store(vcpu: Vcpu, pointer: int, data: bytes) -> None:
    try:
        vcpu.host.copy_to_guest(pointer, data)
    except PageFault:
        return
