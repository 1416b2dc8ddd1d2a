"""A kernel's folder as a collection of pytest's, and each of its cases as a test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from paravane.guest_kernels.settings import KernelFileError
from paravane.testing.cases import load, run
from paravane.testing.plugin import SECTIONS, UPDATED
from paravane.testing.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.testing.cases import Case, Outcome


class KernelFailed(Exception):
    """A case whose verdict is ERROR or FAILURE."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome.verdict.name}: {outcome.story}")
        self.outcome = outcome


class KernelFolder(pytest.File):
    """A folder with a `kernel.toml`."""

    def collect(self) -> Iterator[pytest.Item]:
        try:
            cases = load(self.path.parent)
        except KernelFileError as error:
            raise self.CollectError(str(error)) from None
        for case in cases:
            yield KernelItem.from_parent(self, name=case.name, case=case)


class KernelItem(pytest.Item):
    """One case: built, booted, and held against what it promises."""

    def __init__(self, *, case: Case, **options: Any) -> None:
        super().__init__(**options)
        self._case = case

    def runtest(self) -> None:
        outcome = run(self._case, update=self.config.getoption("--paravane-update"))
        if outcome.updated is not None:
            self.user_properties.append((UPDATED, os.path.relpath(outcome.updated, self.config.rootpath)))
        if outcome.verdict is Verdict.SKIP:
            pytest.skip(outcome.story)
        if outcome.verdict is not Verdict.SUCCESS:
            self.stash[SECTIONS] = outcome.sections
            raise KernelFailed(outcome)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_: Any, **__: Any) -> Any:
        """The verdict and what speaks for it: there is no code of a test to show."""
        if isinstance(excinfo.value, KernelFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self.path, None, self.name
