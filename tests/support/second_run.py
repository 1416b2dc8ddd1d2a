"""A run in Python mode of those tests alone for which it makes a difference: a plugin of pytest.

The first run, with the native gateway, finds out which: a test reaches the gateway if somebody asks for it
while the test or its fixtures run, in its process or in one that it starts (`tests.support.native_use`). What
a test has reached with a fixture of wider scope, all after it that use the fixture have reached.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from paravane.gateway import native
from tests.support import forked
from tests.support.native_use import note
from tests.support.needs import PROGRAMS, needs

if TYPE_CHECKING:
    from collections.abc import Generator

BOTH_MODES: Final = "both_modes"
LIBRARY: Final = "native"
"""The fixture of those who compare the modes, or test the library: they have it serve when they want."""
_REACHED: Final = "native gateway"
"""Property of a test's reports: workers of xdist send those."""

_wanted: Final = pytest.StashKey[frozenset[str]]()
"""The tests of this run by `--only`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--gateway-reached",
        metavar="FILE",
        help="write which tests reached the native gateway and do not run in both modes by themselves",
    )
    parser.addoption("--only", metavar="FILE", help="run no test that this file does not list")


@pytest.hookimpl(trylast=True)  # the mode is settled
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{BOTH_MODES}: is the same in every run: it says itself what the native gateway serves"
    )
    if listed := config.option.only:
        try:
            config.stash[_wanted] = frozenset(Path(listed).read_text().splitlines())
        except OSError as error:
            raise pytest.UsageError(f"--only {listed}: {error.strerror}") from error
    if not (told := config.option.gateway_reached):
        return
    if native.find() is None:
        raise pytest.UsageError(f"--gateway-reached {told}: {native.report()}")
    worker = hasattr(config, "workerinput")
    if not worker:
        config.pluginmanager.register(_Collector(Path(told)))
    if worker or not config.getoption("numprocesses", None):
        config.pluginmanager.register(_Watcher())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file with no test of the run is not even read."""
    if _wanted not in config.stash or collection_path.suffix not in (".py", ".toml"):
        return None
    name = collection_path.relative_to(config.rootpath).as_posix()
    return not any(test.startswith(f"{name}::") for test in config.stash[_wanted]) or None


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    for item in items:
        if LIBRARY in getattr(item, "fixturenames", ()):
            item.add_marker(BOTH_MODES)
    wanted = config.stash.get(_wanted, None)
    if wanted is not None:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in wanted])
        items[:] = [item for item in items if item.nodeid in wanted]


class _Collector:
    """Writes what the workers tell. `file`: where."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._tests = set[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if any(name == _REACHED for name, _ in report.user_properties):
            self._tests.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._file.write_text("".join(f"{test}\n" for test in sorted(self._tests)))


class _Watcher:
    """Watches the tests of one process."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._mark = Path(self._folder.name) / "reached"
        self._wide = set[tuple[str, str]]()
        """Fixtures of wider scope than a test: name, and the beginning of the node ids that see it."""
        self._reached = set[tuple[str, str]]()
        note(self._mark, _foreign)
        forked.note_in = self._mark

    def pytest_unconfigure(self) -> None:
        self._folder.cleanup()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._mark.unlink(missing_ok=True)
        result = yield
        if self._mark.exists():
            self._reached |= _used(self._wide, item)
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> None:
        if not self._mark.exists() and not _used(self._reached, item):
            return
        told = (_REACHED, "reached")
        if told not in item.user_properties and not item.get_closest_marker(BOTH_MODES):
            item.user_properties.append(told)

    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
    ) -> None:
        # Pytest's own, the factories of folders and such, have no place in the tree.
        if request.scope != "function" and fixturedef.baseid:
            self._wide.add((fixturedef.argname, fixturedef.baseid))


def _used(fixtures: set[tuple[str, str]], item: pytest.Item) -> set[tuple[str, str]]:
    """Those of the fixtures that a test has."""
    names = getattr(item, "fixturenames", ())
    return {(name, base) for name, base in fixtures if name in names and item.nodeid.startswith(base)}


def _foreign(command: tuple[str, ...]) -> bool:
    """GNU's tools and such start nothing of Paravane; what the server of commands starts notes it itself."""
    piece = PROGRAMS.get(Path(command[0]).name)
    return command[: len(forked.SERVER)] == forked.SERVER or (
        piece is not None and needs().find(piece) == Path(command[0])
    )
