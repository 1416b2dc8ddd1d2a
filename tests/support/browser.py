"""A real browser, Debian's headless Chromium, steered through its DevTools protocol (over a pair of pipes).

One message is JSON with a null byte after it: https://chromedevtools.github.io/devtools-protocol.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tests.support.boot import HOST_TIMEOUT
from tests.support.needs import tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPTIONS: Final = (
    "--remote-debugging-pipe",
    "--no-sandbox",  # it wants user namespaces, which containers have not, and refuses to be root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
)
_KEYS: Final = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Enter": 13}
_CHANNELS: Final = (3, 4)
"""Descriptors from which the browser reads, and to which it writes."""


class Browser:
    """One page. `complaints` are what it has put on its console, errors of scripts among them."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self.complaints: list[str] = []
        self._out, self._in = to_browser, from_browser
        self._unread = b""
        self._number = 0
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a method answers. Raises AssertionError when it answers with an error, or not at all."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._noted(answer)
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, path: Path) -> None:
        """Show a file, and wait until its scripts have run."""
        self.call("Page.navigate", url=path.as_uri())
        limit = time.monotonic() + HOST_TIMEOUT
        while self.evaluate("document.readyState + location.pathname") != f"complete{path.as_posix()}":
            assert time.monotonic() < limit, "the page is not complete"

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript's, a promise's once it is kept."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def settle(self) -> None:
        """Let it draw what is due."""
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def press(self, key: str) -> None:
        """Press and release a key, and let it draw."""
        text = {"text": key} if len(key) == 1 else {}
        code = _KEYS.get(key, ord(key.upper()[0]))
        for kind, typed in (("keyDown", text), ("keyUp", {})):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **typed)
        self.settle()

    def resize(self, width: int, height: int) -> None:
        """Be as wide and high as that, in CSS pixels; as a phone is, where that is narrow."""
        narrow = width < 500
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=narrow,
        )
        self.settle()

    def prefer(self, scheme: str, media: str = "screen") -> None:
        """Prefer `light` or `dark` colours; be a screen, or what `print` prints on."""
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=wanted)
        self.settle()

    def picture(self, *, whole: bool = False) -> bytes:
        """What it shows, as PNG; with `whole` what it would show on a screen that is high enough."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            assert select.select([self._in], [], [], HOST_TIMEOUT)[0], "the browser does not answer"
            data = os.read(self._in, 1 << 16)
            assert data, "the browser has ended"
            self._unread += data
        message, _, self._unread = self._unread.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _noted(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif event.get("method") == "Runtime.consoleAPICalled":
            self.complaints.append(str(told["args"]))
        elif event.get("method") == "Log.entryAdded":
            self.complaints.append(str(told["entry"]["text"]))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with its profile in `folder`, ended with the `with`. The test is skipped without one."""
    program = tool("chromium-headless-shell")
    child_in, to_browser = os.pipe()
    from_browser, child_out = os.pipe()
    words = [program, *OPTIONS, f"--user-data-dir={folder}"]
    redirect = f'exec "$0" "$@" {_CHANNELS[0]}<&{child_in} {_CHANNELS[1]}>&{child_out}'
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            ["bash", "-c", redirect, *words],
            pass_fds=(child_in, child_out),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    os.close(child_in)
    os.close(child_out)
    try:
        yield Browser(to_browser, from_browser)
    finally:
        # It ends when nobody is at the other end any more.
        os.close(to_browser)
        os.close(from_browser)
        try:
            process.wait(HOST_TIMEOUT)
        finally:
            process.kill()
            process.wait()
