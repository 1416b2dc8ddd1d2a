"""The pytest plugin: kernels booted by tests, and folders of kernels that are tests by themselves.

It is loaded in every run of pytest where Paravane is installed, so it imports nothing heavy before a test
asks for a kernel.
"""

from __future__ import annotations

import sys
from collections import deque
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from _pytest.terminal import TerminalReporter

    from paravane import BootResult, Machine, Record

SETTINGS: Final = "kernel.toml"
MACHINE: Final = "paravane_machine"
UPDATED: Final = "paravane-updated"
"""Property of a test whose expectation was written anew: the file."""

_LAST_BOOTS: Final = 3
"""Boots of a failing test that are shown: the last ones."""


class Boot(Protocol):
    """What the fixture `boot` is: `paravane.boot`, with a time limit if the kernel has none."""

    def __call__(self, kernel: Any, **options: Any) -> BootResult: ...


class BootTogether(Protocol):
    """What the fixture `boot_together` is: `paravane.boot_together`, with a time limit."""

    def __call__(self, *kernels: Any, **options: Any) -> tuple[BootResult, ...]: ...


SECTIONS: Final = pytest.StashKey[tuple[tuple[str, str], ...]]()
"""What is to be seen of a folder's kernel that failed: titles and texts."""

_boots: Final = pytest.StashKey["deque[BootResult]"]()
_machine: Final = pytest.StashKey[tuple["Machine", "deque[Record]"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("paravane", "guest kernels")
    group.addoption(
        "--paravane-update",
        action="store_true",
        help="write expected.txt anew from what kernels print that otherwise run as they should",
    )
    parser.addini(
        "paravane_timeout", "host seconds after which a kernel of a test counts as hung", default="60"
    )


def pytest_configure(config: pytest.Config) -> None:
    text = config.getini("paravane_timeout")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise pytest.UsageError(f"paravane_timeout is {text!r}, which is no positive number of seconds")
    config.addinivalue_line("markers", f"{MACHINE}(**options): what the test's `machine` is made with")


@pytest.fixture
def boot(request: pytest.FixtureRequest) -> Iterator[Boot]:
    """Boot a kernel and say what came of it: `vm = boot("greet.S")`; see `paravane.boot`.

    A kernel in C is skipped where there is no compiler. What a test that fails has booted is shown: the crash
    dump, or where it hung, and the last of the trace.
    """
    quick, compiler = import_module("paravane.quick"), import_module("paravane.compiler")
    booted: deque[BootResult] = deque(maxlen=_LAST_BOOTS)
    request.node.stash[_boots] = booted
    limit = float(request.config.getini("paravane_timeout"))

    def boot_one(kernel: Any, **options: Any) -> BootResult:
        __tracebackhide__ = True
        try:
            result: BootResult = quick.boot(kernel, **{"default_timeout": limit} | options)
        except compiler.NoCompiler as error:
            pytest.skip(str(error))
        booted.append(result)
        return result

    yield boot_one
    # The test itself stays until the end of the run; what it has seen of its guests need not.
    del request.node.stash[_boots]


@pytest.fixture
def boot_together(request: pytest.FixtureRequest, boot: Boot) -> BootTogether:
    """Boot several kernels side by side: `left, right = boot_together("left.S", "right.S")`; see
    `paravane.boot_together`. Compilers, time limits and failing tests are as with `boot`."""
    together, compiler = import_module("paravane.together"), import_module("paravane.compiler")
    limit = float(request.config.getini("paravane_timeout"))

    def boot_all(*kernels: Any, **options: Any) -> tuple[BootResult, ...]:
        __tracebackhide__ = True
        try:
            results: tuple[BootResult, ...] = together.boot_together(*kernels, **{"timeout": limit} | options)
        except compiler.NoCompiler as error:
            pytest.skip(str(error))
        request.node.stash[_boots] = deque(results)
        return results

    return boot_all


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine of 128 MiB for domains of the test's own, closed at its end. The mark `paravane_machine` has
    other arguments of `paravane.Machine`: `@pytest.mark.paravane_machine(slice_instructions=1_000_000)`."""
    made: Machine
    mark = request.node.get_closest_marker(MACHINE)
    with import_module("paravane.machine").Machine(**mark.kwargs if mark else {}) as made:
        last: deque[Record] = deque(maxlen=import_module("paravane.testing.cases").LAST_LINES)
        made.trace.subscribe(last.append)
        request.node.stash[_machine] = made, last
        yield made
        del request.node.stash[_machine]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A `kernel.toml` beside something to build is a test; other people's files may have that name too."""
    folder = file_path.parent
    if file_path.name != SETTINGS:
        return None
    if not any(folder.glob("*.[Sc]")) and not (folder / "expected.txt").exists():
        return None
    home = import_module("paravane.testing.items")
    collector: pytest.Collector = home.KernelFolder.from_parent(parent, path=file_path)
    return collector


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.failed:
        report.sections += _sections(item)
    return report


def _sections(item: pytest.Item) -> list[tuple[str, str]]:
    """What is to be seen of the kernels of a test that failed, while its machines are still there."""
    stash = item.stash
    found = [*stash.get(SECTIONS, ())]
    for result in stash.get(_boots, ()):
        found += import_module("paravane.testing.cases").sections_of(result)
    if _machine in stash:
        found += import_module("paravane.testing.cases").sections_of_machine(*stash[_machine])
    return found


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """A console and what it should have been, line by line."""
    # Nobody has made a console unless its module is loaded; then it costs nothing to load the other.
    if op != "==" or "paravane.boot_result" not in sys.modules:
        return None
    result, matching = import_module("paravane.boot_result"), import_module("paravane.testing.matching")
    for console, wanted in ((left, right), (right, left)):
        if isinstance(console, result.Console) and isinstance(wanted, str | matching.Like):
            text = matching.Exactly(wanted) if isinstance(wanted, str) else wanted
            return ["the console is not as wanted (- wanted, + printed)", *matching.difference(text, console)]
    return None


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    files = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == UPDATED
    ]
    if files:
        terminalreporter.section("expectations written anew")
        for file in sorted(files):
            terminalreporter.write_line(str(file))
