"""The option `--gateway`: what it asks for is what tests, and the commands they start, find."""

from __future__ import annotations

import os

import pytest

from paravane.gateway import native
from tests.support import modes

pytestmark = pytest.mark.both_modes


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library is there, unless it is switched off."""
    monkeypatch.setattr(native, "find", lambda: None if os.environ.get(native.SWITCH) == "0" else object())


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("asked", "before", "mode", "after"),
    [
        (None, None, "c", None),
        (None, "0", "python", "0"),
        ("python", None, "python", "0"),
        ("python", "/some.so", "python", "0"),
        ("c", None, "c", None),
        ("c", "0", "c", None),
        (None, "/some.so", "c", "/some.so"),
        ("c", "/some.so", "c", "/some.so"),
    ],
)
def test_the_option_comes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, before: str | None, mode: str, after: str | None
) -> None:
    # Set first, so that it is put back whatever `settle` does.
    monkeypatch.setenv(native.SWITCH, before or "")
    if before is None:
        monkeypatch.delenv(native.SWITCH)
    assert modes.settle(asked) == mode
    assert os.environ.get(native.SWITCH) == after


@pytest.mark.parametrize("asked", [None, "python", "c"])
def test_without_a_library_only_python_is_left(monkeypatch: pytest.MonkeyPatch, asked: str | None) -> None:
    monkeypatch.setenv(native.SWITCH, "/some.so")
    monkeypatch.setattr(native, "find", lambda: None)
    monkeypatch.setattr(native, "report", lambda: "native gateway: no: it was not built")
    if asked in (None, "python"):
        assert modes.settle(asked) == "python"
    else:
        with pytest.raises(pytest.UsageError, match=f"--gateway {asked}: native gateway: no: it was not"):
            modes.settle(asked)


def test_one_library_is_named_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.SWITCH, "/some.so")
    assert str(modes.library()) == "/some.so"
    monkeypatch.setenv(native.SWITCH, "0")
    assert modes.library() is None
