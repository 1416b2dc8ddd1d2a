"""Which of a domain's vcpus xenstore has online, and who is to say so."""

from __future__ import annotations

import pytest

from paravane import DomainConfig, Machine, load_image
from tests.support.boot import kernel_image

MEMORY = 4 << 20
KERNEL = '.include "runtime.inc"\nXEN_NOTES\n.text\nmain: ret\n'


def online(machine: Machine, vcpus: int) -> list[bytes]:
    return [machine.store.read(f"/local/domain/1/cpu/{at}/availability") for at in range(vcpus)]


def test_an_administrator_has_vcpus_taken_up_and_down() -> None:
    with Machine(Machine.size_for(MEMORY)) as machine:
        domain = machine.create(
            load_image(kernel_image(KERNEL)), DomainConfig(memory=MEMORY, vcpus=4, online_vcpus=2)
        )
        assert online(machine, 4) == [b"online", b"online", b"offline", b"offline"]
        machine.set_vcpus(domain, 3)
        assert online(machine, 4) == [b"online", b"online", b"online", b"offline"]
        machine.set_vcpus(domain, 1)
        assert online(machine, 4) == [b"online", b"offline", b"offline", b"offline"]
        for wrong in (0, 5):
            with pytest.raises(ValueError, match=f"guest has 4 vcpus: {wrong} cannot be online"):
                machine.set_vcpus(domain, wrong)
