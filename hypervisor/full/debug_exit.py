"""The port by which a kernel under test ends its machine, as QEMU's isa-debug-exit has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

PORTS: Final = range(0xF4, 0xF8)


class DebugExit:
    """`ended` is told what the kernel wrote."""

    def __init__(self, ended: Callable[[int], None]) -> None:
        self._ended = ended

    def read(self, port: int) -> int:
        return 0

    def write(self, port: int, value: int) -> None:
        if port == PORTS.start:
            self._ended(value)
