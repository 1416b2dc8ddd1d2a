"""Instructions on a bare PC, one probe after the other in one boot: as QEMU does them, and as the monitor
does.

The kernel around them is probes.S, whose tables say which selectors and pages there are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from paravane import StopReason
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.full.machine import BareMachine
from tests.support.boot import HOST_TIMEOUT
from tests.support.qemu import POWERED_OFF, on_qemu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.full.state import Sensitive

MEMORY = 16 << 20
PROCESSOR = "qemu32,-sep,-apic,-msr,-mca,-mce,-pat,-de,-sse3,-x2apic,-hypervisor,-vmx,level=1"
"""What `paravane.full.cpuid` names is what QEMU's has then."""

DONE = 0x60
"""The vector of a probe that came to its end."""

_BASE = 0x100000
_SELECTORS = {0: 0x08, 3: 0x1B}

_FIELDS = (
    *("events", "vector", "error", "eip", "eflags", "cs", "esp", "ss"),
    *("eax", "ecx", "edx", "ebx", "ebp", "esi", "edi"),
    *("ds_es", "fs_gs", "cr0", "cr2", "cr4", "dr6"),
)
_RECORD = Struct(f"<{len(_FIELDS)}I64s32s64s")
_EVENT = Struct("<4I")


@dataclass(frozen=True, slots=True)
class Probe:
    """`code` is assembled, and run in `ring` 0 or 3 with `eflags`. It goes on after the vectors in
    `resumed`, which are below 64, and ends with any other. `data` lies elsewhere."""

    code: str
    ring: int = 0
    eflags: int = 2
    resumed: tuple[int, ...] = ()
    data: str = ""

    def __str__(self) -> str:
        return f"ring {self.ring}, eflags {self.eflags:#x}: {'; '.join(self.code.strip().splitlines())}"


class Event(NamedTuple):
    """An exception or interrupt; `eip` counts from where the probe begins."""

    vector: int
    error: int
    eip: int
    eflags: int


class Outcome(NamedTuple):
    """What a probe came to: registers by name, `esp` as bytes above the probe's own stack, and what it went
    on after. `scratch`, `window` and `stack` are memory."""

    registers: dict[str, int]
    scratch: bytes
    window: bytes
    stack: bytes
    events: tuple[Event, ...]

    def differs(self, other: Outcome, *, undefined: int = 0) -> dict[str, tuple[object, object]]:
        """What is not the same, with both; flags in `undefined` may be anything."""
        found: dict[str, tuple[object, object]] = {}
        for name, value in self.registers.items():
            mask = ~undefined if name == "eflags" else -1
            if (value ^ other.registers[name]) & mask:
                found[name] = hex(value), hex(other.registers[name])
        for name in ("scratch", "window", "stack"):
            mine, yours = getattr(self, name), getattr(other, name)
            if mine != yours:
                found[name] = mine.hex(), yours.hex()
        if self.events != other.events:
            found["events"] = self.events, other.events
        return found


def kernel(probes: Sequence[Probe]) -> bytes:
    """An image that runs them."""
    table, code, data = ["    .data\n    .balign 4\nprobes:"], ["    .text"], list[str]()
    for number, probe in enumerate(probes):
        mask = sum(1 << vector for vector in probe.resumed)
        words = f"{_SELECTORS[probe.ring]}, {probe.eflags}, {mask & 0xFFFFFFFF}, {mask >> 32}"
        table.append(f"    .long probe_{number}, {words}")
        code.append(f"probe_{number}:\n{_own(probe.code, number)}\n    int ${DONE}")
        if probe.data:
            data.append(_own(probe.data, number))
    table.append("    .long 0")
    text = Path(__file__).with_name("probes.S").read_text()
    return write_elf(assemble_text("\n".join([text, *code, *table, *data]), name="probes.S", base=_BASE))


def _own(text: str, number: int) -> str:
    """`%%name` is a label of the probe's own."""
    return re.sub(r"%%(\w+)", rf"own_{number}_\1", text)


def in_qemu(probes: Sequence[Probe], folder: Path) -> list[Outcome]:
    """What each comes to in QEMU, whose files are in `folder`."""
    written, status = on_qemu(kernel(probes), MEMORY, folder, "-cpu", PROCESSOR)
    assert status == POWERED_OFF
    return outcomes(written, len(probes))


def in_monitor(probes: Sequence[Probe], sensitive: Sensitive) -> list[Outcome]:
    """What each comes to here."""
    written, failure = monitored(probes, sensitive)
    assert failure is None
    return outcomes(written, len(probes))


def monitored(probes: Sequence[Probe], sensitive: Sensitive) -> tuple[bytes, str | None]:
    """What the kernel writes here, and the sentence that says why it could not go on, if it could not."""
    written: list[bytes] = []
    with BareMachine(kernel(probes), MEMORY, sink=written.append, sensitive=sensitive) as machine:
        ending = machine.run(timeout=HOST_TIMEOUT)
        assert ending.reason is StopReason.DONE
        return b"".join(written), machine.guest.failure


def outcomes(written: bytes, count: int) -> list[Outcome]:
    """What the kernel says of `count` probes."""
    found, at = [], 0
    while at < len(written):
        *words, scratch, window, stack = _RECORD.unpack_from(written, at)
        at += _RECORD.size
        registers = dict(zip(_FIELDS, words, strict=True))
        end = at + registers["events"] * _EVENT.size
        events = tuple(Event(*words) for words in _EVENT.iter_unpack(written[at:end]))
        found.append(Outcome(registers, scratch, window, stack, events))
        at = end
    assert len(found) == count
    return found
