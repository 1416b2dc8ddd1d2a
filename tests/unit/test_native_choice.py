"""Which library serves traps, as PARAVANE_NATIVE says, and what is heard of one that does not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

import paravane
from paravane.gateway import native

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.fixture(autouse=True)
def _never_told() -> None:
    native._tell.cache_clear()


@pytest.mark.parametrize("told", ["0", "1", ""])
def test_a_choice_that_is_none_of_a_file_is_no_mistake(
    told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(native.SWITCH, told)
    assert paravane.boot("hello").console
    assert _warnings(caplog) == []


def test_a_path_without_a_library_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv(native.SWITCH, str(tmp_path / "none.so"))
    consoles = {paravane.boot("hello").console for _ in range(2)}
    assert len(consoles) == 1
    [warning] = _warnings(caplog)
    assert warning.startswith("Python serves all traps: PARAVANE_NATIVE is ")
    assert "none.so" in warning


def test_a_file_that_is_no_library_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.so"
    odd.write_text("no library")
    monkeypatch.setenv(native.SWITCH, str(odd))
    assert paravane.boot("hello").console
    [warning] = _warnings(caplog)
    assert warning.startswith("Python serves all traps: odd.so cannot be used: ")
