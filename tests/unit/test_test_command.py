"""`paravane test`: kernels tested without a test suite."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from tests.support.boot import HOST_TIMEOUT, paravane
from tests.support.kernel_folders import HANGS, SAYS, says, write_folder

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """One that is right, one that prints something else, one that crashes, one that is skipped."""
    folder = tmp_path / "kernels"
    folder.mkdir()
    write_folder(folder / "good", SAYS, expected="hello\n")
    write_folder(folder / "other", SAYS, expected="hallo\n")
    write_folder(folder / "wild", says("movl %eax, 0x10"), expected="")
    write_folder(folder / "skips", says(r'PRINT "no FPU\nTest result: SKIP\n"'))
    return folder


def verdicts(output: bytes) -> dict[str, str]:
    found = re.findall(r"^([A-Z]+) +(\S+)\[pv32pae\] +[0-9.]+ s", output.decode(), re.MULTILINE)
    return {name: verdict for verdict, name in found}


EXPECTED = {"good": "SUCCESS", "other": "FAILURE", "skips": "SKIP", "wild": "FAILURE"}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_each_kernel_has_a_line_and_failures_show_themselves(kernels: Path, jobs: str) -> None:
    done = paravane("test", str(kernels), "-j", jobs)
    assert (done.returncode, done.stderr) == (1, b"")
    assert verdicts(done.stdout) == EXPECTED
    text = done.stdout.decode()
    for line in (
        "    its console is not as expected.txt has it:\n    - hallo\n    + hello\n",
        "    its exit status is 3, not 0: it ended with crash\n    --- crash dump: wild\n",
        "    page walk of 0x00000010:\n",
        "    --- last of the trace: wild\n",
        "    it says SKIP: no FPU\n",
    ):
        assert line in text
    assert re.search(r"^4 in [0-9.]+ s: 1 SUCCESS, 1 SKIP, 2 FAILURE\n\Z", text, re.MULTILINE)


def test_some_are_chosen_by_their_names(kernels: Path) -> None:
    done = paravane("test", str(kernels), "-k", "o?d")
    assert (done.returncode, verdicts(done.stdout)) == (0, {"good": "SUCCESS"})
    none = paravane("test", str(kernels), "-k", "bad")
    assert none.returncode == 2
    assert none.stderr == b"paravane: no kernel has 'bad' in its name; see `paravane test --help`\n"


def test_a_kernel_that_comes_along_is_tested_by_its_name() -> None:
    done = paravane("test", "hello")
    assert (done.returncode, verdicts(done.stdout)) == (0, {"hello": "SUCCESS"})


def test_a_place_without_kernels_is_told(tmp_path: Path) -> None:
    empty = paravane("test", str(tmp_path))
    assert empty.returncode == 2
    assert empty.stderr.decode().startswith(f"paravane: there is no kernel.toml in {tmp_path} or below; ")
    gone = paravane("test", str(tmp_path / "gone"))
    assert gone.returncode == 2
    assert gone.stderr.decode().startswith(f"paravane: there is no {tmp_path / 'gone'}; ")


def test_a_folder_with_a_mistake_does_not_keep_the_others_from_running(kernels: Path) -> None:
    (kernels / "other" / "kernel.toml").write_text("memory_mb = 8\n")
    done = paravane("test", str(kernels), "-k", "good")
    assert done.returncode == 1
    assert verdicts(done.stdout) == {"good": "SUCCESS"}
    assert "kernel.toml: there is no key `memory_mb`: did you mean `memory_mib`?" in done.stdout.decode()


def test_a_folder_that_cannot_be_read_does_not_keep_the_others_from_running(kernels: Path) -> None:
    settings = kernels / "other" / "kernel.toml"
    settings.unlink()
    settings.mkdir()
    done = paravane("test", str(kernels), "-k", "good")
    assert (done.returncode, done.stderr) == (1, b"")
    assert verdicts(done.stdout) == {"good": "SUCCESS"}
    assert f"    {settings}: Is a directory\n" in done.stdout.decode()


def test_expectations_are_written_anew(kernels: Path) -> None:
    done = paravane("test", str(kernels), "--update")
    assert verdicts(done.stdout) == EXPECTED | {"other": "SUCCESS"}
    assert f"  {kernels / 'other' / 'expected.txt'} is written anew\n" in done.stdout.decode()
    assert (kernels / "other" / "expected.txt").read_text() == "hello\n"
    assert (kernels / "wild" / "expected.txt").read_text() == ""


def test_junit_gets_the_same(kernels: Path, tmp_path: Path) -> None:
    write_folder(kernels / "strange", says(r'PRINT "\033[2J\n"'), expected="")
    report = tmp_path / "report.xml"
    paravane("test", str(kernels), "--junit", str(report))
    (suite,) = ElementTree.parse(report).getroot()
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "5", "failures": "3", "errors": "0", "skipped": "1"}
    told = {case.get("name"): [element.tag for element in case] for case in suite}
    assert told["good[pv32pae]"] == []
    assert told["skips[pv32pae]"] == ["skipped"]
    assert told["wild[pv32pae]"] == ["failure"]
    failure = next(case[0] for case in suite if case.get("name") == "strange[pv32pae]")
    assert "+ \\x1b[2J" in (failure.text or "")


def test_pytest_is_not_needed(kernels: Path) -> None:
    command = (
        "import sys; sys.modules['pytest'] = None\n"
        "from paravane.tools.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", command, "test", str(kernels / "good")],
        capture_output=True,
        timeout=HOST_TIMEOUT,
        check=False,
    )
    assert (done.returncode, verdicts(done.stdout)) == (0, {"good": "SUCCESS"}), done.stderr


def start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "paravane.tools.cli", "test", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def children(process: subprocess.Popen[bytes], count: int) -> Sequence[int]:
    """The processes it has started, in that order, once there are so many."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + HOST_TIMEOUT
    while len(found := path.read_text().split()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return [int(number) for number in found]


def test_a_process_that_dies_takes_one_kernel_with_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "a-hangs", HANGS, expected="")
    write_folder(tmp_path / "b-good", SAYS, expected="hello\n")
    write_folder(tmp_path / "c-good", SAYS, expected="hello\n")
    process = start(str(tmp_path), "-j", "2")
    # The first process has the first kernel, which would keep it for a minute.
    os.kill(children(process, 2)[0], signal.SIGKILL)
    output, errors = process.communicate(timeout=HOST_TIMEOUT)
    assert (process.returncode, errors) == (1, b"")
    assert verdicts(output) == {"a-hangs": "ERROR", "b-good": "SUCCESS", "c-good": "SUCCESS"}
    assert b"    the process that ran it ended by SIGKILL\n" in output


def test_an_interrupt_leaves_no_process(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_folder(tmp_path / name, HANGS, "timeout = 600", "")
    process = start(str(tmp_path), "-j", "2")
    started = children(process, 2)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=HOST_TIMEOUT)
    assert process.returncode == 130
    assert [number for number in started if Path(f"/proc/{number}").exists()] == []
