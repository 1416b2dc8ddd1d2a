"""The kernels about memory in both shapes of page tables, and what their refusals teach."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from paravane import BootResult, DomainConfig, Machine, StopReason, guest_kernels, load_image
from paravane.asm import build
from paravane.gateway.native import SWITCH
from paravane.testing.expectation import Expected
from paravane.testing.matching import difference
from paravane.trace import RefusalRecord
from tests.support.boot import HOST_TIMEOUT, finished

if TYPE_CHECKING:
    from paravane.memory.l1_tables import L1Tables
    from paravane.testing.plugin import Boot

TWO_LEVEL = {"TWO_LEVEL": 1}
BOTH_FORMS = ("attack", "batch", "paging", "segments", "writable")
NEIGHBOUR_ERRNOS = ["EBUSY", "EPERM", *["EINVAL"] * 10]
MEMORY_KERNELS = (*BOTH_FORMS, "balloon", "twolevel")


def check(outcome: BootResult, expected: str) -> None:
    assert difference(Expected(expected), finished(outcome).console) == []


@pytest.mark.parametrize("name", MEMORY_KERNELS)
def test_console_does_not_depend_on_which_frames_the_domain_got(name: str, boot: Boot) -> None:
    expected = guest_kernels.load(name).expected
    for seed in (1, 2):
        check(boot(name, seed=seed), expected)


def test_every_errno_of_the_attacks_comes_with_a_sentence_about_what_was_checked(boot: Boot) -> None:
    outcome = boot("attack")
    told = [record for record in outcome.records if isinstance(record, RefusalRecord)]
    shown: list[str] = []
    for line in outcome.console.splitlines():
        shown += re.findall(r": refused (E[A-Z]+)$", line)
        if line.startswith("change a page's kind within one multicall"):
            shown += ["EBUSY", "EINVAL"]
    assert [record.errno.name for record in told] == shown
    for record in told:
        assert re.search(r"0x[0-9a-f]+|\b\d+\b|guest|domain", record.sentence), record.sentence


def _anybodys_frame(tables: L1Tables, entry: int, mfn: int, domain: object, pg_owner: int) -> None:
    """A hypervisor that does not ask whose frame an L1 entry maps."""


def _any_descriptor(raw: int, hole: int) -> int:
    """A hypervisor that takes every descriptor as it is."""
    return raw


def _no_flush(domain: object) -> None:
    """A hypervisor that forgets what processors remember."""


@pytest.mark.both_modes
@pytest.mark.parametrize(
    ("target", "broken", "attack"),
    [
        (
            "paravane.memory.l1_tables.L1Tables._check_owner",
            _anybodys_frame,
            "map a frame of the machine-to-phys table",
        ),
        (
            "paravane.memory.descriptor_tables.check_descriptor",
            _any_descriptor,
            "a task gate, by update_descriptor",
        ),
        (
            "paravane.memory.owner.Owner.flush_tlb",
            _no_flush,
            "store to a new table through a stale translation",
        ),
    ],
)
def test_attacks_notice_a_hypervisor_that_lacks_a_rule(
    monkeypatch: pytest.MonkeyPatch, target: str, broken: object, attack: str, boot: Boot
) -> None:
    # What is served in C has the rules still.
    monkeypatch.setenv(SWITCH, "0")
    monkeypatch.setattr(target, broken)
    outcome = boot("attack")
    assert f"{attack}: NOT REFUSED\n" in outcome.console
    assert "all attacks refused" not in outcome.console


@pytest.mark.parametrize("two_level", [False, True], ids=["pae", "two-level"])
def test_nothing_can_be_done_with_a_neighbours_frame(two_level: bool) -> None:
    attack, hello = guest_kernels.load("attack"), guest_kernels.load("hello")
    image = load_image(build(attack.sources, defines=TWO_LEVEL if two_level else {}))
    with Machine(Machine.size_for(hello.memory, attack.memory)) as machine:
        victim = machine.create(load_image(build(hello.sources)), DomainConfig(memory=hello.memory))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        root = victim.vcpus[0].paging.base_mfn
        ram = machine.platform.ram
        before = ram.read(root << 12, 4096)
        attacker = machine.create(image, DomainConfig(memory=attack.memory, cmdline=f"neighbour={root:#x}"))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        console = attacker.console_output().decode()
        assert ram.read(root << 12, 4096) == before
        assert machine.audit() == []
    lines = console.splitlines()
    about = lines[lines.index("map a neighbour's frame: refused EBUSY") :]
    assert len(about) == len(NEIGHBOUR_ERRNOS) + 5
    assert [line.rpartition(" ")[2] for line in about[: len(NEIGHBOUR_ERRNOS)]] == NEIGHBOUR_ERRNOS
    assert lines[-1] == "all attacks refused"
