"""Refusal: an errno for the guest, a sentence for the log."""

from __future__ import annotations

import pickle

import pytest

from paravane.abi.errno import Errno
from paravane.refusal import Refusal


def refuse() -> None:
    raise Refusal(Errno.EINVAL, "frame 0x12 has type l1_page_table, not writable_page")


def test_a_refusal_carries_errno_and_sentence() -> None:
    with pytest.raises(Refusal) as caught:
        refuse()
    assert caught.value.errno is Errno.EINVAL
    assert -caught.value.errno == -22
    assert caught.value.sentence == "frame 0x12 has type l1_page_table, not writable_page"


def test_a_refusal_reads_as_errno_and_sentence() -> None:
    assert str(Refusal(Errno.EFAULT, "no page at 0x1000")) == "EFAULT: no page at 0x1000"


def test_a_refusal_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(Refusal(Errno.ENOMEM, "domain 3 owns 0x2000 frames of 0x2000")))
    assert str(copy) == "ENOMEM: domain 3 owns 0x2000 frames of 0x2000"
