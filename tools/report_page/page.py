"""The page itself: one HTML file that needs nothing else, with its data in it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRIPTS: Final = (
    *("dom.js", "format.js", "timeline.js", "timeline_view.js", "calls.js", "frames.js"),
    *("tables.js", "events.js", "source.js", "page.js"),
)
"""In this order they are one script: the last one begins."""

_ESCAPES: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def render(island: Mapping[str, Any]) -> bytes:
    """The page for what the parts have collected."""
    script = "(() => {\n'use strict';\n" + "\n".join(map(_file, SCRIPTS)) + "})();\n"
    style = _file("page.css")
    parts = {
        "POLICY": f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'",
        "TITLE": html.escape(str(island["trace"]["name"])),
        "STYLE": style,
        "SCRIPT": script,
        "ISLAND": as_island(island),
    }
    before, *pieces = _file("page.html").split("@@")
    # Every other piece is the name of a part: what a part contains is not looked at again.
    return "".join(
        [before, *(parts[piece] if at % 2 == 0 else piece for at, piece in enumerate(pieces))]
    ).encode("utf-8")


def as_island(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends one or begins a comment. In ASCII, so that
    what is no character by itself (half of a pair) is none in the file either."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    # Outside strings JSON has none of these.
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _hash(text: str) -> str:
    """What a browser compares an element's text with before it takes it for ours (CSP level 2)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    folder = resources.files("paravane.tools.report_page") / "browser"
    return (folder / name).read_text(encoding="utf-8")
