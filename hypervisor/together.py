"""Boot several kernels side by side in one machine, and see what came of each.

ping, pong = boot_together(
    Guest("pingpong", cmdline="ping peer=2"), Guest("pingpong", cmdline="pong peer=1"), timeout=10
)
print(ping.console, pong.hypercalls("event_channel_op"))
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from paravane.chosen import choose
from paravane.classes import dataclass
from paravane.domain_config import DomainConfig
from paravane.machine import DETERMINISTIC_SLICE, Machine
from paravane.on_end import OnEnd
from paravane.quick import Kept, feed, result_of
from paravane.trace import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from paravane.boot_result import BootResult
    from paravane.chosen import Chosen
    from paravane.devices.xenbus import DeviceConfig
    from paravane.trace import Record, Selection

_NO_DEFINES: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Guest:
    """A kernel, as `paravane.boot` takes it, and what its domain is to be. What is not given is as there.
    `on_end` is what becomes of it when it has ended; else it stays, with its memory, beside the others."""

    kernel: Any
    name: str | None = None
    cmdline: str | None = None
    memory: int | None = None
    vcpus: int | None = None
    privileged: bool | None = None
    ramdisk: bytes | None = None
    devices: Sequence[DeviceConfig] | None = None
    stdin: bytes | None = None
    on_end: OnEnd = OnEnd()

    def config(self, chosen: Chosen) -> DomainConfig:
        """Of the domain that runs `chosen`, which is its kernel."""
        known = chosen.defaults
        return DomainConfig(
            name=chosen.name if self.name is None else self.name,
            memory=known.memory if self.memory is None else self.memory,
            vcpus=known.vcpus if self.vcpus is None else self.vcpus,
            privileged=known.privileged if self.privileged is None else self.privileged,
            cmdline=known.cmdline if self.cmdline is None else self.cmdline,
            ramdisk=known.ramdisk if self.ramdisk is None else self.ramdisk,
            console=known.console,
            devices=known.devices if self.devices is None else tuple(self.devices),
            on_end=self.on_end,
        )


def boot_together(
    *kernels: Any,
    timeout: float | None = None,
    max_traps: int = 0,
    seed: int = 0,
    deterministic: bool = False,
    slice_instructions: int = 0,
    debug: bool = True,
    trace: Iterable[Kind] | Selection = tuple(Kind),
    include: Sequence[Path] = (),
    defines: Mapping[str, int] = _NO_DEFINES,
) -> tuple[BootResult, ...]:
    """Run all `kernels`, each a `Guest` or what a guest's kernel may be, as the domains 1, 2, ... of one
    machine, until all have ended, or for `timeout` host seconds or `max_traps` traps of all of them together.

    A result for each, in their order, with its own records. The other arguments, and what is raised, are as
    with `paravane.boot`; MemoryError for more domains than a machine has memory for.
    """
    guests = [one if isinstance(one, Guest) else Guest(one) for one in kernels]
    all_chosen = [choose(guest.kernel, include, defines) for guest in guests]
    configs = [guest.config(chosen) for guest, chosen in zip(guests, all_chosen, strict=True)]
    records: defaultdict[int, Kept] = defaultdict(Kept)

    def keep(record: Record) -> None:
        records[record.domid].take(record)

    with Machine(
        Machine.size_for(
            *(config.memory + config.overhead for config in configs),
            privileged=any(config.privileged for config in configs),
        ),
        seed=seed,
        slice_instructions=slice_instructions or (DETERMINISTIC_SLICE if deterministic else 0),
        debug=debug,
    ) as machine:
        machine.trace.subscribe(keep, trace)
        domains = []
        for guest, chosen, config in zip(guests, all_chosen, configs, strict=True):
            domains.append(machine.create(chosen.image, config))
            feed(domains[-1], chosen.defaults.stdin if guest.stdin is None else guest.stdin)
        ending = machine.run(timeout=timeout, max_traps=max_traps).reason
        return tuple(result_of(machine, domain, ending, records[domain.domid]) for domain in domains)
