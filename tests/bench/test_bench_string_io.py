"""What an element of `rep outsb` and `rep insb` costs a bare PC, beside the same bytes taken from memory and
given to the sink a page at a time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from paravane import BareMachine, StopReason
from paravane.x86 import PAGE_SIZE
from tests.support.bare_pc import MEMORY, kernel
from tests.support.boot import HOST_TIMEOUT

_AT = 0x200000

BODIES = {
    "to the serial port": ("mov $0x3f8, %edx\nrep outsb", 0x40000),
    "from nobody": ("mov $0x1f0, %edx\nrep insb", 0x40000),
    "from a device that is asked for each": ("mov $0x3ff, %edx\nrep insb", 0x2000),
}


@pytest.mark.parametrize(("code", "elements"), BODIES.values(), ids=BODIES)
def test_string_io(benchmark: Any, code: str, elements: int) -> None:
    image = kernel(f"mov ${_AT}, %esi\nmov %esi, %edi\nmov ${elements}, %ecx\n{code}\njmp exit")
    taken: list[bytes] = []
    times: list[float] = []
    floors: list[float] = []

    def run() -> None:
        with BareMachine(image, MEMORY, sink=taken.append) as machine:
            begin = time.perf_counter()
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
            times.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            for at in range(_AT, _AT + elements, PAGE_SIZE):
                taken.append(machine.platform.ram.bytes[at : at + PAGE_SIZE].tobytes())
            floors.append(time.perf_counter() - begin)

    benchmark.pedantic(run, rounds=3)
    benchmark.extra_info["ours_ns"] = round(min(times) / elements * 1e9, 1)
    benchmark.extra_info["floor_ns"] = round(min(floors) / elements * 1e9, 1)
