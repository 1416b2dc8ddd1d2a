"""What came out of a machine, as digests by which two runs are compared."""

from __future__ import annotations

from hashlib import sha256


class Outputs:
    """What a run has put out so far: bytes of its console, and what it has sent out of the machine. Each
    digest is a SHA-256."""

    def __init__(self) -> None:
        self.console = sha256()
        self.console_size = 0
        self.sent = sha256()
        """Of all that was sent, each with whereto and how long it is before it."""
        self.sent_count = 0

    def put_out(self, data: bytes) -> None:
        """The console put this out."""
        self.console.update(data)
        self.console_size += len(data)

    def left(self, source: str, data: bytes) -> None:
        """A guest has sent this to where the source is."""
        self.sent.update(f"{source} {len(data)}\n".encode())
        self.sent.update(data)
        self.sent_count += 1
