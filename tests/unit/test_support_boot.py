"""Kernels of tests are assembled once for all processes and runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.support import boot
from tests.support.small_machines import SPIN

if TYPE_CHECKING:
    from pathlib import Path


def test_an_image_that_was_kept_is_not_assembled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def assemble(text: str, *, name: str) -> NoReturn:
        raise AssertionError(name)

    monkeypatch.setattr(boot, "_assembled", None)
    boot.keep_images(tmp_path)
    once = boot.kernel_image.__wrapped__
    image = once(SPIN)
    monkeypatch.setattr(boot, "assemble_text", assemble)
    assert once(SPIN) == image
    for text, name in ((SPIN, "other.S"), (SPIN + "nop\n", "kernel.S")):
        with pytest.raises(AssertionError, match=name):
            once(text, name)
