"""The page of `paravane report` in a real browser: drawn, moved by keys, on a phone, in both schemes."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from paravane.place import Place
from paravane.tools.cli import main
from paravane.trace import Entry, Header
from paravane.trace.forms import FORMS
from tests.support.boot import paravane
from tests.support.browser import Browser, browser
from tests.unit.trace_entries import BUILT, ENTRIES, FAULT, SEND, body

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECTIONS = ("timeline", "calls", "frames", "tables", "events", "source")
HOSTILE = "</script><script>hacked=1</script><img src=x onerror=hacked=1>"


class Pages(NamedTuple):
    """A browser, and pages to show in it: of everything that a guest did, of next to nothing, and of a guest
    whose names are markup."""

    browser: Browser
    whole: Path
    bare: Path
    hostile: Path


def _report(folder: Path, name: str, entries: list[Entry]) -> Path:
    writer = FORMS["json"].writer()
    trace, target = folder / f"{name}.jsonl", folder / f"{name}.html"
    trace.write_bytes(writer.begin(Header()) + body(writer, entries))
    assert main(["report", str(trace), "-o", str(target)]) == 0
    return target


def _hostile() -> list[Entry]:
    place, data = Place(1, HOSTILE, 0, HOSTILE, 3), {"errno": HOSTILE, "sentence": HOSTILE}
    frame = {"mfn": 1, "owner": 1, "before": "none", "after": HOSTILE, "uses": 1}
    table = {"mfn": 2, "owner": 1, "before": "none", "after": "l1_page_table", "uses": 1}
    told = [
        replace(entry, name=HOSTILE, place=place, data=data) for entry in ENTRIES if entry.kind != "event"
    ]
    return [
        *told,
        SEND,
        replace(BUILT, data={"domain_name": HOSTILE}),
        replace(FAULT, name=HOSTILE, place=place),
        replace(SEND, name="virq", data={"virq": HOSTILE}),
        Entry(0, 0, 1, 0, "page", "type", None, frame),
        Entry(0, 0, 1, 0, "page", "validated", None, table),
        Entry(0, 0, 1, 0, "refusal", "mmu_update", place, data),
    ]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("report")
    trace, target = folder / "attack.jsonl", folder / "attack.html"
    paravane("boot", "attack", "--trace", str(trace), "--trace-events", "all")
    assert main(["report", str(trace), "-o", str(target)]) == 0
    with browser(folder) as shown:
        yield Pages(shown, target, _report(folder, "bare", [BUILT]), _report(folder, "hostile", _hostile()))


@pytest.fixture
def whole(pages: Pages) -> Iterator[Browser]:
    """The browser with the first page, as wide as a desk; nobody complains meanwhile."""
    pages.browser.resize(1200, 900)
    pages.browser.prefer("light")
    pages.browser.open(pages.whole)
    yield pages.browser
    assert pages.browser.complaints == []


def _moved(shown: Browser, key: str) -> tuple[float, float]:
    shown.press(key)
    return _range(shown)


def _range(shown: Browser) -> tuple[float, float]:
    told = shown.evaluate("Object.assign({}, document.querySelector('#timeline canvas').dataset)")
    return float(told["from"]), float(told["to"])


def _has_colour(shown: Browser, canvas: str, name: str) -> bool:
    """Whether a canvas has pixels of the colour that the style sheet names so."""
    script = f"""(() => {{
        const canvas = document.querySelector({canvas!r});
        const copy = document.createElement('canvas');
        [copy.width, copy.height] = [canvas.width, canvas.height + 1];
        const context = copy.getContext('2d', {{willReadFrequently: true}});
        context.drawImage(canvas, 0, 0);
        context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim();
        context.fillRect(0, canvas.height, 1, 1);
        const {{data}} = context.getImageData(0, 0, copy.width, copy.height);
        const wanted = new Uint32Array(data.buffer);
        return wanted.indexOf(wanted[canvas.height * copy.width]) < canvas.height * copy.width;
    }})()"""
    return bool(shown.evaluate(script))


def test_everything_is_drawn_and_a_picture_shows_it(whole: Browser) -> None:
    picture = whole.picture()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (1200, 900)
    for canvas, colours in (
        ("#timeline canvas", ("hypercall", "trap", "refused")),
        ("#frames canvas", ("writable_page", "l1_page_table", "l2_page_table", "l3_page_table")),
    ):
        assert [name for name in colours if not _has_colour(whole, canvas, name)] == []
    text = whole.evaluate("document.body.innerText")
    for words in ("mmu_update", "-EBUSY", "pinned, 1 table below", "d1 (attack)", "paging.inc"):
        assert words in text
    assert whole.evaluate("document.querySelectorAll('#events svg path.edge').length") == 2
    assert "mmu_update" in whole.evaluate("document.querySelector('pre.listing').textContent")


def test_keys_move_the_timeline(whole: Browser) -> None:
    whole.evaluate("document.querySelector('#timeline canvas').focus()")
    begin, end = _range(whole)
    near = _moved(whole, "+")
    assert near[1] - near[0] == pytest.approx((end - begin) / 2)
    later = _moved(whole, "ArrowRight")
    assert later[0] > near[0]
    assert later[1] - later[0] == pytest.approx(near[1] - near[0])
    assert _moved(whole, "ArrowLeft") == pytest.approx(near)
    assert _moved(whole, "-") == pytest.approx((begin, end))
    _moved(whole, "+")
    assert _moved(whole, "0") == (begin, end)
    told = "document.querySelector('#timeline [role=status]').textContent"
    whole.press("n")
    first = whole.evaluate(told)
    assert " d1v0 hypercall\n" in first
    whole.press("n")
    assert whole.evaluate(told) != first
    whole.press("p")
    assert whole.evaluate(told) == first


def test_a_moment_of_memory_is_chosen_by_keys(whole: Browser) -> None:
    whole.evaluate("document.querySelector('#frames input').focus()")
    time = "Number(document.querySelector('#frames canvas').dataset.time)"
    last = whole.evaluate(time)
    whole.press("ArrowLeft")
    assert whole.evaluate(time) < last
    whole.press("ArrowRight")
    assert whole.evaluate(time) == last
    whole.evaluate("document.querySelector('#frames canvas').focus()")
    whole.press("ArrowRight")
    assert "of d1 (attack): " in whole.evaluate("document.querySelector('#frames [role=status]').textContent")


def test_tab_goes_to_every_section(whole: Browser) -> None:
    whole.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(len(SECTIONS) + 1):
        whole.press("Tab")
        reached.append(whole.evaluate("document.activeElement.getAttribute('href')"))
    assert reached == [f"#{name}" for name in ("timeline", *SECTIONS)]
    whole.press("Tab")
    assert whole.evaluate("document.activeElement.closest('section').id") == "timeline"


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_makes_the_page_wider_than_the_screen(whole: Browser, width: int) -> None:
    whole.resize(width, 800)
    for details in (False, True):
        whole.evaluate(
            f"document.querySelectorAll('details').forEach(one => one.open = {str(details).lower()})"
        )
        whole.settle()
        assert whole.evaluate("document.documentElement.scrollWidth") == width
        assert whole.evaluate("document.querySelector('#timeline canvas').clientWidth") <= width


def test_colours_follow_the_scheme_and_paper_is_light(whole: Browser) -> None:
    def look() -> Any:
        return whole.evaluate("getComputedStyle(document.body).backgroundColor")

    assert look() == "rgb(255, 255, 255)"
    whole.prefer("dark")
    assert look() == "rgb(18, 22, 28)"
    for canvas in ("#timeline canvas", "#frames canvas"):
        assert _has_colour(whole, canvas, "ground")
    assert _has_colour(whole, "#timeline canvas", "refused")
    whole.prefer("dark", "print")
    assert look() == "rgb(255, 255, 255)"
    assert whole.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert _has_colour(whole, "#timeline canvas", "ground")
    # As wide as A4 is between its margins: nothing is cut off that could be scrolled to on a screen.
    whole.resize(718, 1000)
    shown = "[...document.querySelectorAll('.scroll')].filter(one => one.checkVisibility())"
    assert whole.evaluate(f"{shown}.filter(one => one.scrollWidth > one.clientWidth).length") == 0


def test_a_table_is_sorted_by_its_titles(whole: Browser) -> None:
    names = (
        "[...document.querySelectorAll('#calls table')[0].tBodies[0].rows].map(row => row.cells[0].innerText)"
    )
    button = "document.querySelector('#calls th button')"
    whole.evaluate(f"{button}.focus()")
    whole.evaluate(f"{button}.click()")
    ascending = whole.evaluate(names)
    assert ascending == sorted(ascending)
    whole.evaluate(f"{button}.click()")
    assert whole.evaluate(names) == ascending[::-1]


def test_sections_without_records_say_how_to_get_them(pages: Pages) -> None:
    pages.browser.open(pages.bare)
    for name in SECTIONS:
        text = pages.browser.evaluate(f"document.getElementById('{name}').innerText")
        assert "The trace has no records for this." in text
        assert "--trace-events " in text
    assert pages.browser.complaints == []


def test_names_that_are_markup_are_shown_as_they_are(pages: Pages) -> None:
    pages.browser.open(pages.hostile)
    pages.browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    pages.browser.settle()
    assert pages.browser.evaluate("typeof hacked") == "undefined"
    assert pages.browser.evaluate("document.querySelectorAll('img, script:not(#island)').length") == 1
    for name in SECTIONS:
        assert HOSTILE[:40] in pages.browser.evaluate(f"document.getElementById('{name}').textContent"), name
    assert pages.browser.complaints == []
