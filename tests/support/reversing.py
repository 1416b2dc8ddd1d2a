"""Guests that can be gone back in, and a debugger's side of that."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from paravane import asm, guest_kernels
from tests.support.boot import kernel_image
from tests.support.debugged import Remote, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.debugged import Served

BEGIN = "T05replaylog:begin;"
"""What a stop at the beginning of the history begins with."""


def image_of(guest: str) -> bytes:
    """A source, or the name of one of ours."""
    return kernel_image(guest) if "\n" in guest else asm.build(guest_kernels.load(guest).sources)


@contextmanager
def reversible(
    guest: str, *, vcpus: int = 1, slice_instructions: int = 1000, beside: str = ""
) -> Iterator[tuple[Served, Remote]]:
    """A guest that can be gone back in, `beside` another one, and a debugger at its first instruction."""
    image = image_of(guest)
    with served(
        image, vcpus=vcpus, slice_instructions=slice_instructions, reversible=True, beside=beside
    ) as running:
        remote = Remote(running.port)
        try:
            yield running, remote
        finally:
            remote.close()


def visit(running: Served, remote: Remote, times: int) -> None:
    """Have `KERNEL` count that often."""
    for _ in range(times):
        remote.ask("vCont;s")
        remote.go_to(running.symbol("stepped"))
