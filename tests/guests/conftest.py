"""What tests of guests share."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from paravane import load_image
from paravane.abi.sched import ShutdownReason
from tests.support.boot import HOST_TIMEOUT, UNHINDERED, finished, kernel_image
from tests.support.debugged import KERNEL, Remote, served
from tests.support.debugged import Boot as DebuggedBoot
from tests.support.served import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from paravane import BootResult
    from paravane.testing.plugin import Boot, BootTogether
    from tests.support.boot import Run
    from tests.support.debugged import Served


@pytest.fixture
def boot(boot: Boot) -> Boot:
    """The plugin's `boot`, with a limit that no guest meets on a loaded host, and only records that let the
    native gateway serve the guest. The text of a kernel is assembled as by `kernel_image`."""
    plain = partial(boot, default_timeout=HOST_TIMEOUT, trace=UNHINDERED)

    def boot_image(kernel: Any, **options: Any) -> BootResult:
        __tracebackhide__ = True
        text = isinstance(kernel, str) and "\n" in kernel and not {"include", "defines"} & options.keys()
        return plain(load_image(kernel_image(kernel, "<source>")) if text else kernel, **options)

    return boot_image


@pytest.fixture
def boot_together(boot_together: BootTogether) -> BootTogether:
    """The plugin's, likewise."""
    return partial(boot_together, timeout=HOST_TIMEOUT, trace=UNHINDERED)


@pytest.fixture
def run(boot: Boot, request: pytest.FixtureRequest) -> Run:
    """Boot a body after the module's PRELUDE, in its MEMORY bytes; a test that fails shows its end."""
    head: str = request.module.PRELUDE
    memory: int = request.module.MEMORY

    def run_one(body: str, reason: ShutdownReason = ShutdownReason.poweroff) -> BootResult:
        __tracebackhide__ = True
        return finished(boot(f"{head}{body}\n", memory=memory), reason)

    return run_one


@pytest.fixture
def run_both(native: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Runs a kernel, by Python alone or with what is served in C."""
    return Runner(native, monkeypatch)


@pytest.fixture
def guest() -> Iterator[Served]:
    """`tests.support.debugged.KERNEL`, which waits for a debugger."""
    with served(KERNEL) as running:
        yield running


@pytest.fixture
def remote(guest: Served) -> Iterator[Remote]:
    """A debugger that has come to `guest`."""
    client = Remote(guest.port)
    yield client
    client.close()


@pytest.fixture
def debugged() -> Iterator[Callable[..., DebuggedBoot]]:
    """Starts guests that wait for a debugger; none survives the test."""
    started: list[DebuggedBoot] = []

    def start(*arguments: str, wait: bool = True, verb: str = "boot") -> DebuggedBoot:
        started.append(DebuggedBoot(*arguments, wait=wait, verb=verb))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def source(tmp_path: Path) -> Callable[[str], str]:
    """Writes a source of a kernel; its path."""

    def write(text: str) -> str:
        path = tmp_path / "kernel.S"
        path.write_text(text)
        return str(path)

    return write
