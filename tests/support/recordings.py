"""Runs that are recorded and repeated, as a user does it."""

from __future__ import annotations

import json
import os
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from tests.support.machines import Machines, Running

if TYPE_CHECKING:
    from collections.abc import Sequence


class Runs(Machines):
    """Runs that are recorded in the folder, and repeated."""

    def record(self, *arguments: str, typed: Sequence[tuple[str, str]], end: int = 0) -> tuple[int, str, str]:
        """Boot, and type each text when what belongs to it has been printed; `end` is the signal that ends
        it after that (0: it ends by itself)."""
        running = Running(self.start("boot", *arguments, "--record", "rec", stdin=subprocess.PIPE))
        try:
            for printed, text in typed:
                running.wait_for(printed)
                if text:
                    assert running.process.stdin is not None
                    os.write(running.process.stdin.fileno(), text.encode())
            if end:
                running.process.send_signal(end)
                running.process.wait()
            return running.end()
        finally:
            running.process.kill()

    def replay(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            return self.do("replay", "rec", *arguments)

    def forge(self, name: str, data: bytes) -> None:
        """Put something else in the place of a file of the recording, with the digest that it has then."""
        (self.folder / "rec" / name).write_bytes(data)
        manifest = json.loads(self.contents("rec/manifest.json"))
        manifest["files"][name] = sha256(data).hexdigest()
        (self.folder / "rec" / "manifest.json").write_text(json.dumps(manifest))

    def contents(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()
