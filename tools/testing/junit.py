"""What came of tests as JUnit's XML, which continuous integration reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree

from paravane.testing import Verdict
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paravane.testing import Outcome

_ELEMENTS: Final = {Verdict.SKIP: "skipped", Verdict.ERROR: "error", Verdict.FAILURE: "failure"}


def document(outcomes: Sequence[tuple[str, Outcome]]) -> bytes:
    """The document for outcomes with the names of their cases."""
    suite = ElementTree.Element("testsuite", name="paravane", tests=str(len(outcomes)))
    for verdict, element in _ELEMENTS.items():
        count = sum(outcome.verdict is verdict for _, outcome in outcomes)
        suite.set({"error": "errors", "failure": "failures"}.get(element, element), str(count))
    suite.set("time", f"{sum(outcome.seconds for _, outcome in outcomes):.3f}")
    for name, outcome in outcomes:
        case = ElementTree.SubElement(suite, "testcase", classname="paravane", name=shown(name))
        case.set("time", f"{outcome.seconds:.3f}")
        if outcome.verdict in _ELEMENTS:
            first, _, rest = outcome.story.partition("\n")
            told = ElementTree.SubElement(case, _ELEMENTS[outcome.verdict], message=shown(first))
            sections = (f"{title}\n{text}" for title, text in outcome.sections)
            told.text = _in_xml("\n\n".join((rest, *sections)).strip())
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    text: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _in_xml(text: str) -> str:
    """Lines with what XML cannot say made visible."""
    return "\n".join(map(shown, text.split("\n")))
