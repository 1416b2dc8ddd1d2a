"""Which lines of the hypervisor's code run, as `paravane compare --lines` counts them."""

from __future__ import annotations

import sys
from inspect import getsourcelines

from paravane import text
from paravane.tools.compare.lines import executed


def test_lines_of_functions_that_run_count_once() -> None:
    before = sys.gettrace()
    with executed() as found:
        text.shown("plain")
        text.shown("plain")
    assert sys.gettrace() is before
    lines, first = getsourcelines(text.shown)
    numbers = [number for name, number in found if name == "text.py"]
    assert numbers
    assert len(numbers) == len(set(numbers))
    assert any(first < number < first + len(lines) for number in numbers)


def test_what_looks_on_does_not_count() -> None:
    with executed() as found:
        getsourcelines(text.shown)
    assert found == set()
