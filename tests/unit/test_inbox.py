"""The way into a machine from other threads and signal handlers, as it is closed."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from paravane.inbox import Inbox

if TYPE_CHECKING:
    import pytest


def test_a_wake_that_has_begun_ends_before_the_pipe_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, write = Inbox(), os.write
    closer = threading.Thread(target=inbox.close)

    def late_write(fileno: int, data: bytes) -> int:
        # A close that does not wait for this is done long before so much time is over; the write then fails.
        closer.start()
        closer.join(0.3)
        return write(fileno, data)

    monkeypatch.setattr(os, "write", late_write)
    inbox.wake()
    closer.join()
    inbox.wake()


def test_a_signal_in_the_middle_of_a_close_wakes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, close = Inbox(), os.close
    closed: list[int] = []

    def interrupted_close(fileno: int) -> None:
        inbox.wake()
        close(fileno)
        closed.append(fileno)
        inbox.wake()

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", interrupted_close)
        inbox.close()
    assert len(closed) == 2


def test_a_signal_in_the_middle_of_a_wake_wakes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, write = Inbox(), os.write
    written: list[bytes] = []

    def interrupted_write(fileno: int, data: bytes) -> int:
        written.append(data)
        if len(written) == 1:
            inbox.wake()
        return write(fileno, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", interrupted_write)
        inbox.wake()
    assert len(written) == 2
    inbox.close()
