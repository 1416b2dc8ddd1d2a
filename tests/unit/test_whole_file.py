"""Files that are written whole or not at all, and what is never replaced by one."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from paravane.whole_file import beside

if TYPE_CHECKING:
    from pathlib import Path


def put(target: Path, data: bytes) -> None:
    with beside(target) as stream:
        stream.write(data)


def test_a_file_is_replaced_and_keeps_its_permissions(tmp_path: Path) -> None:
    target = tmp_path / "file"
    put(target, b"first")
    target.chmod(0o640)
    put(target, b"second")
    assert target.read_bytes() == b"second"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["file"]


def test_what_fails_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "file"
    put(target, b"first")
    with pytest.raises(TypeError):
        put(target, "text")  # type: ignore[arg-type]  # what a stream of bytes refuses
    assert target.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    target, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to(target)
    put(link, b"data")
    assert link.is_symlink()
    assert target.read_bytes() == b"data"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_not_replaced(make: object, tmp_path: Path) -> None:
    assert callable(make)
    target = tmp_path / "there"
    make(target)
    before = target.stat()
    with pytest.raises(FileExistsError, match="it is no regular file"):
        put(target, b"data")
    after = target.stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert os.listdir(tmp_path) == ["there"]
