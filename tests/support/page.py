"""What is in a page of `paravane report`: its elements, and its data."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class Page(HTMLParser):
    """`elements` are its tags with their attributes' names, in their order; `island` is its data."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.policy = ""
        self._text = ""
        self._inside = False
        self.feed(page.decode("ascii", "xmlcharrefreplace"))
        self.close()

    @property
    def island(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._text)
        return found

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.elements.append((tag, tuple(told)))
        self._inside = told.get("id") == "island"
        if told.get("http-equiv") == "Content-Security-Policy":
            self.policy = told["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self._text += data
