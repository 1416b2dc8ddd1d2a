"""Options of the test run, the quick subset, and one summary of what could not be had."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from paravane.testing import plugin
from tests.support import forked, modes
from tests.support.boot import keep_images
from tests.support.native import UNDEFINED, build
from tests.support.needs import COMMAND, Needs, needs

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

TESTS = Path(__file__).parent
QUICK = "quick"
NOT_QUICK = {
    "test_abi_headers.py",
    "test_asm_directives_gnu_as.py",
    "test_asm_gnu_as.py",
    "test_asm_limits.py",
    "test_asm_macro_arguments.py",
    "test_builder_domain.py",
    "test_cli.py",
    "test_disasm.py",
    "test_docs_command.py",
    "test_elf_writer.py",
    "test_guest_kernels.py",
    "test_image_dwarf_lines.py",
    "test_image_info.py",
    "test_images.py",
    "test_packaging.py",
    "test_pytest_plugin.py",
    "test_readme.py",
    "test_report_browser.py",
    "test_support_needs.py",
    "test_terminal.py",
    "test_test_command.py",
    "test_trace_command.py",
    "test_trace_processor.py",
    "test_trace_xentrace.py",
}
"""Files of unit tests that start processes, compile much, or try bad input in bulk: not for in between.

A single such test in another file is marked `slow`.
"""


pytest_plugins = ["pytester", "tests.support.second_run"]

_mode = pytest.StashKey[str]()
"""What `tests.support.modes.settle` made of the option."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    # Where Paravane is installed pytest has loaded its plugin; a checkout may just lie on the path instead.
    if not pluginmanager.has_plugin("paravane"):
        pluginmanager.register(plugin, "paravane")
    parser.addoption(
        "--strict-guests",
        action="store_true",
        help="end with status 1 if anything was skipped: for want of a guest, of a tool, or for any reason",
    )
    parser.addoption(
        "--gateway",
        choices=modes.MODES,
        help="who serves the guests' traps: python alone, or c where it can (the default where it is built)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_mode] = modes.settle(config.option.gateway)
    # Ignored in a background or under nohup, and so by every command that a test starts.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)
    if cache := getattr(config, "cache", None):
        keep_images(cache.mkdir("kernels"))
    capture = config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        """On the terminal at once: a download takes a while. A worker of xdist has its parent's stderr."""
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", file=sys.stderr, flush=True)

    needs().say = say


def pytest_report_header(config: pytest.Config) -> str:
    return f"gateway: {config.stash[_mode]}"


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> tuple[str, str, str] | None:
    """What failed says in which mode, in the summary too: a run of all is two."""
    if not report.failed:
        return None
    category, letter = ("failed", "F") if report.when == "call" else ("error", "E")
    return category, letter, f"{category.upper()} (gateway: {config.stash[_mode]})"


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of `paravane.gateway`, as it stands here, and so that nothing undefined goes unnoticed."""
    if told := modes.library():
        return told
    target = tmp_path_factory.mktemp("gateway") / "native.so"
    build(target, "-shared", "-fPIC", *UNDEFINED)
    return target


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m quick` the other files are not even read: importing all of them would take half the time."""
    left_out = (
        config.option.markexpr == QUICK
        and collection_path.suffix in (".py", ".toml")
        and not _quick(collection_path)
    )
    return left_out or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _quick(item.path) and not item.get_closest_marker("slow"):
            item.add_marker(QUICK)


@pytest.fixture(autouse=True)
def _quick_tests_start_nothing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the quick subset may cost is kept by what its tests may do, for no test can assert a time."""

    def refuse(*_: object, **__: object) -> NoReturn:
        pytest.fail("a quick test starts no process and needs no guest: mark it `slow`")

    if request.node.get_closest_marker(QUICK):
        monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
        monkeypatch.setattr(forked, "server", refuse)
        monkeypatch.setattr(Needs, "have", refuse)


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if not reasons:
        return
    terminalreporter.section("skipped")
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count:4} {reason}")
    if any(reason.startswith("needs ") for reason in reasons):
        terminalreporter.write_line(
            f"On Debian or Ubuntu with a network this brings what is missing: {COMMAND}"
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In strict mode a run that left something out has not passed."""
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    strict = session.config.getoption("--strict-guests")
    if strict and reporter and reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _quick(path: Path) -> bool:
    return path.parent == TESTS / "unit" and path.name not in NOT_QUICK


def _reason(report: pytest.TestReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")
