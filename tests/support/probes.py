"""Instructions on a bare PC, one probe after the other in one boot: as QEMU does them, and as the monitor
does.

The kernel around them is probes.S, whose tables say which selectors and pages there are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from paravane import StopReason
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.asm.program import Program
from paravane.full.machine import BareMachine
from paravane.full.shadow import Policy
from tests.support.boot import HOST_TIMEOUT
from tests.support.qemu import POWERED_OFF, on_qemu

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    *("ds_es", "fs_gs", "cr0", "cr2", "cr4", "dr6", "page", "tables", "gdt"),
)
_RECORD = Struct(f"<{len(_FIELDS)}I64s32s64s")
_EVENT = Struct("<4I")
_ROW = Struct("<6I")
MOST_STREAMS, STREAM_BYTES = 1000, 0x40000
"""What one kernel has room for: streams, and bytes of their code."""
PAGED: Final = 0x80010011
"""CR0 with paging and write protection in ring 0."""


@dataclass(frozen=True, slots=True)
class Probe:
    """`code` is assembled, and run in `ring` 0 or 3 with `eflags` and `cr0`. It goes on after the vectors in
    `resumed`, which are below 64, and ends with any other. `data` lies elsewhere."""

    code: str
    ring: int = 0
    eflags: int = 2
    resumed: tuple[int, ...] = ()
    data: str = ""
    cr0: int = PAGED

    def __str__(self) -> str:
        return f"ring {self.ring}, eflags {self.eflags:#x}: {'; '.join(self.code.strip().splitlines())}"


class Stream(NamedTuple):
    """As a `Probe`, in machine code that is to lie at `address`, and ends by itself."""

    code: bytes
    address: int
    ring: int = 0
    eflags: int = 2
    resumed: tuple[int, ...] = ()
    cr0: int = PAGED


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


def symbols(program: Program) -> dict[str, int]:
    """Where they are."""
    return {symbol.name: symbol.value for symbol in program.symbols}


def with_bytes(program: Program, pieces: Mapping[str, bytes]) -> Program:
    """The same program with other initialised bytes, from each symbol on."""
    at, sections = symbols(program), list(program.sections)
    for name, data in pieces.items():
        for index, section in enumerate(sections):
            start = at[name] - section.address
            if 0 <= start < len(section.data):
                end = start + len(data)
                assert end <= len(section.data), f"no room for {name}"
                content = section.data[:start] + data + section.data[end:]
                sections[index] = replace(section, data=content)
    return replace(program, sections=tuple(sections))


def kernel(probes: Sequence[Probe]) -> Program:
    """What runs them."""
    table, code, data = ["    .data\n    .balign 4\nprobes:"], ["    .text"], list[str]()
    for number, probe in enumerate(probes):
        words = ", ".join(str(word) for word in _row(probe))
        table.append(f"    .long probe_{number}, {words}")
        code.append(f"probe_{number}:\n{_own(probe.code, number)}\n    int ${DONE}")
        if probe.data:
            data.append(_own(probe.data, number))
    table.append("    .long 0")
    return _assembled("\n".join([*code, *table, *data]))


def stream_kernel(streams: Sequence[Stream]) -> Program:
    """What runs them."""
    program = _stream_frame()
    start = symbols(program)["codes"]
    code, table = bytearray(), bytearray()
    for stream in streams:
        code += bytes(stream.address - start - len(code)) + stream.code
        table += _ROW.pack(stream.address, *_row(stream))
    assert len(streams) <= MOST_STREAMS
    return with_bytes(program, {"codes": bytes(code), "probes": bytes(table)})


@cache
def _stream_frame() -> Program:
    text = f"    .data\n    .balign 4\nprobes:\n    .skip {_ROW.size * (MOST_STREAMS + 1)}\n"
    return _assembled(f"{text}    .balign 4096\ncodes:\n    .skip {STREAM_BYTES}\n")


def stream_labels() -> dict[str, int]:
    """Where the symbols of a kernel with streams are; their code begins at `codes`."""
    return symbols(_stream_frame())


def _row(probe: Probe | Stream) -> tuple[int, ...]:
    mask = sum(1 << vector for vector in probe.resumed)
    return _SELECTORS[probe.ring], probe.eflags, mask & 0xFFFFFFFF, mask >> 32, probe.cr0


def _assembled(text: str) -> Program:
    frame = Path(__file__).with_name("probes.S").read_text()
    return assemble_text(f"{frame}\n{text}", name="probes.S", base=_BASE)


def _own(text: str, number: int) -> str:
    """`%%name` is a label of the probe's own."""
    return re.sub(r"%%(\w+)", rf"own_{number}_\1", text)


def in_qemu(probes: Sequence[Probe] | Program, folder: Path) -> list[Outcome]:
    """What each comes to in QEMU, whose files are in `folder`."""
    written, status = on_qemu(write_elf(_program(probes)), MEMORY, folder, "-cpu", PROCESSOR)
    assert status == POWERED_OFF
    return outcomes(written)


def in_monitor(
    probes: Sequence[Probe] | Program, sensitive: Sensitive, shadow: Policy = Policy.VTLB
) -> list[Outcome]:
    """What each comes to here."""
    written, failure = monitored(probes, sensitive, shadow)
    assert failure is None
    return outcomes(written)


def monitored(
    probes: Sequence[Probe] | Program, sensitive: Sensitive, shadow: Policy = Policy.VTLB
) -> tuple[bytes, str | None]:
    """What the kernel has to say here, and the sentence that says why it could not go on, if it could not."""
    program = with_bytes(_program(probes), {"quiet": b"\1"})
    at = symbols(program)
    with BareMachine(
        write_elf(program), MEMORY, sink=lambda _: None, sensitive=sensitive, shadow=shadow
    ) as machine:
        ending = machine.run(timeout=HOST_TIMEOUT)
        assert ending.reason is StopReason.DONE
        ram = machine.platform.ram
        end = int.from_bytes(ram.read(at["record"], 4), "little")
        assert machine.guest.failure is not None or machine.audit() == []
        return ram.read(at["records"], end - at["records"]), machine.guest.failure


def _program(probes: Sequence[Probe] | Program) -> Program:
    return probes if isinstance(probes, Program) else kernel(probes)


def outcomes(written: bytes) -> list[Outcome]:
    """What the kernel has to say."""
    found, at = [], 0
    while at < len(written):
        *words, scratch, window, stack = _RECORD.unpack_from(written, at)
        at += _RECORD.size
        registers = dict(zip(_FIELDS, words, strict=True))
        end = at + registers["events"] * _EVENT.size
        events = tuple(Event(*words) for words in _EVENT.iter_unpack(written[at:end]))
        found.append(Outcome(registers, scratch, window, stack, events))
        at = end
    return found
