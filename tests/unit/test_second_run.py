"""Which tests are run a second time, in Python mode: those that reached the native gateway in any way."""

from __future__ import annotations

from pathlib import Path

import pytest

from paravane.gateway import native as gateway

pytestmark = pytest.mark.slow

ONES = """
    import os
    import subprocess
    import sys

    import pytest

    from paravane.gateway import native as gateway
    from tests.support import boot

    @pytest.fixture
    def asked():
        gateway.find()

    @pytest.fixture
    def native():
        '''As that of `tests/conftest.py`.'''

    @pytest.fixture(scope="module")
    def shared():
        gateway.find()

    @pytest.fixture(scope="module")
    def later():
        return lambda made=[]: made or made.append(gateway.find())

    def test_far_from_it(): pass
    def test_asks(): gateway.find()
    def test_has_it_asked(asked): pass
    def test_asks_and_fails(): assert not gateway.find()
    def test_far_again(tmp_path): pass

    def test_shares(shared): pass
    def test_shares_too(shared): pass

    def test_before_anything_is_made(later): pass
    def test_makes(later): later()
    def test_has_it_made(later): later()

    def test_says_its_version(): boot.paravane("--version")
    def test_boots(tmp_path):
        assert boot.paravane("boot", "hello").returncode == 0
    def test_starts_what_may_be_anything(): subprocess.run([sys.executable, "-c", ""])
    def test_forks():
        if os.fork() == 0:
            os._exit(0)
        os.wait()

    @pytest.mark.both_modes
    def test_asks_in_either_mode(): gateway.find()
    def test_takes_the_library(native): gateway.find()
"""
REACHED = """
    asks asks_and_fails boots forks has_it_asked has_it_made makes shares shares_too
    starts_what_may_be_anything
"""


@pytest.fixture
def place(pytester: pytest.Pytester, native: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of those tests, in a run with the library."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv(gateway.SWITCH, str(native))
    pytester.makepyfile(ONES)
    return pytester.path


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(
        *("-p", "no:cacheprovider", "-p", "tests.support.second_run", *options)
    )


def test_those_that_reached_the_gateway_run_again(pytester: pytest.Pytester, place: Path) -> None:
    first = run(pytester, "--gateway-reached", "reached", "-p", "xdist", "-n", "1")
    first.assert_outcomes(passed=15, failed=1)
    (file,) = place.glob("test_*.py")
    ids = [f"{file.name}::test_{name}" for name in REACHED.split()]
    assert (place / "reached").read_text().splitlines() == ids
    # Without workers, and in no other order.
    again = run(pytester, "--only", "reached", "--gateway-reached", "once-more")
    again.assert_outcomes(passed=len(ids) - 1, failed=1, deselected=16 - len(ids))
    assert (place / "once-more").read_text() == (place / "reached").read_text()


def test_a_file_with_nothing_to_run_is_not_read(pytester: pytest.Pytester, place: Path) -> None:
    pytester.makepyfile(test_other="raise RuntimeError")
    (file,) = set(place.glob("test_*.py")) - {place / "test_other.py"}
    (place / "reached").write_text(f"{file.name}::test_asks\n")
    run(pytester, "--only", "reached").assert_outcomes(passed=1)


def test_what_cannot_be_done_is_said(
    pytester: pytest.Pytester, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--only nothing: No such file or directory" in run(pytester, "--only", "nothing").stderr.str()
    monkeypatch.setenv(gateway.SWITCH, "0")
    said = run(pytester, "--gateway-reached", "reached").stderr.str()
    assert "--gateway-reached reached: native gateway: no: switched off by PARAVANE_NATIVE" in said
    assert not (place / "reached").exists()
