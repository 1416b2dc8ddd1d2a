"""Folders of kernels as test cases, and one of them run: its verdict and what people need to see of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from paravane import guest_kernels
from paravane.asm import AssemblyError
from paravane.classes import dataclass
from paravane.compiler import CompilerError, NoCompiler
from paravane.ending import StopReason
from paravane.guest_kernels.folder import SETTINGS, load_variations
from paravane.guest_kernels.settings import ENVIRONMENT, KernelFileError
from paravane.image import ImageError
from paravane.quick import boot
from paravane.testing import expectation
from paravane.testing.hints import hint, hint_of_run
from paravane.testing.matching import difference
from paravane.testing.verdict import Verdict, told
from paravane.trace.text import line as trace_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from paravane.boot_result import BootResult
    from paravane.guest_kernels import GuestKernel
    from paravane.machine import Machine
    from paravane.trace import Record

LAST_LINES: Final = 20
"""Lines of the trace that are shown of a test that failed."""

Sections = tuple[tuple[str, str], ...]
"""Titles and texts."""


@dataclass(frozen=True, slots=True)
class Case:
    """A kernel, or a variation of one, in an environment by XTF's name."""

    kernel: GuestKernel
    environment: str

    @property
    def name(self) -> str:
        return f"{self.kernel.name}[{self.environment}]"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that speaks for a verdict, as a sentence; more lines show it."""

    verdict: Verdict
    sentence: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case: everything that was found, sections for people, and the expectation if it was
    written anew."""

    findings: tuple[Finding, ...] = ()
    sections: Sections = ()
    seconds: float = 0.0
    updated: Path | None = None

    @property
    def verdict(self) -> Verdict:
        return max((finding.verdict for finding in self.findings), default=Verdict.SUCCESS)

    @property
    def story(self) -> str:
        """The findings that made the verdict what it is, as text; empty for a success."""
        return "\n".join(finding.sentence for finding in self.findings if finding.verdict is self.verdict)


def find(place: Path) -> Iterator[Path]:
    """The folders with a `kernel.toml` in `place` and below, hidden ones left out, in order. A name that is
    no folder's may be that of a kernel that comes with Paravane."""
    if not place.exists() and str(place) in guest_kernels.names():
        yield guest_kernels.folder_of(str(place))
        return
    for path in sorted(place.rglob(SETTINGS)):
        if not any(part.startswith(".") for part in path.relative_to(place).parts):
            yield path.parent


def load(folder: Path) -> list[Case]:
    """The cases of a folder. Raises KernelFileError, also for files that cannot be read."""
    try:
        kernels = load_variations(folder)
    except OSError as error:
        raise KernelFileError(f"{error.filename or folder}: {error.strerror}") from None
    return [Case(kernel, environment) for kernel in kernels for environment in kernel.environments]


def run(case: Case, *, update: bool = False) -> Outcome:
    """Build and boot it. With `update` a console that is not as expected becomes what is expected, if all
    else is right. Whatever is wrong with the case is in its outcome."""
    began = time.monotonic()
    if case.environment != ENVIRONMENT:
        return Outcome((Finding(Verdict.SKIP, f"Paravane is {ENVIRONMENT}, not {case.environment}"),))
    try:
        expected = expectation.read(case.kernel)
        result = boot(case.kernel)
        updated = None
        if update and not (findings := of_the_run(case.kernel.exit_status, result)):
            updated = _update(case.kernel, expected, result)
        else:
            findings = judged(case.kernel, expected, result)
    except NoCompiler as error:
        return _not_run(Verdict.SKIP, str(error), began)
    except (AssemblyError, CompilerError, ImageError, KernelFileError, ValueError) as error:
        return _not_run(Verdict.ERROR, str(error), began, case)
    except MemoryError as error:
        # Most of them say nothing.
        return _not_run(Verdict.ERROR, str(error) or "there is not enough memory", began)
    except OSError as error:
        return _not_run(Verdict.ERROR, f"{error.filename or case.kernel.name}: {error.strerror}", began)
    sections = sections_of(result) if findings else ()
    if findings:
        stories = [finding.sentence for finding in findings]
        sections += _hinted(hint_of_run(case.kernel.hints, result, stories, LAST_LINES))
    return Outcome(tuple(findings), sections, time.monotonic() - began, updated)


def judged(kernel: GuestKernel, expected: expectation.Expected | None, result: BootResult) -> list[Finding]:
    """All that speaks against a run of the kernel, which should have printed what is `expected` (None: its
    own verdict)."""
    findings = of_the_run(kernel.exit_status, result)
    if expected is not None and (lines := difference(expected, result.console)):
        findings.append(_differs(kernel, lines))
    elif expected is None and told(result.console) is None:
        findings.append(_unknown(kernel))
    return findings


def sections_of(result: BootResult) -> Sections:
    """What is to be seen of a boot that went wrong: its dump, or where it was, and the last of the trace."""
    found = (
        ("crash dump", result.crash_report),
        ("where it was", result.where),
        ("last of the trace", "\n".join(result.trace_lines(LAST_LINES))),
    )
    return tuple((f"{title}: {result.name}", text.rstrip("\n")) for title, text in found if text)


def sections_of_machine(machine: Machine, last: Iterable[Record]) -> Sections:
    """The same of a machine that is still there: of each domain that crashed, or that lives."""
    found = [("crash dump", domain.name, domain.crash_report) for domain in machine.domains.values()]
    found += [
        ("where it is", domain.name, domain.where()) for domain in machine.domains.values() if domain.alive
    ]
    found.append(("last of the trace", "the machine", "\n".join(map(trace_line, last))))
    return tuple((f"{title}: {name}", text.rstrip("\n")) for title, name, text in found if text)


def _not_run(verdict: Verdict, sentence: str, began: float, case: Case | None = None) -> Outcome:
    """`case` is given where what its author says may help."""
    sections = () if case is None else _hinted(hint(case.kernel.hints, sentence.splitlines()))
    return Outcome((Finding(verdict, sentence),), sections, time.monotonic() - began)


def _hinted(text: str) -> Sections:
    return (("hint", text),) if text else ()


def of_the_run(exit_status: int, result: BootResult) -> list[Finding]:
    """What is wrong with a run that should have ended with this status, whatever it should print; and its own
    verdict unless that is SUCCESS."""
    found: list[Finding] = []
    if result.status != exit_status:
        how = result.ending.value if result.reason is None else f"it ended with {result.reason}"
        hung = result.ending in (StopReason.TIMEOUT, StopReason.TRAPS, StopReason.TIME)
        found.append(
            Finding(
                Verdict.FAILURE,
                f"its exit status is {result.status}, not {exit_status}: "
                + (f"it did not end, {how}" if hung else how),
            )
        )
    found += [Finding(Verdict.FAILURE, f"audit: {line}") for line in result.audit]
    said = told(result.console)
    if said:
        found.append(Finding(said, f"it says {said.name}: {_reason(result)}"))
    return found


def _reason(result: BootResult) -> str:
    """What it printed before its verdict."""
    lines = [line for line in result.lines if line and told(line) is None]
    return lines[-1] if lines else "and nothing else"


def _differs(kernel: GuestKernel, lines: list[str]) -> Finding:
    title = f"its console is not as {kernel.expectation.name} has it:"
    return Finding(Verdict.FAILURE, "\n".join((title, *lines)))


def _unknown(kernel: GuestKernel) -> Finding:
    return Finding(
        Verdict.ERROR, f"it prints no verdict, and there is no {kernel.expectation.name} to hold it against"
    )


def _update(kernel: GuestKernel, expected: expectation.Expected | None, result: BootResult) -> Path | None:
    """Write the expectation anew if it is not fulfilled; one who prints a verdict needs none."""
    if expected is None and told(result.console) is not None:
        return None
    if expected is not None and not difference(expected, result.console):
        return None
    expectation.write(kernel, expectation.renewed(expected, result.console))
    return kernel.expectation
