"""Options of the test run, the quick subset, and one summary of what could not be had."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.needs import COMMAND, needs

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

UNIT = Path(__file__).parent / "unit"
NOT_QUICK = {
    "test_abi_headers.py",
    "test_asm_gnu_as.py",
    "test_asm_limits.py",
    "test_builder_domain.py",
    "test_cli.py",
    "test_disasm.py",
    "test_elf_writer.py",
    "test_guest_kernels.py",
    "test_image_dwarf_lines.py",
    "test_image_info.py",
    "test_packaging.py",
    "test_readme.py",
    "test_support_needs.py",
    "test_terminal.py",
}
"""Unit tests that start processes, or try bad input in bulk: not for between two edits."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-guests",
        action="store_true",
        help="end with status 1 if anything was skipped: for want of a guest, of a tool, or for any reason",
    )


def pytest_configure(config: pytest.Config) -> None:
    # A run in a shell's background ignores these two, and so would every command that a test starts.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    capture = config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        """On the terminal at once: a download takes a while. A worker of xdist has its parent's stderr."""
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", file=sys.stderr, flush=True)

    needs().say = say


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == UNIT and item.path.name not in NOT_QUICK:
            item.add_marker("quick")


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


def _reason(report: pytest.TestReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")
