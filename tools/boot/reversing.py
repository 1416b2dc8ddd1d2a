"""`--gdb` in a run that can be repeated: gdb may go back in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.recording import RevisableRecorder

if TYPE_CHECKING:
    import argparse

    from paravane import Domain, DomainConfig, Ending, Machine
    from paravane.history import History
    from paravane.tools.boot.recording import Journaling
    from paravane.tools.following import Following
    from paravane.tools.terminal import Console


class Reversible:
    """A session in which what comes from outside is remembered, so that it comes again."""

    steered = "gdb may go back in this run, and what is done to its domain is not remembered"

    def __init__(self) -> None:
        self._journal = RevisableRecorder()

    def join(self, machine: Machine) -> None:
        self._journal = RevisableRecorder()
        machine.keep(self._journal)

    def begin(self, machine: Machine, console: Console) -> Console:
        self._journal.begin(console, machine.platform.clock.now)
        return self._journal

    def put_out(self, data: bytes) -> None:
        """Nobody compares it."""

    def history(self, machine: Machine, domain: Domain) -> History:
        from paravane.history import History  # noqa: PLC0415 - loaded for who asks for it only

        return History(machine, domain, self._journal)

    def ended(self, ending: Ending, why: str) -> tuple[Ending, str]:
        return ending, why

    def failure(self) -> str:
        return ""


def settle_reversing(
    options: argparse.Namespace, config: DomainConfig, followed: Following, journal: Journaling | None
) -> tuple[Journaling | None, str]:
    """The journal of a session with `--gdb`, where gdb can go back in it; else, why it cannot."""
    if options.gdb is None:
        return journal, ""
    sentence = _why_not(options, config, followed)
    if sentence or journal is not None:
        return journal, sentence
    return Reversible(), ""


def _why_not(options: argparse.Namespace, config: DomainConfig, followed: Following) -> str:
    """A sentence, or nothing."""
    console = config.console
    for given, what in (
        (not getattr(options, "deterministic", True), "that is not deterministic: boot with --deterministic"),
        (
            bool(followed.kinds) or followed.coverage is not None,
            "that is followed by --trace-insn and the like",
        ),
        (
            getattr(options, "store_socket", None) is not None,
            "in which others reach xenstore: --store-socket",
        ),
        (config.tlb is not None, "with a modelled TLB, which cannot be saved yet"),
        (bool(config.devices), "with devices, whose doings are not kept"),
        (
            console is not None and console.end is not None,
            "whose console is not on standard input and output",
        ),
        (config.privileged, "of a control domain, which cannot be saved yet"),
    ):
        if given:
            return f"nobody can go back in a run {what}"
    return ""
