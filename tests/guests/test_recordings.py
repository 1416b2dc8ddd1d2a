"""`boot --record` and `replay`: a run is repeated, whoever looks at it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from paravane.tools.status import Status
from tests.support.recordings import Runs

if TYPE_CHECKING:
    from pathlib import Path

COUNTING = """\
# Says after how many rounds of its loop each byte came that was typed; Q ends it.
    .include "runtime.inc"
    XEN_NOTES counting
    .text
main:
    PRINT "ready\\n"
    xorl %esi, %esi
    movl console_ring, %ebx
1:  incl %esi
    movl XENCONS_INTERFACE_in_cons(%ebx), %edx
    cmpl XENCONS_INTERFACE_in_prod(%ebx), %edx
    je 1b
    andl $XENCONS_IN_SIZE - 1, %edx
    movzbl XENCONS_INTERFACE_in(%ebx,%edx), %edi
    incl XENCONS_INTERFACE_in_cons(%ebx)
    PRINT_HEX %edi
    PRINT " after "
    PRINT_DEC %esi
    PRINT "\\n"
    cmpl $'Q', %edi
    jne 1b
    ret
"""

TALKING = """\
# Talks a lot, then says how many bytes were typed meanwhile.
    .include "runtime.inc"
    XEN_NOTES talking
    .text
main:
    PRINT "ready\\n"
    movl $4000, %esi
1:  PRINT "a line that somebody has to read before the next ones can come, all of them\\n"
    decl %esi
    jnz 1b
    movl console_ring, %ebx
    movl XENCONS_INTERFACE_in_prod(%ebx), %eax
    PRINT_DEC %eax
    ret
"""

ALL = ("--trace-events", "all")
PYTHON = {"PARAVANE_NATIVE": "0"}


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def test_what_was_typed_comes_at_the_same_places(runs: Runs) -> None:
    typed = [("Ctrl-D ends\n", "hel"), ("hel", "lo\nwor"), ("wor", "ld\n"), ("world\r\n", "\x04")]
    recorded = runs.record("echo", "--console", "stdio", "--trace", "one.jsonl", *ALL, typed=typed)
    assert recorded[:2] == (
        Status.OK,
        "console 0: what is typed comes back, Ctrl-D ends\nhello\r\nworld\r\n"
        "ended on console 0, after 13 and 0 bytes\n",
    )
    assert runs.replay("--trace", "two.jsonl", *ALL) == recorded
    assert runs.contents("two.jsonl") == runs.contents("one.jsonl")
    assert runs.replay(**PYTHON) == recorded
    assert runs.replay("--trace-insn", "echo", "--trace", "three.jsonl")[:2] == recorded[:2]
    assert b'"instruction"' in runs.contents("three.jsonl")


@pytest.mark.parametrize(
    "how",
    [
        (),
        ("--seed", "7", "--sched", "credit", "--jitter", "200", "--decisions", "30"),
        ("--clock", "host", "--seed", "7"),
    ],
    ids=["plain", "seeded", "host's clock"],
)
def test_a_guest_that_computes_is_met_at_the_same_instruction(runs: Runs, how: tuple[str, ...]) -> None:
    kernel = runs.kernel("counting", COUNTING)
    typed = [("ready\n", "a"), ("61 after ", "bc"), ("63 after ", "Q")]
    events = ("--trace-events", "console,schedule,event,domain")
    recorded = runs.record(kernel, *how, "--trace", "one.jsonl", *events, typed=typed)
    assert recorded[0] == Status.OK
    assert recorded[1].count(" after ") == 4
    assert runs.replay("--trace", "two.jsonl", *events) == recorded
    assert runs.contents("two.jsonl") == runs.contents("one.jsonl")
    assert runs.replay("--trace", "-", "--trace-events", "trap", **PYTHON)[:2] == recorded[:2]


def test_a_run_that_was_interrupted_is_repeated_up_to_there(runs: Runs) -> None:
    kernel = runs.kernel("counting", COUNTING)
    typed = [("ready\n", "a"), ("61 after ", "")]
    recorded = runs.record(kernel, "--trace", "one.jsonl", *ALL, typed=typed, end=signal.SIGINT)
    assert recorded[0] == Status.INTERRUPTED
    assert "paravane: counting did not end: SIGINT came\n" in recorded[2]
    assert runs.replay("--trace", "two.jsonl", *ALL) == recorded
    assert runs.contents("two.jsonl") == runs.contents("one.jsonl")


def test_a_reader_who_was_slow_then_changes_nothing(runs: Runs) -> None:
    """More waits for him than he is allowed to leave, so that the machine is held while more is typed."""
    kernel = runs.kernel("talking", TALKING)
    recorded = runs.record(kernel, "--seed", "3", typed=[("ready\n", "abc")])
    assert recorded[0] == Status.OK
    assert recorded[1].endswith("all of them\n3")
    assert runs.replay() == recorded


def test_a_recording_that_was_changed_is_not_the_recorded_run(runs: Runs) -> None:
    typed = [("Ctrl-D ends\n", "hello\n"), ("hello\r\n", "\x04")]
    recorded = runs.record("echo", "--console", "stdio", typed=typed)
    assert recorded[0] == Status.OK
    inputs = runs.contents("rec/inputs")
    assert b"hello" in inputs
    for changed in (inputs.replace(b"hello", b"hallo"), inputs.replace(b'"time": ', b'"time": 1'), b""):
        runs.forge("inputs", changed)
        status, _, told = runs.replay("--timeout", "60")
        assert status == Status.ERRORS
        assert "paravane: this is not the recorded run: " in told
        assert "Traceback" not in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--gdb", ":0"), "it keeps nothing of what a debugger does: do without --gdb"),
        (("--store-socket", "s"), "it keeps nothing of xenstore's clients: do without --store-socket"),
        (("--on-reboot", "restart"), "it keeps one life of a domain: do without --on-reboot restart"),
        (("--watch-sources",), "it keeps one boot: do without --watch-sources"),
        (("--console", "pty"), "of consoles it keeps the one on standard input and output: give "),
        (("--console", "stdio", "--console", "pty"), "of consoles it keeps the one on standard input and "),
    ],
    ids=lambda found: found[0].strip("-") if isinstance(found, tuple) else None,
)
def test_what_cannot_be_kept_is_refused(runs: Runs, arguments: tuple[str, ...], sentence: str) -> None:
    status, printed, told = runs.do("boot", runs.kernel("obedient"), "--record", "rec", *arguments)
    assert (status, printed) == (Status.USAGE, "")
    assert told.startswith(f"paravane: --record: {sentence}")
    assert told.count("\n") == 1
    assert not (runs.folder / "rec").exists()


def test_a_folder_that_has_something_is_left_alone(runs: Runs) -> None:
    (runs.folder / "rec").mkdir()
    (runs.folder / "rec" / "mine").write_text("kept")
    status, _, told = runs.do("boot", runs.kernel("obedient"), "--record", "rec")
    assert status == Status.USAGE
    assert told == "paravane: --record rec: it is not empty; a recording needs a folder of its own\n"
    assert [path.name for path in (runs.folder / "rec").iterdir()] == ["mine"]
    status, _, told = runs.replay()
    assert status == Status.USAGE
    assert told == "paravane: rec: it has no manifest.json, which is written when a run has ended\n"
