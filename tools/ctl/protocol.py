"""What goes over a control socket: a line of JSON for each request, and one for each answer.

    {"verb": "pause", "domain": "web"}              {"ok": null}
    {"verb": "list"}                                {"ok": [{"name": "web", "id": 1, ...}]}
    {"verb": "pause", "domain": "nobody"}           {"error": "there is no domain nobody"}

After the answer to `console` the connection carries the console's bytes, both ways, until one side ends it.
"""

from __future__ import annotations

import json
from typing import Any, Final

from paravane.classes import dataclass

LONGEST: Final = 4096
"""Bytes of a request's line."""


class RequestError(Exception):
    """A request cannot be understood or fulfilled; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Request:
    """`domain` is a name or a number in decimal; `argument` is what some verbs need besides."""

    verb: str
    domain: str = ""
    argument: str = ""

    def line(self) -> bytes:
        return (
            json.dumps({"verb": self.verb, "domain": self.domain, "argument": self.argument}).encode() + b"\n"
        )


def request_of(line: bytes) -> Request:
    """The request in a line. Raises RequestError."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise RequestError("a request is a line of JSON") from None
    if not isinstance(found, dict):
        raise RequestError("a request is an object")
    words = {name: found.get(name, "") for name in ("verb", "domain", "argument")}
    if not all(isinstance(word, str) for word in words.values()):
        raise RequestError("verb, domain and argument are texts")
    return Request(**words)


def answer(ok: object) -> bytes:
    """A line that says what came of a request."""
    return json.dumps({"ok": ok}).encode() + b"\n"


def refusal(sentence: str) -> bytes:
    return json.dumps({"error": sentence}).encode() + b"\n"


def outcome(line: bytes) -> Any:
    """What an answer says. Raises RequestError with its sentence when it is a refusal."""
    try:
        found = json.loads(line)
    except ValueError:
        raise RequestError("the machine's answer cannot be understood") from None
    if "error" in found:
        raise RequestError(str(found["error"]))
    return found["ok"]
